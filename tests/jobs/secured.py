"""A real broker that asks who comes, for the suites of the images that read topics."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from tests.services import ROOT

PASSWORD = "correct horse battery staple"


@dataclass(frozen=True)
class Secured:
    """The broker: its listeners' addresses (`internal` lets everybody in) and the folder with its certificates."""

    clients: str
    mutual: str
    internal: str
    folder: Path


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """A broker that knows the user `podium`."""
    folder = tmp_path_factory.mktemp("secured")
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(4)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        clients, mutual, internal, controller = (one.getsockname()[1] for one in sockets)
    python = os.environ.get("PODIUM_STACK_PYTHON", sys.executable)
    with (folder / "broker.log").open("wb") as log:
        process = subprocess.Popen(
            [
                python,
                "-m",
                "tests.jobs.ingest.secured",
                str(folder),
                *map(str, (clients, mutual, internal, controller)),
            ],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        _make_user(process, f"127.0.0.1:{internal}", folder / "broker.log")
        yield Secured(f"127.0.0.1:{clients}", f"127.0.0.1:{mutual}", f"127.0.0.1:{internal}", folder)
    finally:
        process.terminate()
        process.wait(60)


def _make_user(process: "subprocess.Popen[bytes]", internal: str, log: Path) -> None:
    admin = AdminClient({"bootstrap.servers": internal, "log_level": 0})
    deadline = time.monotonic() + 120
    while True:
        try:
            admin.list_topics(timeout=5)
            break
        except KafkaException:
            assert process.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < deadline, log.read_text()[-3000:]
    user = UserScramCredentialUpsertion(
        "podium", ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096), PASSWORD.encode()
    )
    admin.alter_user_scram_credentials([user])["podium"].result(30)


def environment(folder: Path, secured: Secured, protocol: str, **files: bytes) -> dict[str, str]:
    """What a pod would have: its variables, and its credentials in `folder`."""
    folder.mkdir(exist_ok=True)
    (folder / "kafka_ca.pem").write_bytes((secured.folder / "server" / "server.crt").read_bytes())
    for name, content in files.items():
        (folder / name.replace("_pem", ".pem").replace("_crt", ".crt").replace("_key", ".key")).write_bytes(content)
    mechanism = {"KAFKA_SASL_MECHANISM": "SCRAM-SHA-512"} if protocol == "SASL_SSL" else {}
    return {"PODIUM_CREDENTIALS_DIR": str(folder), "KAFKA_SECURITY_PROTOCOL": protocol, **mechanism}
