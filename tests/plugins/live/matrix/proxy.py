"""A proxy before the cluster's API that holds single requests at a moment which is otherwise too short to be met.

A request is held either before it reaches the cluster, or after the cluster has answered and before the client knows.
Every request has a connection of its own, so that watches, logs and exec (WebSocket) pass as they are.
"""

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import yaml

HEAD_END = b"\r\n\r\n"
BIGGEST_HEAD = 1 << 20


@dataclass
class Hold:
    """One request that is to be held, the first that matches.

    :param method: HTTP method.
    :param needles: texts that its request line or body must all contain.
    :param answered: hold the answer instead of the request.
    :param when: whether it is time for it; earlier ones that look the same are not meant.
    """

    method: str
    needles: tuple[str, ...]
    answered: bool
    when: Callable[[], bool]
    reached: threading.Event = field(default_factory=threading.Event)
    taken: bool = False
    released: bool = False
    waiter: asyncio.Event = field(default_factory=asyncio.Event)

    def matches(self, line: str, body: bytes) -> bool:
        text = line.encode() + b"\n" + body
        looks_so = line.startswith(f"{self.method} ") and all(needle.encode() in text for needle in self.needles)
        return looks_so and not self.taken and self.when()


class HoldingProxy:
    """Serves plain HTTP on a free port of 127.0.0.1 and forwards to the API server of a kubeconfig.

    :param kubeconfig: whose server it stands before.
    """

    def __init__(self, kubeconfig: Path) -> None:
        self._config = yaml.safe_load(kubeconfig.read_text())
        upstream = urlsplit(self._config["clusters"][0]["cluster"]["server"])
        self._host, self._port = upstream.hostname or "", upstream.port or 443
        self._tls = ssl.create_default_context()
        self._tls.check_hostname, self._tls.verify_mode = False, ssl.CERT_NONE
        self._holds: list[Hold] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        starting = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._serve, "127.0.0.1", 0), self._loop)
        self._server = starting.result(10)
        return self

    def __exit__(self, *_: object) -> None:
        async def end() -> None:
            self._server.close()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def write_kubeconfig(self, path: Path) -> Path:
        """A kubeconfig that leads through the proxy."""
        port = self._server.sockets[0].getsockname()[1]
        config = {**self._config, "clusters": [dict(entry) for entry in self._config["clusters"]]}
        config["clusters"][0]["cluster"] = {"server": f"http://127.0.0.1:{port}"}
        path.write_text(yaml.safe_dump(config))
        return path

    def hold(self, method: str, *needles: str, answered: bool, when: Callable[[], bool] = lambda: True) -> Hold:
        """Hold the next such request."""
        hold = Hold(method, needles, answered, when)
        self._holds.append(hold)
        return hold

    def release(self, hold: Hold) -> None:
        """Let a held request go on, or a hold that was never met be gone."""

        def free() -> None:
            hold.taken = hold.released = True
            hold.waiter.set()

        self._loop.call_soon_threadsafe(free)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._forward(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError, ssl.SSLError):
            # Either end went away: the other sees its connection end, as without a proxy.
            pass
        finally:
            writer.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(HEAD_END)
        lines = head[: -len(HEAD_END)].decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        hold = next((hold for hold in self._holds if hold.matches(lines[0], body)), None)
        if hold is not None:
            hold.taken = True
            if not hold.answered:
                hold.reached.set()
                await hold.waiter.wait()
        if "upgrade" not in headers:
            lines = [line for line in lines if not line.lower().startswith("connection:")] + ["Connection: close"]
        server_reader, server_writer = await asyncio.open_connection(self._host, self._port, ssl=self._tls)
        try:
            server_writer.write("\r\n".join(lines).encode("latin-1") + HEAD_END + body)
            await server_writer.drain()
            if hold is not None and hold.answered:
                first = await server_reader.read(65536)
                hold.reached.set()
                await hold.waiter.wait()
                writer.write(first)
            await self._pump(reader, writer, server_reader, server_writer)
        finally:
            server_writer.close()

    @staticmethod
    async def _pump(
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        server_reader: asyncio.StreamReader,
        server_writer: asyncio.StreamWriter,
    ) -> None:
        """Copy both ways until one end is done."""

        async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                target.write(data)
                await target.drain()

        both = {asyncio.create_task(copy(reader, server_writer)), asyncio.create_task(copy(server_reader, writer))}
        _, left = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        for task in left:
            task.cancel()
        for task in both:
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await task
