"""Topics whose values name schemas of a registry, from a real broker and a real registry to a real lake."""

import datetime as dt
import json
import socket
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.catalog.sql import SqlCatalog

from include.jobs.ingest.interval import Request, ingest
from include.jobs.ingest.publish import publish, staged_record
from include.jobs.ingest.registry import Registry, RegistryUnavailableError
from include.jobs.ingest.replay import replay
from include.jobs.ingest.schemas import json_schema
from include.jobs.ingest.topic import Topic
from include.jobs.lake.ledger import Interval
from tests.jobs.ingest.broker import Broker, at, record
from tests.jobs.ingest.records import encode
from tests.jobs.ingest.sales import CONTRACT, EVENTS, QUARANTINED, SALES
from tests.jobs.ingest.schemas import Served, framed
from tests.jobs.ingest.test_command_line import TABLE, call
from tests.jobs.ingest.test_interval import rows
from tests.services import Services

MakeTopic = Callable[..., str]
INTERVAL = Interval(at(0), at(10))
Messages = list[tuple[int, float, bytes | None]]


def run(catalog: SqlCatalog, broker: Broker, topic: str, registry: Registry) -> dict[str, Any]:
    """Ingest the first ten hours, and publish them unjudged."""
    with Topic(broker.servers, topic, None, registry) as opened:
        result = ingest(catalog, opened, CONTRACT, Request(INTERVAL, "run", dt.timedelta(0), 1.0, SALES))
    publish_staged(catalog)
    return result


def publish_staged(catalog: SqlCatalog) -> None:
    record = staged_record(catalog.load_table(EVENTS), INTERVAL)
    assert record is not None
    publish(catalog, SALES, record)


def test_quarantine_keeps_the_header_and_a_replay_reads_it_again(
    catalog: SqlCatalog, broker: Broker, topic_name: MakeTopic, served: Served
) -> None:
    """The schema of one record is registered only after the ingest; another one is mended."""
    topic, schema = topic_name(1), json_schema(CONTRACT)
    number = served.register(schema | {"description": uuid.uuid4().hex}, "JSON")
    later = number + 1
    bad = framed(number, encode(quantity=-1))
    sent: Messages = [(0, 1, framed(number, record(1))), (0, 2, framed(later, record(2, 2))), (0, 3, bad)]
    broker.send(topic, [*sent, (0, 4, None)])
    result = run(catalog, broker, topic, served.open("JSON"))
    assert (result["read"], result["accepted"]) == (4, 1)
    assert result["reasons"] == {"impossible_value": 1, "not_json": 1, "unknown_schema": 1}
    assert [row["value"] for row in rows(catalog, QUARANTINED)] == [sent[1][2], bad, None]

    assert served.register(schema | {"description": uuid.uuid4().hex}, "JSON") == later
    mends = {(0, 2): (b"900", record(3, 3))}
    replayed = replay(catalog, SALES, CONTRACT, INTERVAL, "mending", mends, served.open("JSON"))
    assert (replayed["replayed"], replayed["reasons"]) == (2, {"not_json": 1})
    publish_staged(catalog)
    assert [row["event_id"][-1] for row in rows(catalog)] == ["0", "2", "3"]


def test_a_registry_that_is_away_stops_the_run_before_the_commit(
    catalog: SqlCatalog, broker: Broker, topic_name: MakeTopic
) -> None:
    topic = topic_name(1)
    broker.send(topic, [(0, 1, framed(1, record(1)))])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(RegistryUnavailableError, match=f"schema registry {url} does not answer"):
        run(catalog, broker, topic, Registry({"url": url}, "JSON"))
    assert [catalog.load_table(name).snapshots() for name in (EVENTS, QUARANTINED)] == [[], []]


def test_the_command_line_reads_such_a_topic(
    catalog: object, services: Services, broker: Broker, topic_name: MakeTopic, served: Served, tmp_path: Path
) -> None:
    topic, number = topic_name(1), served.register(json_schema(CONTRACT), "JSON")
    broker.send(topic, [(0, hour, framed(number, record(hour, hour))) for hour in range(10)])
    environment = services.platform_environment | {
        "PODIUM_CREDENTIALS_DIR": str(services.write_credentials(tmp_path / "credentials")),
        "PODIUM_XCOM_PATH": str(tmp_path / "return.json"),
        "SCHEMA_REGISTRY_URL": served.url,
    }
    bounds = ("--start", "2017-01-01T00:00:00Z", "--end", "2017-01-01T10:00:00Z")
    arguments = ("interval", "--topic", topic, *TABLE, *bounds, "--value-format", "registry_json", "--processes", "2")
    done = call(*arguments, **environment)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "return.json").read_text())["accepted"] == 10
