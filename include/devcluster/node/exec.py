"""`kubectl exec`: one more command in a running container, over a WebSocket.

Protocols v4.channel.k8s.io and v5.channel.k8s.io (which adds closing of stdin): the first byte of a message is its
channel. https://github.com/kubernetes/kubernetes/blob/v1.34.4/staging/src/k8s.io/apimachinery/pkg/util/remotecommand/constants.go
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import struct
import termios
from collections.abc import AsyncIterator

from aiohttp import WSMsgType, web

from include.devcluster.core.errors import bad_request
from include.devcluster.core.kubelet import Kubelet
from include.devcluster.core.objects import Object, name
from include.devcluster.node.joining import Joined, join
from include.devcluster.node.logs import default_container
from include.devcluster.runtime.process import VirtualProcess

STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io", "channel.k8s.io")

XCOM_RESULT = "return.json"
XCOM_EMPTY = b"__airflow_xcom_result_empty__\n"


class Exec:
    """Serves `pods/exec`."""

    def __init__(self, kubelet: Kubelet) -> None:
        self._kubelet = kubelet

    async def serve(self, request: web.Request, pod: Object) -> web.StreamResponse:
        """Run a command in a container. Raises 400 when it does not run."""
        query = request.query
        argv = query.getall("command", [])
        if not argv:
            raise bad_request("you must specify at least one command for the container")
        if "upgrade" not in request.headers.get("Connection", "").lower():
            raise bad_request("Upgrade request required")
        if request.headers.get("Upgrade", "").lower() != "websocket":
            raise bad_request("the dev cluster speaks exec over WebSocket only, not SPDY")
        own = query.get("container") or default_container(pod, "a container name must be specified")
        container = self._kubelet.container(pod, own)
        if container is None or not container.running or container.process is None:
            raise bad_request(
                f'container not found ("{own}")'
                if container is None
                else f'container "{own}" in pod "{name(pod)}" is not running'
            )
        socket = web.WebSocketResponse(protocols=PROTOCOLS, max_msg_size=0)
        await socket.prepare(request)
        channels = _Channels(socket)
        if isinstance(container.process, VirtualProcess):
            await self._play_sidecar(channels, pod, container.process, argv)
        else:
            tty = query.get("tty") in ("true", "True", "1")
            spec = self._kubelet.isolation.join(container.process, argv, tty=tty)
            has_stdin = query.get("stdin") in ("true", "True", "1")
            await self._run(channels, await join(spec), stdin=has_stdin)
        await socket.close()
        return socket

    async def _run(self, channels: _Channels, joined: Joined, *, stdin: bool) -> None:
        process = joined.process
        feed = asyncio.create_task(self._feed(channels, joined, stdin=stdin))
        try:
            if joined.terminal is not None:
                await channels.copy_terminal(joined.terminal)
            else:
                await asyncio.gather(channels.copy(process.stdout, STDOUT), channels.copy(process.stderr, STDERR))
            code = await process.wait()
        except ConnectionResetError:
            return
        finally:
            feed.cancel()
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
            if joined.terminal is not None:
                os.close(joined.terminal)
            failure = joined.start_error()
        await channels.finish(code, failure)

    async def _feed(self, channels: _Channels, joined: Joined, *, stdin: bool) -> None:
        """Bring input to the command. A client that goes away takes its command along."""
        process, terminal = joined.process, joined.terminal
        if process.stdin and not stdin:
            process.stdin.close()
        async for channel, data in channels.received():
            if channel == STDIN and terminal is not None:
                await asyncio.to_thread(os.write, terminal, data)
            elif channel == STDIN and process.stdin and stdin:
                with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                    process.stdin.write(data)
                    await process.stdin.drain()
            elif channel == RESIZE and terminal is not None:
                size = json.loads(data)
                fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", size["Height"], size["Width"], 0, 0))
            elif channel == CLOSE and data[:1] == bytes([STDIN]) and process.stdin:
                process.stdin.close()
        with contextlib.suppress(ProcessLookupError):
            process.kill()

    async def _play_sidecar(self, channels: _Channels, pod: Object, process: VirtualProcess, argv: list[str]) -> None:
        """Airflow's XCom side-car: hand out the result file, or end when told to be killed."""
        if len(argv) > 1:
            path = self._kubelet.volumes.folder(pod, "xcom") / XCOM_RESULT
            found = path.read_bytes() if path.exists() else b""
            await channels.send(STDOUT, found or XCOM_EMPTY)
        else:
            async for channel, data in channels.received():
                if channel == STDIN and b"kill" in data:
                    process.finish(0)
                    break
        await channels.finish(0, "")


class _Channels:
    """Messages of a WebSocket with the channel in their first byte."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self._socket = socket

    async def send(self, channel: int, data: bytes) -> None:
        await self._socket.send_bytes(bytes([channel]) + data)

    async def received(self) -> AsyncIterator[tuple[int, bytes]]:
        async for message in self._socket:
            if message.type is WSMsgType.BINARY and message.data:
                yield message.data[0], message.data[1:]
            elif message.type is WSMsgType.TEXT and message.data:
                raw = message.data.encode()
                yield raw[0], raw[1:]

    async def copy(self, stream: asyncio.StreamReader | None, channel: int) -> None:
        while stream is not None and (data := await stream.read(32768)):
            await self.send(channel, data)

    async def copy_terminal(self, terminal: int) -> None:
        while True:
            try:
                data = await asyncio.to_thread(os.read, terminal, 32768)
            except OSError:  # how Linux says that the other side of a terminal is closed
                return
            if not data:
                return
            await self.send(STDOUT, data)

    async def finish(self, code: int, failure: str) -> None:
        """Send how it ended on the error channel."""
        status: Object = {"metadata": {}, "status": "Success"}
        if failure:
            message = (
                "Internal error occurred: Internal error occurred: error executing command in container: "
                "failed to exec in container: failed to start exec: OCI runtime exec failed: exec failed: unable to "
                f"start container process: {failure}: unknown"
            )
            status = {"metadata": {}, "status": "Failure", "message": message, "reason": "InternalError", "code": 500}
        elif code:
            causes = [{"reason": "ExitCode", "message": str(code)}]
            status = {
                "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
                "message": f"command terminated with non-zero exit code: command terminated with exit code {code}",
                "details": {"causes": causes},
            }  # fmt: skip
        await self.send(ERROR, json.dumps(status).encode())
