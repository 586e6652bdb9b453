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
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from kubernetes_asyncio.client import ApiClient, Configuration, CoreV1Api
from podium.hooks import pod_log
from podium.hooks.copied_log import read
from podium.hooks.pod_log import Mark, PodLog

from tests.plugins.cluster import Platform, wait_for
from tests.plugins.test_pod_operator import numbers

CHECKOUT = Path(__file__).parents[2]


def test_marks_order_as_the_lines_do() -> None:
    texts = ["2026-01-01T00:00:00Z", "2026-01-01T00:00:00.000000001Z", "2026-01-01T00:00:00.1Z", "2026-01-01T00:00:01Z"]
    marks = [Mark.of(text) for text in texts]
    assert marks == sorted(marks)
    assert Mark.of("2026-01-01T02:00:00.5+02:00") == Mark.of("2026-01-01T00:00:00.500000000Z")


@pytest.mark.parametrize("text", ["", "nonsense", "2026-01-01 00:00:00", "2026-01-01T00:00:00"])
def test_what_is_no_timestamp(text: str) -> None:
    with pytest.raises(ValueError, match="no timestamp"):
        Mark.of(text)


class Server:
    """A pod whose log comes in pieces: each answer is one stream, which then breaks off."""

    def __init__(self, *streams: bytes) -> None:
        self.streams = list(streams)
        self.asked: list[dict[str, str]] = []

    def pod(self) -> dict[str, Any]:
        ended = {"terminated": {"exitCode": 0}} if not self.streams else {"running": {}}
        status = {"phase": "Running", "containerStatuses": [status_of(ended)]}
        return {
            "metadata": {"name": "fit", "namespace": "podium"},
            "spec": {"containers": [{"name": "base"}]},
            "status": status,
        }

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


def status_of(state: dict[str, Any]) -> dict[str, Any]:
    return {"name": "base", "state": state, "ready": True, "restartCount": 0, "image": "i", "imageID": "i"}


def copied(server: Server, already: Mark | None = None) -> list[str]:
    lines: list[str] = []

    async def copy() -> None:
        app = web.Application()
        path = "/api/v1/namespaces/podium/pods/fit"
        app.add_routes([web.get(f"{path}/log", server.log), web.get(path, server.read)])
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        try:
            async with ApiClient(Configuration(host=f"http://127.0.0.1:{port}")) as client:
                log = PodLog(CoreV1Api(client), server.pod(), "base", lambda line, _: lines.append(line), already)
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


def test_goes_on_after_what_an_earlier_copy_has_shown() -> None:
    whole = stamped(("01.1", "a"), ("02.1", "b"), ("02.1", "c"), ("03.1", "d"))
    assert copied(Server(whole), Mark("2026-01-01T00:00:02", 100_000_000, 1)) == ["c", "d"]
    assert copied(Server(whole)) == ["a", "b", "c", "d"]


def test_the_files_of_earlier_triggerers_tell_what_is_shown(tmp_path: Path) -> None:
    def entry(logger: str, timestamp: str) -> str:
        return json.dumps({"timestamp": timestamp, "event": "x", "logger": logger}) + "\n"

    moment = "2026-01-01T00:00:02.1Z"
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text(
        entry("pod/a", "2026-01-01T00:00:01Z")
        + entry("pod/a", moment)
        + entry("podium.triggers.pod.PodTrigger", "2026-01-01T00:00:09Z")
        + '{"timestamp": "2026-01-01T00:00:03Z", "logger": "pod/a", "ev'
    )
    second.write_text("no JSON about pod/a\n" + entry("pod/a", moment) + entry("pod/b", "2026-01-01T00:00:05Z"))
    assert read([first, second]) == {
        "a": Mark("2026-01-01T00:00:02", 100_000_000, 2),
        "b": Mark("2026-01-01T00:00:05", 0, 1),
    }
    assert read([]) == {}


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


# Writes its log as Airflow's triggerer does: JSON lines, in a file of its own for each try.
TRIGGERER = """
    import asyncio, json, sys
    from types import SimpleNamespace

    import structlog
    from airflow.utils.helpers import log_filename_template_renderer
    from podium.triggers.pod import PodTrigger

    arguments, folder, number = json.loads(sys.argv[1]), sys.argv[2], sys.argv[3]
    ti = SimpleNamespace(dag_id="d", run_id="r", task_id="t", map_index=-1, try_number=1)
    file = open(f"{folder}/{log_filename_template_renderer()(ti=ti)}.trigger.{number}.log", "wb")
    structlog.configure(
        processors=[
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.processors.MaybeTimeStamper(fmt="iso"),
            structlog.processors.EventRenamer("event"),
            lambda logger, method, event: event | {"logger": event.pop("logger_name", None)},
            structlog.processors.JSONRenderer(serializer=lambda event, **_: json.dumps(event, default=str).encode()),
        ],
        logger_factory=structlog.BytesLoggerFactory(file),
    )

    async def run():
        trigger = PodTrigger(**arguments)
        trigger.task_instance = ti
        async for event in trigger.run():
            print("EVENT", event.payload["status"], event.payload["log_complete"], flush=True)

    asyncio.run(run())
"""


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL], ids=["stopped", "killed"])
def test_a_triggerer_that_takes_over_goes_on_where_the_other_one_ended(
    platform: Platform, name: str, end: signal.Signals, tmp_path: Path, doorbell: "Doorbell"
) -> None:
    """Without a gap, and with no line twice, whether it was stopped or killed."""
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
        "copies_log": True,
    }
    python_path = os.pathsep.join((str(CHECKOUT), str(CHECKOUT / "plugins")))

    folder = tmp_path / "dag_id=d" / "run_id=r" / "task_id=t"
    folder.mkdir(parents=True)

    def triggerer(number: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", textwrap.dedent(TRIGGERER), json.dumps(arguments), str(tmp_path), str(number)]
        environment = {
            **os.environ,
            "PYTHONPATH": python_path,
            "PYTHONUNBUFFERED": "1",
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(tmp_path),
        }
        with (tmp_path / f"out.{number}").open("wb") as out:
            return subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.STDOUT)

    def shown(number: int) -> list[int]:
        log = folder / f"attempt=1.log.trigger.{number}.log"
        return numbers(log.read_text()) if log.exists() else []

    first = triggerer(1)
    wait_for(lambda: len(shown(1)) > 20, "the first triggerer to copy some lines")
    first.send_signal(end)
    first.wait(30)
    second = triggerer(2)
    wait_for(lambda: bool(shown(2)), "the second triggerer to copy some lines")
    doorbell.rung.set()
    output = tmp_path / "out.2"
    assert second.wait(90) == 0, output.read_text()
    assert "EVENT success True" in output.read_text()
    (last,) = re.findall(r"that was line (\d+) ", (folder / "attempt=1.log.trigger.2.log").read_text())
    assert shown(1) + shown(2) == list(range(int(last) + 1))
