"""Brokers that ask who comes: SASL over TLS, and certificates on both sides, on a real broker that does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from include.jobs.ingest.topic import KafkaUnavailableError, Topic
from include.jobs.lake.connections import kafka_security
from include.jobs.lake.ledger import Interval, OffsetRange
from tests.jobs.ingest.broker import Broker, at, record
from tests.jobs.secured import PASSWORD, Secured, environment

INTERVAL = Interval(at(0), at(10))


@pytest.fixture(scope="module", autouse=True)
def events(secured: Secured) -> None:
    """Five records."""
    broker = Broker(secured.internal)
    broker.create("events", 1)
    broker.send("events", [(0, hour, record(hour, hour)) for hour in range(5)])


def offsets(servers: str, environ: dict[str, str]) -> list[int]:
    with Topic(servers, "events", kafka_security(environ)) as topic:
        assert topic.view().partitions[0].high == 5
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
