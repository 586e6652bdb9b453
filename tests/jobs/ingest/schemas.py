"""A real schema registry, as tests drive it, and what stands before one where it is not open."""

import base64
import http.client
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient

from include.jobs.ingest.registry import Registry
from tests.services import ROOT, ask_launcher

_JAVA = """
from include.stack.java import find
from include.stack.paths import Paths
find(Paths.from_environment().cache)
"""
_API = "/apis/ccompat/v7"


def framed(number: int, body: bytes) -> bytes:
    """A value in the wire format."""
    return b"\0" + number.to_bytes(4) + body


@dataclass(frozen=True)
class Served:
    """A registry: the ports that it is on, and its certificate."""

    port: int
    tls_port: int
    certificate: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{_API}"

    def open(self, schema_type: str) -> Registry:
        return Registry({"url": self.url}, schema_type)

    def register(self, schema: Any, schema_type: str, references: Sequence[tuple[str, str]] = ()) -> int:
        """The id of a schema, under a subject of its own; `references` are names and their subjects."""
        return self.register_as(f"{uuid.uuid4()}-value", schema, schema_type, references)

    def register_as(
        self, subject: str, schema: Any, schema_type: str, references: Sequence[tuple[str, str]] = ()
    ) -> int:
        needed = [SchemaReference(name, subject, 1) for name, subject in references]
        client = SchemaRegistryClient({"url": self.url})
        return client.register_schema(subject, Schema(json.dumps(schema), schema_type, needed))


@contextmanager
def serve(folder: Path) -> Iterator[Served]:
    """Apicurio Registry, from the cache or fetched; ended when it is left."""
    try:
        ask_launcher(_JAVA)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no Java for a schema registry: {error.stderr.strip().splitlines()[-1]}")
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(2)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        ports = [one.getsockname()[1] for one in sockets]
    log = folder / "registry.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                os.environ.get("PODIUM_STACK_PYTHON", sys.executable),
                *("-m", "tests.jobs.ingest.apicurio", str(folder), *map(str, ports)),
            ],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait(process, ports[0], log)
        yield Served(ports[0], ports[1], folder / "server" / "server.crt")
    finally:
        process.terminate()
        process.wait(60)


def _wait(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    deadline = time.monotonic() + 300
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", f"{_API}/subjects")
            if connection.getresponse().status == 200:
                return
        except OSError:
            assert process.poll() is None, log.read_text()[-3000:]
        finally:
            connection.close()
        assert time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(0.1)


@dataclass
class Gate:
    """What stands before a registry: TLS, a user and a password; remembers what was asked for."""

    served: Served
    user: str
    password: str
    port: int = 0
    asked: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}{_API}"

    def answer(self, path: str, authorization: str | None) -> tuple[int, bytes]:
        self.asked.append(path)
        if authorization != "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode():
            return 401, b"{}"
        connection = http.client.HTTPConnection("127.0.0.1", self.served.port, timeout=30)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


@contextmanager
def gate(served: Served, user: str, password: str) -> Iterator[Gate]:
    """Open one on a free port, with the registry's own certificate."""
    keeper = Gate(served, user, password)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = keeper.answer(self.path, self.headers["Authorization"])
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            """Says nothing."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(served.certificate, served.certificate.with_suffix(".key"))
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        keeper.port = server.server_port
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield keeper
        finally:
            server.shutdown()
            thread.join()
