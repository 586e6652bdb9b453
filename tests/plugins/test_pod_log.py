"""Copying a pod's log across restarts of the copier, and through what goes wrong with streams."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from kubernetes_asyncio.client import ApiClient, Configuration, CoreV1Api
from podium.hooks import pod_log
from podium.hooks.pod_log import MARK, Mark, PodLog

from tests.plugins.cluster import Platform, wait_for
from tests.plugins.test_pod_operator import numbers

CHECKOUT = Path(__file__).parents[2]


def test_marks_order_as_the_lines_do() -> None:
    texts = ["2026-01-01T00:00:00Z", "2026-01-01T00:00:00.000000001Z", "2026-01-01T00:00:00.1Z", "2026-01-01T00:00:01Z"]
    marks = [Mark.of(text) for text in texts]
    assert marks == sorted(marks)
    assert Mark.of("2026-01-01T02:00:00.5+02:00") == Mark.of("2026-01-01T00:00:00.500000000Z")
    assert [Mark.read(str(mark)) for mark in marks] == marks


@pytest.mark.parametrize("text", ["", "nonsense", "2026-01-01 00:00:00", "2026-01-01T00:00:00"])
def test_what_is_no_timestamp(text: str) -> None:
    with pytest.raises(ValueError, match="no timestamp"):
        Mark.of(text)
    assert Mark.read(text) is None


class Server:
    """A pod whose log comes in pieces: each answer is one stream, which then breaks off."""

    def __init__(self, *streams: bytes) -> None:
        self.streams, self.annotations = list(streams), {}
        self.asked: list[dict[str, str]] = []

    def pod(self) -> dict[str, Any]:
        ended = {"terminated": {"exitCode": 0}} if not self.streams else {"running": {}}
        status = {"phase": "Running", "containerStatuses": [status_of(ended)]}
        metadata = {"name": "fit", "namespace": "podium", "annotations": dict(self.annotations)}
        return {"metadata": metadata, "spec": {"containers": [{"name": "base"}]}, "status": status}

    async def log(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(dict(request.query))
        if not self.streams:
            return web.Response(body=b"")
        stream = self.streams.pop(0)
        if stream.startswith(b"!"):
            return web.json_response({"kind": "Status", "code": 500, "message": "the kubelet is away"}, status=500)
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(stream)
        if self.streams and request.transport is not None:
            # In the middle of a chunk: the client sees a broken connection, not an end.
            request.transport.close()
        return response

    async def read(self, request: web.Request) -> web.Response:
        return web.json_response(self.pod())

    async def patch(self, request: web.Request) -> web.Response:
        self.annotations |= (await request.json())["metadata"]["annotations"]
        return web.json_response(self.pod())


def status_of(state: dict[str, Any]) -> dict[str, Any]:
    return {"name": "base", "state": state, "ready": True, "restartCount": 0, "image": "i", "imageID": "i"}


def copied(server: Server, reader: str = "try 1") -> list[str]:
    lines: list[str] = []

    async def copy() -> None:
        app = web.Application()
        path = "/api/v1/namespaces/podium/pods/fit"
        app.add_routes([web.get(f"{path}/log", server.log), web.get(path, server.read), web.patch(path, server.patch)])
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        try:
            async with ApiClient(Configuration(host=f"http://127.0.0.1:{port}")) as client:
                log = PodLog(CoreV1Api(client), server.pod(), "base", reader, lambda line, _: lines.append(line))
                async with asyncio.timeout(30):
                    await log.copy(follow=True)
        finally:
            await runner.cleanup()

    asyncio.run(copy())
    return lines


def stamped(*lines: tuple[str, str]) -> bytes:
    return b"".join(f"2026-01-01T00:00:{second}Z {line}\n".encode() for second, line in lines)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pod_log, "FIRST_PAUSE_S", 0.01)


def test_goes_on_after_the_last_line_when_the_stream_breaks_even_within_one() -> None:
    first = stamped(("01.1", "a"), ("01.1", "b"), ("02.5", "c")) + b"2026-01-01T00:00:03.0Z brok"
    second = stamped(("01.1", "a"), ("01.1", "b"), ("02.5", "c"), ("03.0", "broken"), ("03.0", "twin"))
    server = Server(first, b"!", second)
    assert copied(server) == ["a", "b", "c", "broken", "twin"]
    assert "sinceSeconds" not in server.asked[0]
    assert "sinceSeconds" in server.asked[-1]


def test_lines_of_the_very_same_moment_are_all_there() -> None:
    lines = stamped(*(("01.1", str(number)) for number in range(5)))
    cut = stamped(*(("01.1", str(number)) for number in range(3)))
    assert copied(Server(cut, lines)) == ["0", "1", "2", "3", "4"]


def test_another_try_of_the_task_gets_the_whole_log_the_same_one_only_the_rest() -> None:
    whole = stamped(("01.1", "a"), ("02.1", "b"))
    server = Server(whole)
    copied(server)
    assert server.annotations[MARK].startswith("try 1|2026-01-01T00:00:02.100000000/1")
    server.streams = [whole + stamped(("03.1", "c"))]
    assert copied(server) == ["c"]
    server.streams = [whole]
    assert copied(server, "try 2") == ["a", "b"]


# Says something until it is told to stop.
TALKER = """
    import itertools, time, urllib.request
    for n in itertools.count():
        print(f"line {n}.", flush=True)
        time.sleep(0.02)
        if urllib.request.urlopen("ADDRESS").read() == b"stop":
            break
    print(f"that was line {n} at last", flush=True)
"""


class Doorbell(ThreadingHTTPServer):
    """Tells whoever asks whether to go on."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.rung = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answer(BaseHTTPRequestHandler):
    """The door's answer."""

    def do_GET(self) -> None:
        assert isinstance(self.server, Doorbell)
        answer = b"stop" if self.server.rung.is_set() else b"go"
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on the console."""


@pytest.fixture
def doorbell() -> Iterator[Doorbell]:
    with Doorbell() as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


TRIGGERER = """
    import asyncio, sys, json
    from podium.triggers.pod import PodTrigger

    async def run():
        async for event in PodTrigger(**json.loads(sys.argv[1])).run():
            print("EVENT", event.payload["status"], event.payload["log_complete"], flush=True)

    asyncio.run(run())
"""


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL], ids=["stopped", "killed"])
def test_a_triggerer_that_takes_over_goes_on_where_the_other_one_ended(
    platform: Platform, name: str, end: signal.Signals, tmp_path: Path, doorbell: "Doorbell"
) -> None:
    """One that stops leaves no line twice; one that is killed at most those of the last moment, never a gap."""
    pod = f"log-{name.rpartition('-')[2]}"
    code = textwrap.dedent(TALKER).replace("ADDRESS", doorbell.url)
    container = {"name": "base", "image": "podium/ingest:dev", "command": ["python", "-c", code]}
    spec = {"containers": [container], "restartPolicy": "Never"}
    base = f"/api/v1/namespaces/{platform.namespace}/pods"
    made = platform.call("POST", base, {"metadata": {"name": pod}, "spec": spec})
    arguments = {
        "base_container": "base",
        "startup_timeout_s": 60,
        "grace_s": 1,
        "namespace": platform.namespace,
        "name": pod,
        "uid": made["metadata"]["uid"],
        "conn_id": "kubernetes_default",
        "log_reader": "try 1",
    }
    python_path = os.pathsep.join((str(CHECKOUT), str(CHECKOUT / "plugins")))

    def triggerer(log: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", textwrap.dedent(TRIGGERER), json.dumps(arguments)]
        environment = {**os.environ, "PYTHONPATH": python_path, "PYTHONUNBUFFERED": "1"}
        with log.open("wb") as out:
            return subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.STDOUT)

    def reached(log: Path, number: int) -> Callable[[], bool]:
        return lambda: any(found >= number for found in numbers(log.read_text()))

    logs = [tmp_path / "first.log", tmp_path / "second.log"]
    first = triggerer(logs[0])
    wait_for(lambda: MARK in platform.pods()[pod]["metadata"].get("annotations", {}), "the first mark")
    wait_for(reached(logs[0], numbers(logs[0].read_text())[-1] + 5), "the first triggerer to copy some more lines")
    first.send_signal(end)
    first.wait(30)
    second = triggerer(logs[1])
    wait_for(lambda: bool(numbers(logs[1].read_text())), "the second triggerer to copy some lines")
    doorbell.rung.set()
    assert second.wait(90) == 0, logs[1].read_text()
    before, after = (numbers(log.read_text()) for log in logs)
    assert "EVENT success True" in logs[1].read_text()
    (last,) = re.findall(r"that was line (\d+) ", logs[1].read_text())
    assert after == list(range(after[0], int(last) + 1)), "nothing is missing, nothing comes twice in one log"
    assert before == list(range(before[-1] + 1))
    if end is signal.SIGINT:
        assert after[0] == before[-1] + 1
    else:
        # What was copied since the last mark, which is made every second.
        assert 0 < after[0] <= before[-1] + 1
