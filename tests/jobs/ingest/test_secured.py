"""Brokers that ask who comes: SASL over TLS, and certificates on both sides, on a real broker that does."""

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

from include.jobs.ingest.topic import KafkaUnavailableError, Topic
from include.jobs.lake.connections import kafka_security
from include.jobs.lake.ledger import Interval, OffsetRange
from tests.jobs.ingest.broker import Broker, at, record
from tests.services import ROOT

PASSWORD = "correct horse battery staple"
INTERVAL = Interval(at(0), at(10))


@dataclass(frozen=True)
class Secured:
    """The broker: its listeners' addresses and the folder with its certificates."""

    clients: str
    mutual: str
    folder: Path


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
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
        _fill(process, f"127.0.0.1:{internal}", folder / "broker.log")
        yield Secured(f"127.0.0.1:{clients}", f"127.0.0.1:{mutual}", folder)
    finally:
        process.terminate()
        process.wait(60)


def _fill(process: "subprocess.Popen[bytes]", internal: str, log: Path) -> None:
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
    broker = Broker(internal)
    broker.create("events", 1)
    broker.send("events", [(0, hour, record(hour, hour)) for hour in range(5)])


def environment(folder: Path, secured: Secured, protocol: str, **files: bytes) -> dict[str, str]:
    """What a pod would have."""
    folder.mkdir(exist_ok=True)
    (folder / "kafka_ca.pem").write_bytes((secured.folder / "server" / "server.crt").read_bytes())
    for name, content in files.items():
        (folder / name.replace("_pem", ".pem").replace("_crt", ".crt").replace("_key", ".key")).write_bytes(content)
    mechanism = {"KAFKA_SASL_MECHANISM": "SCRAM-SHA-512"} if protocol == "SASL_SSL" else {}
    return {"PODIUM_CREDENTIALS_DIR": str(folder), "KAFKA_SECURITY_PROTOCOL": protocol, **mechanism}


def offsets(servers: str, environ: dict[str, str]) -> list[int]:
    with Topic(servers, "events", kafka_security(environ)) as topic:
        assert topic.view(INTERVAL).partitions[0].high == 5
        return [offset for records in topic.read({0: OffsetRange(0, 5)}) for offset in records.offsets.to_pylist()]


def test_a_topic_is_read_over_tls_with_a_user_and_a_password(secured: Secured, tmp_path: Path) -> None:
    environ = environment(tmp_path, secured, "SASL_SSL", kafka_username=b"podium", kafka_password=PASSWORD.encode())
    assert offsets(secured.clients, environ) == [0, 1, 2, 3, 4]


def test_a_topic_is_read_with_certificates_on_both_sides(secured: Secured, tmp_path: Path) -> None:
    own = {
        "kafka_client_crt": (secured.folder / "client" / "server.crt").read_bytes(),
        "kafka_client_key": (secured.folder / "client" / "server.key").read_bytes(),
    }
    assert offsets(secured.mutual, environment(tmp_path, secured, "SSL", **own)) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("case", "why"),
    [
        ("a wrong password", "SASL authentication error"),
        ("an authority that nobody knows", "SSL handshake failed"),
        ("no certificate of one's own", "alert (bad certificate|certificate required)"),
    ],
)
def test_who_is_not_let_in_learns_why_and_the_password_shows_nowhere(
    secured: Secured,
    tmp_path: Path,
    case: str,
    why: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("include.jobs.ingest.topic._REQUEST_TIMEOUT_S", 5.0)
    if case == "no certificate of one's own":
        servers, environ = secured.mutual, environment(tmp_path, secured, "SSL")
    else:
        servers = secured.clients
        environ = environment(
            tmp_path, secured, "SASL_SSL", kafka_username=b"podium", kafka_password=b"let me in, please"
        )
        if case == "an authority that nobody knows":
            authority = (secured.folder / "client" / "server.crt").read_bytes()
            environment(tmp_path, secured, "SASL_SSL", kafka_ca_pem=authority, kafka_password=PASSWORD.encode())
    with pytest.raises(KafkaUnavailableError, match=why) as caught:
        offsets(servers, environ)
    assert "that they let this client in: kafka.security_protocol" in str(caught.value)
    shown = str(caught.value) + "".join(capfd.readouterr())
    assert "let me in" not in shown
    assert PASSWORD not in shown


def test_an_ingest_is_let_in_by_its_files_alone(secured: Secured, tmp_path: Path) -> None:
    """The command line names no secret: it gets as far as the lake, which this environment has not."""
    environ = environment(tmp_path, secured, "SASL_SSL", kafka_username=b"podium", kafka_password=PASSWORD.encode())
    arguments = ["--topic", "events", "--contract", "transactions.v1", "--table", "sales.transactions"]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "include.jobs.ingest", "interval", *arguments),
            *("--start", "2017-01-01T00:00:00Z", "--end", "2017-01-01T10:00:00Z"),
        ],
        env={**os.environ, **environ, "KAFKA_BOOTSTRAP_SERVERS": secured.clients},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "S3_ENDPOINT_URL is not set" in done.stderr
    assert PASSWORD not in done.stderr + done.stdout
