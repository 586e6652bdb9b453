"""The remote shell of MPI launchers, against a real WebSocket server that really runs the commands."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import WSMsgType, web

from include.devcluster.controllers import kubexec
from tests.devcluster.controllers.support import wait_for

HELPER = kubexec.__file__
TOKEN = "s3cret-token"


class ExecServer:
    """``pods/exec`` over ``v4.channel.k8s.io``: what a kubelet does, for commands on this machine."""

    def __init__(self) -> None:
        self.requests: list[web.Request] = []
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()
        assert self._started.wait(10)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.run_forever()

    async def _serve(self) -> None:
        app = web.Application()
        app.router.add_get("/api/v1/namespaces/{namespace}/pods/{pod}/exec", self._exec)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        assert site._server is not None
        port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
        self.url = f"http://127.0.0.1:{port}"
        self._started.set()

    async def _exec(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return web.json_response({"message": "Unauthorized"}, status=401)
        socket = web.WebSocketResponse(protocols=("v4.channel.k8s.io",), heartbeat=0.2)
        await socket.prepare(request)
        if request.match_info["pod"] == "train-worker-9":
            await socket.close()
            return socket
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            sys.executable, *request.query.getall("command")[1:], stdin=pipe, stdout=pipe, stderr=pipe
        )
        assert process.stdin
        assert process.stdout
        assert process.stderr

        feeder = asyncio.ensure_future(feed(socket, process.stdin))
        if request.match_info["pod"] == "train-worker-1":
            # Some runtimes kill what they started for a connection that broke.
            feeder.add_done_callback(lambda _: process.kill() if process.returncode is None else None)
        try:
            await asyncio.gather(pump(process.stdout, socket, 1), pump(process.stderr, socket, 2))
        except (ConnectionError, RuntimeError):
            await process.wait()
            return socket
        if not socket.closed:
            await socket.send_bytes(b"\x03" + final_status(await process.wait()))
        feeder.cancel()
        await socket.close()
        return socket


async def pump(stream: asyncio.StreamReader, socket: web.WebSocketResponse, channel: int) -> None:
    while data := await stream.read(1 << 18):
        await socket.send_bytes(bytes([channel]) + data)


async def feed(socket: web.WebSocketResponse, stdin: asyncio.StreamWriter) -> None:
    async for message in socket:
        if message.type == WSMsgType.BINARY and message.data[:1] == b"\x00":
            stdin.write(message.data[1:])
    stdin.close()


def final_status(code: int) -> bytes:
    if not code:
        return b'{"status": "Success"}'
    causes = [{"reason": "ExitCode", "message": str(code)}]
    return json.dumps({"status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": causes}}).encode()


@pytest.fixture(scope="module")
def server() -> Iterator[ExecServer]:
    running = ExecServer()
    running.start()
    yield running
    running.stop()


@pytest.fixture
def launcher(server: ExecServer, tmp_path: Path) -> Path:
    """A copy of the helper as a launcher pod sees it, with its fixed paths under ``tmp_path``."""
    hosts = {
        "namespace": "podium",
        "container": "worker",
        "pods": {"127.64.0.2": "train-worker-0", "127.64.0.3": "train-worker-1", "127.64.0.9": "train-worker-9"},
    }
    (tmp_path / "hosts.json").write_text(json.dumps(hosts))
    (tmp_path / "termination-log").touch()
    for name, value in (("server", server.url), ("token", TOKEN), ("ca.crt", "")):
        (tmp_path / name).write_text(value)
    text = Path(HELPER).read_text()
    for constant, path in (
        (kubexec.HOSTS_FILE, tmp_path / "hosts.json"),
        (kubexec.CREDENTIALS, tmp_path),
        (kubexec.TERMINATION_LOG, tmp_path / "termination-log"),
    ):
        text = text.replace(f'"{constant}"', f'"{path}"')
    helper = tmp_path / "kubexec.py"
    helper.write_text(text)
    return helper


def call(launcher: Path, command: str, host: str = "127.64.0.2") -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, launcher, host, command], capture_output=True, text=True, timeout=60)


def test_output_and_success_come_back(launcher: Path) -> None:
    done = call(launcher, "echo out; echo err >&2")
    assert (done.returncode, done.stdout, done.stderr) == (0, "out\n", "err\n")


def test_the_exit_code_comes_back_and_the_failure_is_left_for_the_job(launcher: Path) -> None:
    done = call(launcher, "echo ValueError: bad label >&2; exit 3")
    assert done.returncode == 3
    left = (launcher.parent / "termination-log").read_text()
    assert left == "rank in pod train-worker-0 exited with code 3: ValueError: bad label\n"
    call(launcher, "exit 4")
    assert (launcher.parent / "termination-log").read_text() == left, "the first failure is the cause"


def test_a_signal_is_reported_as_a_shell_does(launcher: Path) -> None:
    assert call(launcher, "kill -9 $$").returncode == 137


@pytest.mark.parametrize("size", [100, 70_000, 3_000_000])
def test_any_amount_of_output_passes(launcher: Path, size: int) -> None:
    done = call(launcher, f"{sys.executable} -c 'print(\"x\" * {size})'")
    assert len(done.stdout) == size + 1


def test_a_long_environment_passes_and_stays_out_of_the_url(launcher: Path, server: ExecServer) -> None:
    secret = "y" * 60_000
    done = call(launcher, f"env BIG={secret} {sys.executable} -c 'import os; print(len(os.environ[\"BIG\"]))'")
    assert done.stdout == "60000\n"
    assert "yyyy" not in server.requests[-1].path_qs
    assert TOKEN not in server.requests[-1].path_qs


def test_a_quiet_connection_stays_up(launcher: Path) -> None:
    assert call(launcher, "sleep 1; echo late").stdout == "late\n"


@pytest.mark.parametrize("host", ["127.64.0.2", "127.64.0.3"])
def test_killing_the_helper_kills_the_command_and_its_children(launcher: Path, tmp_path: Path, host: str) -> None:
    mark = tmp_path / "pids"
    command = f"sleep 300 & echo $$ $! > {mark}.new; mv {mark}.new {mark}; wait"
    helper = subprocess.Popen([sys.executable, launcher, host, command])
    wait_for(mark.exists)
    pids = [int(pid) for pid in mark.read_text().split()]
    assert all(alive(pid) for pid in pids)
    helper.send_signal(signal.SIGKILL)
    helper.wait()
    wait_for(lambda: not any(alive(pid) for pid in pids))


def test_what_the_command_leaves_behind_ends_with_it(launcher: Path, tmp_path: Path) -> None:
    done = call(launcher, f"sleep 300 > /dev/null 2>&1 & echo $! > {tmp_path}/left")
    assert done.returncode == 0
    wait_for(lambda: not alive(int((tmp_path / "left").read_text())))


def test_unknown_host_refused_credentials_and_broken_connection_are_named(launcher: Path) -> None:
    unknown = call(launcher, "true", host="127.64.0.77")
    assert unknown.returncode == kubexec.EXIT_UNREACHABLE
    assert "no worker pod has the address 127.64.0.77" in unknown.stderr
    broken = call(launcher, "true", host="127.64.0.9")
    assert broken.returncode == kubexec.EXIT_UNREACHABLE
    assert "train-worker-9 broke before the command ended" in broken.stderr
    (launcher.parent / "token").write_text("wrong")
    refused = call(launcher, "true")
    assert refused.returncode == kubexec.EXIT_UNREACHABLE
    assert "401" in refused.stderr
    assert "wrong" not in refused.stderr


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
