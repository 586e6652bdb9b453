"""Topics whose values name schemas of a registry, from a real broker and a real registry to a real lake."""

import datetime as dt
import json
import os
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.catalog.sql import SqlCatalog

from include.jobs.ingest.framed import SchemaMismatchError
from include.jobs.ingest.interval import Request, ingest
from include.jobs.ingest.publish import publish, staged_record
from include.jobs.ingest.registry import Registry, RegistryUnavailableError
from include.jobs.ingest.replay import replay
from include.jobs.ingest.schemas import json_schema
from include.jobs.ingest.topic import Topic
from include.jobs.lake.erasures import put_on_list
from include.jobs.lake.ledger import Interval
from include.jobs.lake.pseudonyms import Pseudonyms
from include.jobs.lake.tables import ERASURES
from tests.jobs.ingest.broker import Broker, at, record
from tests.jobs.ingest.records import encode
from tests.jobs.ingest.sales import CONTRACT, EVENTS, QUARANTINED, SALES
from tests.jobs.ingest.schemas import Served, framed
from tests.jobs.ingest.test_avro import TIME, TYPES, schema_of
from tests.jobs.ingest.test_avro import encode as avro
from tests.jobs.ingest.test_command_line import TABLE, platform
from tests.jobs.ingest.test_helpers import MAIN
from tests.jobs.ingest.test_interval import rows

__all__ = ["platform"]

MakeTopic = Callable[..., str]
INTERVAL = Interval(at(0), at(10))
Messages = list[tuple[int, float, bytes | None]]


def run(catalog: SqlCatalog, broker: Broker, topic: str, registry: Registry | None) -> dict[str, Any]:
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
    assert [row["event_id"][-1] for row in rows(catalog)] == ["1", "2", "3"]


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


def sold(hour: float, number: int = 0, **changes: Any) -> dict[str, Any]:
    """The event of `record`, as Avro takes it."""
    event: dict[str, Any] = json.loads(record(hour, number))
    return event | {TIME: at(hour)} | changes


def contents(catalog: SqlCatalog) -> list[dict[str, Any]]:
    return rows(catalog) + [{**row, "value": None, "detail": None} for row in rows(catalog, QUARANTINED)]


def test_the_same_events_give_the_same_tables_whatever_they_are_written_in(
    catalog: SqlCatalog, broker: Broker, topic_name: MakeTopic, served: Served
) -> None:
    """Some of them broken, and by a schema that evolves in the middle: a field more, which is optional."""
    more = TYPES | {"channel": ["null", "string"], TIME: {"type": "long", "logicalType": "timestamp-micros"}}
    first, second = (served.register(schema_of(types), "AVRO") for types in (TYPES, more))
    plain, behind, binary = (topic_name(1) for _ in range(3))
    number = served.register(json_schema(CONTRACT), "JSON")
    for hour in range(10):
        changes = {"quantity": -1} if hour % 4 == 3 else {}
        text = record(hour, hour, **changes)
        event = sold(hour, hour, channel="web", **changes)
        value = (
            framed(first, avro(schema_of(TYPES), event)) if hour < 5 else framed(second, avro(schema_of(more), event))
        )
        for topic, message in ((plain, text), (behind, framed(number, text)), (binary, value)):
            broker.send(topic, [(0, hour, message)])
    found = []
    for topic, registry in ((plain, None), (behind, served.open("JSON")), (binary, served.open("AVRO"))):
        for name in (EVENTS, QUARANTINED):
            if catalog.table_exists(name):
                catalog.drop_table(name)
        result = run(catalog, broker, topic, registry)
        assert (result["read"], result["accepted"], result["reasons"]) == (10, 8, {"impossible_value": 2})
        found.append(contents(catalog))
    assert found[0] == found[1] == found[2]


def test_avro_that_does_not_decode_is_kept_and_replayed(
    catalog: SqlCatalog, broker: Broker, topic_name: MakeTopic, served: Served
) -> None:
    topic, number = topic_name(1), served.register(schema_of(TYPES), "AVRO")
    later = served.register(schema_of(TYPES) | {"doc": uuid.uuid4().hex}, "AVRO") + 1
    good, other = (avro(schema_of(TYPES), sold(hour, hour)) for hour in (1, 2))
    sent: Messages = [
        (0, 1, framed(number, good)),
        (0, 2, framed(later, other)),
        (0, 3, framed(number, good[:-3])),
        (0, 4, framed(number, good + b"more")),
        (0, 5, good),
        (0, 6, None),
    ]
    broker.send(topic, sent)
    result = run(catalog, broker, topic, served.open("AVRO"))
    assert (result["read"], result["accepted"]) == (6, 1)
    assert result["reasons"] == {"no_schema_id": 1, "not_avro": 2, "not_json": 1, "unknown_schema": 1}
    assert [row["value"] for row in rows(catalog, QUARANTINED)] == [value for _, _, value in sent[1:]]

    assert served.register(schema_of(TYPES) | {"doc": uuid.uuid4().hex}, "AVRO") == later
    replayed = replay(
        catalog, SALES, CONTRACT, INTERVAL, "mending", {(0, 2): (b"900", record(3, 3))}, served.open("AVRO")
    )
    assert (replayed["replayed"], replayed["quarantined"]) == (2, 3)
    publish_staged(catalog)
    assert [row["event_id"][-1] for row in rows(catalog)] == ["1", "2", "3"]
    assert run(catalog, broker, topic, served.open("AVRO"))["accepted"] == 3, "the mended one stays"


def test_a_schema_that_does_not_fit_stops_the_run_before_the_commit(
    catalog: SqlCatalog, broker: Broker, topic_name: MakeTopic, served: Served
) -> None:
    types = {name: kind for name, kind in TYPES.items() if name != "store_id"} | {"quantity": "string"}
    topic, number = topic_name(1), served.register(schema_of(types), "AVRO")
    broker.send(topic, [(0, 1, framed(number, avro(schema_of(types), sold(1, quantity="one"))))])
    with pytest.raises(SchemaMismatchError, match=f"schema {number} of {served.url}") as caught:
        run(catalog, broker, topic, served.open("AVRO"))
    assert "\n  store_id: is missing, the contract has integer (64 bits) 1 to 1000000000\n" in str(caught.value)
    assert "\n  quantity: is string, must be int or long\n" in str(caught.value)
    assert [catalog.load_table(name).snapshots() for name in (EVENTS, QUARANTINED)] == [[], []]


def test_a_schema_that_refers_to_another_is_read_with_it(
    catalog: SqlCatalog, broker: Broker, topic_name: MakeTopic, served: Served
) -> None:
    money = {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}
    price = {"type": "record", "name": "Price", "namespace": "shop", "fields": [{"name": "amount", "type": money}]}
    subject, whole = f"price-{uuid.uuid4()}", schema_of(TYPES | {"sales_value": money, "price": price})
    served.register_as(subject, price, "AVRO")
    schema = schema_of(TYPES | {"sales_value": money, "price": "shop.Price"})
    topic, number = topic_name(1), served.register(schema, "AVRO", [("shop.Price", subject)])
    event = sold(1, sales_value=Decimal("19.99"), price={"amount": Decimal("0.01")})
    broker.send(topic, [(0, 1, framed(number, avro(whole, event)))])
    assert run(catalog, broker, topic, served.open("AVRO"))["accepted"] == 1
    assert rows(catalog)[0]["sales_value"] == 19.99


def test_an_erased_household_does_not_come_back_in_avro(
    catalog: SqlCatalog,
    broker: Broker,
    topic_name: MakeTopic,
    served: Served,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nor is it kept in quarantine, though its bytes do not show it and its key is another's."""
    (tmp_path / "pseudonym_key").write_text("a key of the tests")
    monkeypatch.setenv("PODIUM_CREDENTIALS_DIR", str(tmp_path))
    topic, number = topic_name(1), served.register(schema_of(TYPES), "AVRO")
    sent = [sold(1), sold(2, 2, household_id=901), sold(3, 3, quantity=-1), sold(4, 4, household_id=901, quantity=-1)]
    messages = [(0, hour, framed(number, avro(schema_of(TYPES), event))) for hour, event in enumerate(sent, start=1)]
    broker.send(topic, messages[:1], key=b"900")
    broker.send(topic, messages[1:], key=b"901")
    put_on_list(catalog, Pseudonyms("a key of the tests").household(900))
    try:
        result = run(catalog, broker, topic, served.open("AVRO"))
    finally:
        catalog.drop_table(ERASURES.identifier)
    assert (result["accepted"], result["quarantined"], result["erased"]) == (1, 1, 2)
    assert [row["value"] for row in rows(catalog, QUARANTINED)] == [messages[3][2]]
    assert rows(catalog, QUARANTINED)[0]["detail"].endswith("; household_id 901")


@pytest.mark.parametrize("value_format", ["registry_json", "registry_avro"])
def test_the_command_line_reads_such_a_topic_with_several_processes(
    catalog: object,
    platform: dict[str, str],
    broker: Broker,
    topic_name: MakeTopic,
    served: Served,
    tmp_path: Path,
    value_format: str,
) -> None:
    topic, hours = topic_name(1), [number / 2 for number in range(20)]
    if value_format == "registry_json":
        number = served.register(json_schema(CONTRACT), "JSON")
        values = [framed(number, record(hour)) for hour in hours]
    else:
        number = served.register(schema_of(TYPES), "AVRO")
        values = [framed(number, avro(schema_of(TYPES), sold(hour))) for hour in hours]
    broker.send(topic, [(0, hour, value) for hour, value in zip(hours, values, strict=True)])
    bounds = ("--start", "2017-01-01T00:00:00Z", "--end", "2017-01-01T10:00:00Z")
    arguments = ("interval", "--topic", topic, *TABLE, *bounds, "--value-format", value_format, "--processes", "2")
    done = subprocess.run(
        [sys.executable, "-c", MAIN + "run_main(main)", *arguments],
        env={**os.environ, **platform, "SCHEMA_REGISTRY_URL": served.url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "return.json").read_text())["accepted"] == 20
