"""What HTTP clients of other languages, browsers, proxies and balancers send: answered, or told what is wrong."""

import gzip
import http.client
import json
import socket
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from include.jobs.serving.clients import LARGEST_BODY
from tests.jobs.serving.test_server import KEY, Server, start, wait_until_ready

PREDICT = "/v1/models/recommender:predict"
BODY = json.dumps({"instances": [{"household_id": 3, "k": 4}]}).encode()
WANTED = [101, 102, 100, 200]
SHOWN = f"Authorization: Bearer {KEY}"
BARE = zlib.compressobj(wbits=-zlib.MAX_WBITS)
RAW_DEFLATE = BARE.compress(BODY) + BARE.flush()
#: Headers and body of requests that are answered.
ANSWERED: dict[str, tuple[dict[str, str], bytes]] = {
    "charset": ({"Content-Type": "application/json; charset=utf-8"}, BODY),
    "quoted": ({"Content-Type": 'application/json;charset="UTF-8"; profile=x'}, BODY),
    "odd case": ({"Content-Type": "Application/JSON"}, BODY),
    "of .NET of old": ({"Content-Type": "text/json"}, BODY),
    "a vendor's": ({"Content-Type": "application/vnd.shop.v1+json"}, BODY),
    "none": ({}, BODY),
    "gzip": ({"Content-Type": "application/json", "Content-Encoding": "gzip"}, gzip.compress(BODY)),
    "x-gzip": ({"Content-Type": "application/json", "Content-Encoding": "X-GZIP"}, gzip.compress(BODY)),
    "deflate": ({"Content-Type": "application/json", "Content-Encoding": "deflate"}, zlib.compress(BODY)),
    "deflate without its header": ({"Content-Type": "application/json", "Content-Encoding": "deflate"}, RAW_DEFLATE),
    "identity": ({"Content-Type": "application/json", "Content-Encoding": "identity"}, BODY),
    "twice": (
        {"Content-Type": "application/json", "Content-Encoding": "deflate, gzip"},
        gzip.compress(zlib.compress(BODY)),
    ),
    "byte order mark": ({"Content-Type": "application/json"}, b"\xef\xbb\xbf" + BODY),
    "latin-1": ({"Content-Type": "application/json; charset=ISO-8859-1"}, BODY),
    "utf-16": ({"Content-Type": "application/json; charset=utf-16"}, BODY.decode().encode("utf-16")),
    "utf-16 unsaid": ({"Content-Type": "application/json"}, BODY.decode().encode("utf-16")),
    "space before": ({"Content-Type": "application/json"}, b"\r\n  " + BODY),
}
V2 = {"inputs": [{"name": "household_id", "shape": [1], "datatype": "INT64", "data": [3]}]}
JSON = {"Content-Type": "application/json"}
#: Method, path, headers, body, status of the answer, and what it says.
REFUSED: dict[str, tuple[str, str, dict[str, str], bytes, int, str]] = {
    "empty": ("POST", PREDICT, JSON, b"", 400, "the body is empty"),
    "only a mark": ("POST", PREDICT, JSON, b"\xef\xbb\xbf", 400, "Unrecognized request format"),
    "brotli": ("POST", PREDICT, JSON | {"Content-Encoding": "br"}, b"x", 415, "content-encoding 'br' is not read"),
    "no gzip": ("POST", PREDICT, JSON | {"Content-Encoding": "gzip"}, BODY, 400, "not what its content-encoding"),
    "half a gzip": (
        *("POST", PREDICT, JSON | {"Content-Encoding": "gzip"}, gzip.compress(BODY)[:-9], 400),
        "not what its content-encoding",
    ),
    "form": ("POST", PREDICT, {"Content-Type": "multipart/form-data; boundary=x"}, BODY, 415, "send JSON as"),
    "plain text": ("POST", PREDICT, {"Content-Type": "text/plain;charset=UTF-8"}, BODY, 415, "send JSON as"),
    "no type": ("POST", PREDICT, {"Content-Type": "json"}, BODY, 415, "a body of type 'json' is not read"),
    "a charset that is none": (
        "POST",
        PREDICT,
        {"Content-Type": "application/json; charset=x"},
        BODY,
        415,
        "no text in 'x'",
    ),
    "no charset": ("POST", PREDICT, {"Content-Type": "application/json; charset=zlib"}, BODY, 415, "no text in 'zlib'"),
    "not utf-8": ("POST", PREDICT, JSON, b'{"instances": ["\xff"]}', 400, "Unrecognized request format"),
    "not JSON": ("POST", PREDICT, JSON, b"<xml/>", 400, "Unrecognized request format"),
    "V2 at V1": ("POST", PREDICT, JSON, json.dumps(V2).encode(), 400, "this model speaks the V1 protocol"),
    "V2": ("POST", "/v2/models/recommender/infer", JSON, json.dumps(V2).encode(), 400, "speaks the V1 protocol"),
    "half of V2": ("POST", "/v2/models/recommender/infer", JSON, b'{"inputs": 3}', 422, "not one of this protocol"),
    "GET": ("GET", PREDICT, {}, b"", 405, "POST to it"),
    "PUT": ("PUT", PREDICT, JSON, BODY, 405, "POST to it"),
    "DELETE": ("DELETE", "/v1/models/recommender", {}, b"", 405, "Method Not Allowed"),
    "another model": ("POST", "/v1/models/fraud:predict", JSON, BODY, 404, "fraud does not exist"),
    "another path": ("POST", "/predict", JSON, BODY, 404, "Not Found"),
    "explain": ("POST", "/v1/models/recommender:explain", JSON, BODY, 501, "explainer_host"),
    "hostile": ("POST", PREDICT, JSON, b'{"instances": [{"\\u001b[2J\\nERROR": 1}]}', 400, "unknown fields"),
    "too large": ("POST", PREDICT, JSON, b" " * (LARGEST_BODY + 1), 413, "more than 1048576 bytes"),
    "a bomb": (
        *("POST", PREDICT, JSON | {"Content-Encoding": "gzip"}, gzip.compress(b" " * (LARGEST_BODY * 100)), 413),
        "more than 1048576 bytes",
    ),
}


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("server") / "log"


@pytest.fixture(scope="module")
def server(model_folder: Path, log: Path) -> Iterator[Server]:
    with log.open("w") as stream:
        server = start(model_folder, "127.0.0.12", model_folder.with_name("credentials"), log=stream)
        try:
            wait_until_ready(server)
            yield server
        finally:
            server.process.kill()
            server.process.communicate()


@pytest.fixture
def client(server: Server) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection(server.host, server.port, timeout=30)
    yield connection
    connection.close()


def asked(
    client: http.client.HTTPConnection, method: str, path: str, headers: dict[str, str], body: Any
) -> tuple[int, bytes]:
    client.request(method, path, body or None, {"Authorization": f"Bearer {KEY}", **headers})
    reply = client.getresponse()
    return reply.status, reply.read()


@pytest.mark.parametrize("name", ANSWERED)
def test_what_can_be_read_is_answered(client: http.client.HTTPConnection, name: str) -> None:
    headers, body = ANSWERED[name]
    status, reply = asked(client, "POST", PREDICT, headers, body)
    assert status == 200, reply
    assert json.loads(reply)["predictions"][0]["products"] == WANTED


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_answered_says_why_on_one_line_of_the_log(
    client: http.client.HTTPConnection, log: Path, name: str
) -> None:
    method, path, headers, body, status, text = REFUSED[name]
    before = log.read_text()
    found, reply = asked(client, method, path, headers, body)
    assert (found, text in json.loads(reply)["error"]) == (status, True), reply
    said = log.read_text().removeprefix(before)
    assert said.count("\n") == 1, said
    assert f": {status} " in said
    assert text in said
    assert "\x1b" not in said
    if status != 413:
        assert asked(client, "POST", PREDICT, JSON, BODY)[0] == 200, "the connection goes on"


@pytest.mark.parametrize("path", ["/", "/v1/models/recommender", "/v2/health/ready", "/metrics"])
def test_head_is_get_without_the_body(client: http.client.HTTPConnection, path: str) -> None:
    assert asked(client, "HEAD", path, {}, b"") == (200, b"")
    assert asked(client, "GET", path, {}, b"")[0] == 200, "the connection goes on"


def test_one_connection_answers_many_requests_of_all_kinds(client: http.client.HTTPConnection) -> None:
    sockets = set()
    for headers, body in ANSWERED.values():
        assert asked(client, "POST", PREDICT, headers, body)[0] == 200
        sockets.add(id(client.sock))
    assert len(sockets) == 1


def test_a_body_in_chunks_is_read_and_bounded(client: http.client.HTTPConnection, server: Server) -> None:
    status, _ = asked(client, "POST", PREDICT, JSON, iter([BODY[:10], BODY[10:20], BODY[20:]]))
    assert status == 200
    with socket.create_connection((server.host, server.port), timeout=30) as raw:
        raw.sendall(f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\n{SHOWN}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        part = b" " * 65_536
        for _ in range(LARGEST_BODY // len(part) + 1):
            raw.sendall(b"10000\r\n" + part + b"\r\n")
        assert raw.recv(65_536).startswith(b"HTTP/1.1 413 ")


def test_a_client_that_goes_away_is_no_trouble(server: Server, log: Path) -> None:
    with socket.create_connection((server.host, server.port), timeout=30) as raw:
        raw.sendall(f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\n{SHOWN}\r\nContent-Length: 100\r\n\r\n{{".encode())
    assert server.get("/v1/models/recommender")[0] == 200
    assert "Traceback" not in log.read_text()
