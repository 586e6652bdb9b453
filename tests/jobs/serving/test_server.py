"""The real server, as a process, on an address of its own."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest

ROOT = Path(__file__).parents[3]
START_S = 120
KEY = "key of the tests"


@dataclass
class Server:
    process: subprocess.Popen[str]
    host: str
    port: int

    def get(self, path: str, **headers: str) -> tuple[int, Any]:
        return self._ask(urllib.request.Request(f"http://{self.host}:{self.port}{path}", headers=headers))

    def predict(self, body: bytes, kind: str = "application/json", shown: str = f"Bearer {KEY}") -> tuple[int, Any]:
        url = f"http://{self.host}:{self.port}/v1/models/recommender:predict"
        headers = {"Content-Type": kind, **({"Authorization": shown} if shown else {})}
        return self._ask(urllib.request.Request(url, data=body, headers=headers))

    @staticmethod
    def _ask(request: urllib.request.Request) -> tuple[int, Any]:
        try:
            with urllib.request.urlopen(request, timeout=30) as reply:
                return reply.status, json.loads(reply.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())


def start(model: Path | str, host: str, credentials: Path, *arguments: str, log: IO[str] | None = None) -> Server:
    credentials.mkdir(exist_ok=True)
    (credentials / "serving_key").write_text(f"{KEY}\n")
    with socket.socket() as probe:
        probe.bind((host, 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "include.jobs.serving", "--model-uri", str(model), "--port", str(port), *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "POD_IP": host, "PODIUM_CREDENTIALS_DIR": str(credentials)},
        stdout=log or subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return Server(process, host, port)


def wait_until_ready(server: Server) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        if server.process.poll() is not None:
            pytest.fail(f"the server ended: {server.process.stdout and server.process.stdout.read()}")
        try:
            if server.get("/v1/models/recommender")[0] == 200:
                return
        except OSError:
            time.sleep(0.1)
    pytest.fail(f"the server is not ready after {START_S} s")


@pytest.fixture(scope="module")
def server(model_folder: Path) -> Iterator[Server]:
    # Not 127.0.0.1: pods have loopback addresses of their own, and must leave the others alone.
    server = start(model_folder, "127.0.0.9", model_folder.with_name("credentials"))
    try:
        wait_until_ready(server)
        yield server
    finally:
        server.process.kill()
        server.process.communicate()


def test_it_answers_each_instance_in_order(server: Server) -> None:
    body = {"instances": [{"household_id": 3, "k": 4}, {"household_id": 8, "k": 1}]}
    status, reply = server.predict(json.dumps(body).encode())
    assert status == 200
    first, second = reply["predictions"]
    assert (first["household_id"], first["products"], first["personal"]) == (3, [101, 102, 100, 200], 3)
    assert (second["household_id"], second["products"], second["personal"]) == (8, [200], 0)
    assert first["model_version"] == second["model_version"]
    assert first["feature_view"] == second["feature_view"] == "4711"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"instances": [{"household_id": "x"}]}', "instances[0].household_id must be an integer"),
        (b'{"instances": 4}', '"instances" must be a list'),
        (b"{", "Unrecognized request format"),
        (b"[]", "must be a JSON object"),
    ],
)
def test_a_bad_request_is_a_400_that_says_why(server: Server, body: bytes, message: str) -> None:
    status, reply = server.predict(body)
    assert status == 400
    assert message in reply["error"]


def test_another_content_type_is_a_415_that_says_what_is_read(server: Server) -> None:
    status, reply = server.predict(b"household=3", "application/x-www-form-urlencoded")
    assert status == 415
    assert "send JSON as application/json" in reply["error"]


def test_another_models_name_is_a_404(server: Server) -> None:
    assert server.get("/v1/models/fraud", Authorization=f"Bearer {KEY}")[0] == 404


@pytest.mark.parametrize("shown", ["", KEY, "Bearer ", f"Bearer {KEY}x", f"Basic {KEY}"])
def test_who_shows_no_key_learns_nothing_about_a_household(server: Server, shown: str) -> None:
    status, reply = server.predict(b'{"instances": [{"household_id": 3}]}', shown=shown)
    assert (status, reply.keys()) == (401, {"error"})


@pytest.mark.parametrize("path", ["/v1/models", "/v2/models/recommender", "/docs", "/openapi.json"])
def test_without_the_key_only_health_is_told(server: Server, path: str) -> None:
    assert server.get(path)[0] == 401
    assert server.get("/v1/models/recommender")[0] == server.get("/v2/health/ready")[0] == 200


def test_it_does_not_start_without_a_key(model_folder: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "include.jobs.serving", "--model-uri", str(model_folder)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PODIUM_CREDENTIALS_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "serving_key cannot be read" in done.stderr


def test_it_listens_on_the_pods_address_alone(server: Server) -> None:
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", server.port), timeout=5):
        pass


def test_many_at_once_are_all_answered(server: Server) -> None:
    body = json.dumps({"instances": [{"household_id": 9}]}).encode()
    replies: list[int] = []

    def ask() -> None:
        replies.extend(server.predict(body)[0] for _ in range(20))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert replies == [200] * 160


def test_sigterm_ends_it_without_an_error(model_folder: Path) -> None:
    server = start(model_folder, "127.0.0.10", model_folder.with_name("credentials"))
    try:
        wait_until_ready(server)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) in (0, -signal.SIGTERM)
    finally:
        server.process.kill()
        server.process.communicate()


def test_a_model_that_cannot_be_read_is_told_in_one_line(tmp_path: Path) -> None:
    server = start(tmp_path, "127.0.0.11", tmp_path.with_name("credentials"))
    output, _ = server.process.communicate(timeout=START_S)
    assert server.process.returncode == 1
    assert output.strip().splitlines()[-1].startswith("ModelFormatError: model in")
    assert "Traceback" not in output
