"""Intervals from a real topic to a real lake: to the record, whatever happens in between."""

import datetime as dt
import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pyiceberg.catalog.sql import SqlCatalog

from include.jobs.ingest import interval as ingest_module
from include.jobs.ingest import publish as publish_module
from include.jobs.ingest.contract import Contract
from include.jobs.ingest.interval import Request, TooManyBadRecordsError, ingest
from include.jobs.ingest.plan import IntervalOpenError, RetentionError, TopicChangedError
from include.jobs.ingest.publish import publish, staged_record
from include.jobs.ingest.topic import KafkaUnavailableError, Topic, TopicMissingError
from include.jobs.lake.catalog import open_catalog
from include.jobs.lake.connections import Connections
from include.jobs.lake.ledger import Interval
from include.jobs.lake.pages import closed_intervals, taken_intervals
from include.jobs.shop.events import BROKEN_KINDS, events
from include.jobs.shop.produce import produce
from include.jobs.shop.streams import STREAMS
from tests.jobs.ingest.broker import Broker, at, milliseconds, record
from tests.jobs.ingest.sales import CONTRACT, EVENTS, QUARANTINED, SALES

MakeTopic = Callable[..., str]
BROKEN = b"not json"


def run(
    catalog: SqlCatalog,
    broker: Broker,
    topic: str,
    number: int,
    *,
    lateness: dt.timedelta = dt.timedelta(0),
    bad: float = 1.0,
    bounds: Interval | None = None,
    take: bool = False,
) -> dict[str, Any]:
    """Ingest the number-th interval of ten hours, and publish it unjudged."""
    wanted = bounds or Interval(at(number * 10), at(number * 10 + 10))
    result = stage(catalog, broker, topic, number, lateness=lateness, bad=bad, bounds=wanted, take=take)
    record = staged_record(catalog.load_table(EVENTS), wanted)
    assert record is not None
    return result | {"snapshot_id": publish(catalog, SALES, record).events}


def stage(
    catalog: SqlCatalog,
    broker: Broker,
    topic: str,
    number: int,
    *,
    lateness: dt.timedelta = dt.timedelta(0),
    bad: float = 1.0,
    bounds: Interval | None = None,
    take: bool = False,
    contract: Contract = CONTRACT,
) -> dict[str, Any]:
    """Ingest the number-th interval of ten hours."""
    wanted = bounds or Interval(at(number * 10), at(number * 10 + 10))
    with Topic(broker.servers, topic) as opened:
        return ingest(catalog, opened, contract, Request(wanted, f"run-{number}", lateness, bad, SALES, take))


def rows(catalog: SqlCatalog, identifier: str = EVENTS) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = catalog.load_table(identifier).scan().to_arrow().to_pylist()
    return sorted(found, key=lambda row: (row["kafka_partition"], row["kafka_offset"]))


def places(catalog: SqlCatalog, identifier: str = EVENTS) -> list[tuple[int, int]]:
    return [(row["kafka_partition"], row["kafka_offset"]) for row in rows(catalog, identifier)]


def digest(catalog: SqlCatalog) -> str:
    return hashlib.sha256(repr(rows(catalog)).encode()).hexdigest()


def test_a_year_in_intervals_adds_up_to_the_record(catalog: SqlCatalog, broker: Broker, topic_name: MakeTopic) -> None:
    """Good and broken ones of every kind, three partitions, five intervals in a jumbled order, each run twice."""
    import pyarrow as pa

    topic = topic_name(3)
    count = 2_000
    stamps = [int(at(hour * 50 / count).timestamp()) for hour in range(count)]
    table = pa.table(
        {
            "household_id": [number % 40 + 1 for number in range(count)],
            "store_id": [1] * count,
            "basket_id": [10_000 + number // 3 for number in range(count)],
            "product_id": [number % 7 + 1 for number in range(count)],
            "quantity": [1] * count,
            **{name: [0.5] * count for name in ("sales_value", "retail_disc", "coupon_disc", "coupon_match_disc")},
            "transaction_timestamp": pa.array(stamps, pa.timestamp("s", "UTC")).cast(pa.timestamp("us", "UTC")),
        }
    )
    broken = 5 * len(BROKEN_KINDS)
    client = {"bootstrap.servers": broker.servers}
    produced = produce(client, topic, 3, lambda: events(STREAMS["transactions"], table, broken, seed=3))
    assert produced["produced"] == count + broken

    results = [run(catalog, broker, topic, number) for number in (3, 0, 4, 1, 2)]
    before = digest(catalog)
    again = [run(catalog, broker, topic, number) for number in (0, 1, 2, 3, 4)]
    assert digest(catalog) == before
    for outcome in (results, again):
        assert sum(result["read"] for result in outcome) == count + broken
        assert sum(result["accepted"] for result in outcome) == count
        assert sum(result["quarantined"] for result in outcome) == broken
    assert all(result["rerun"] for result in again)
    reasons: dict[str, int] = {}
    for kind in BROKEN_KINDS:
        reasons[BROKEN_KINDS[kind]] = reasons.get(BROKEN_KINDS[kind], 0) + 5
    found: dict[str, int] = {}
    for row in rows(catalog, QUARANTINED):
        found[row["reason"]] = found.get(row["reason"], 0) + 1
    assert found == reasons
    taken = sorted(places(catalog) + places(catalog, QUARANTINED))
    assert len(set(taken)) == len(taken) == count + broken
    ids = [row["event_id"] for row in rows(catalog)]
    assert len(set(ids)) == count


def test_quarantine_keeps_what_came(catalog: SqlCatalog, broker: Broker, topic_name: MakeTopic) -> None:
    topic = topic_name()
    broker.send(topic, [(1, 1, b"\xff\x00"), (1, 2, None), (0, 3, record(3))])
    result = run(catalog, broker, topic, 0)
    assert (result["read"], result["accepted"], result["quarantined"]) == (3, 1, 2)
    first, second = rows(catalog, QUARANTINED)
    assert (first["kafka_partition"], first["kafka_offset"], first["value"]) == (1, 0, b"\xff\x00")
    assert (first["reason"], first["run_id"], first["event_time"]) == ("bad_encoding", "run-0", at(1))
    assert (second["reason"], second["value"], second["key"]) == ("not_json", None, b"900")
    (good,) = rows(catalog)
    assert good["event_time"] == at(3)
    assert good["interval_start"] == at(0)


def test_the_interval_is_closed_in_the_commit_of_its_rows(
    catalog: SqlCatalog, broker: Broker, topic_name: MakeTopic
) -> None:
    topic = topic_name()
    broker.send(topic, [(0, 1, record(1)), (1, 2, BROKEN)])
    result = run(catalog, broker, topic, 0)
    table = catalog.load_table(EVENTS)
    empty, full = (entry.snapshot_id for entry in table.history())
    assert full == result["snapshot_id"]
    assert table.scan(snapshot_id=empty).count() == 0
    assert result["snapshot_id"] == table.current_snapshot().snapshot_id  # type: ignore[union-attr]
    (closed,) = closed_intervals(table)
    assert (closed.topic, closed.run_id) == (topic, "run-0")
    assert (closed.counts.read, closed.counts.accepted, closed.counts.quarantined) == (2, 1, 1)


def test_what_was_read_and_staged_is_told_with_snapshots_and_rows(
    catalog: SqlCatalog, broker: Broker, topic_name: MakeTopic
) -> None:
    topic = topic_name(1)
    broker.send(topic, [(0, 1, record(1)), (0, 2, BROKEN)])
    told = stage(catalog, broker, topic, 0)["datasets"]
    assert told["inputs"] == [{"kind": "topic", "name": topic, "rows": 2}]
    staged = {name: catalog.load_table(name).snapshot_by_name("staging") for name in (EVENTS, QUARANTINED)}
    assert told["outputs"] == [
        {"kind": "table", "name": name, "rows": 1, "snapshot_id": str(snapshot.snapshot_id)}
        for name, snapshot in staged.items()
        if snapshot
    ]


def test_empty_intervals_are_closed_too(catalog: SqlCatalog, broker: Broker, topic_name: MakeTopic) -> None:
    """Before the first record, between two, after the last."""
    topic = topic_name()
    broker.send(topic, [(0, 11, record(11)), (0, 31, record(31))])
    for number in (0, 2, 4):
        result = run(catalog, broker, topic, number)
        assert (result["read"], result["accepted"], result["quarantined"]) == (0, 0, 0)
    assert [run(catalog, broker, topic, number)["read"] for number in (1, 3)] == [1, 1]
    assert len(list(closed_intervals(catalog.load_table(EVENTS)))) == 5


def test_an_empty_topic_gives_an_empty_interval(catalog: SqlCatalog, broker: Broker, topic_name: MakeTopic) -> None:
    assert run(catalog, broker, topic_name(), 0)["read"] == 0


def test_a_straggler_lands_in_the_next_open_interval(
    catalog: SqlCatalog, broker: Broker, topic_name: MakeTopic
) -> None:
    topic = topic_name(1)
    broker.send(topic, [(0, 1, record(1))])
    run(catalog, broker, topic, 0)
    broker.send(topic, [(0, 2, record(2, 1)), (0, 11, record(11, 2))])
    assert run(catalog, broker, topic, 1)["read"] == 2
    late = rows(catalog)[1]
    assert (late["event_time"], late["interval_start"]) == (at(2), at(10))
    assert run(catalog, broker, topic, 0)["read"] == 1


def test_an_interval_that_is_still_open_is_not_closed(
    catalog: SqlCatalog, broker: Broker, topic_name: MakeTopic
) -> None:
    topic = topic_name()
    broker.send(topic, [(0, 1, record(1))])
    with pytest.raises(IntervalOpenError, match="is still open"):
        run(catalog, broker, topic, 0, lateness=dt.timedelta(days=365_000))
    assert len(list(closed_intervals(catalog.load_table(EVENTS)))) == 0


def test_too_many_broken_records_commit_nothing(catalog: SqlCatalog, broker: Broker, topic_name: MakeTopic) -> None:
    topic = topic_name(1)
    broker.send(topic, [(0, 1, record(1)), (0, 2, BROKEN), (0, 3, BROKEN)])
    with pytest.raises(TooManyBadRecordsError, match=r"2 of 3 records break the contract \(2 not_json\)"):
        run(catalog, broker, topic, 0, bad=0.6)
    for spec in (SALES.events, SALES.quarantine):
        table = catalog.load_table(spec.identifier)
        assert table.snapshots() == []
    assert run(catalog, broker, topic, 0, bad=0.7)["quarantined"] == 2


def test_a_crash_between_the_two_stagings_is_mended_by_the_next_run(
    catalog: SqlCatalog, broker: Broker, topic_name: MakeTopic, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = topic_name(1)
    broker.send(topic, [(0, 1, record(1)), (0, 2, BROKEN)])
    replace = publish_module.replace_interval

    def crash(catalog: SqlCatalog, identifier: str, *rest: Any, **options: Any) -> int:
        if identifier == EVENTS:
            raise KeyboardInterrupt
        return replace(catalog, identifier, *rest, **options)

    monkeypatch.setattr(publish_module, "replace_interval", crash)
    with pytest.raises(KeyboardInterrupt):
        run(catalog, broker, topic, 0)
    assert places(catalog, QUARANTINED) == []
    assert len(list(taken_intervals(catalog.load_table(EVENTS)))) == 0
    monkeypatch.setattr(publish_module, "replace_interval", replace)
    broker.send(topic, [(0, 3, BROKEN)])
    assert run(catalog, broker, topic, 0)["quarantined"] == 2
    assert (places(catalog), places(catalog, QUARANTINED)) == ([(0, 0)], [(0, 1), (0, 2)])


def test_a_neighbour_that_closes_meanwhile_changes_the_plan(
    catalog: SqlCatalog, broker: Broker, topic_name: MakeTopic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it, the record that arrives in between would belong to nobody."""
    topic = topic_name(1)
    broker.send(topic, [(0, 1, record(1))])
    plan = ingest_module.plan
    disturbed: list[bool] = []

    def disturb(*arguments: Any, **options: Any) -> Any:
        planned = plan(*arguments, **options)
        if not disturbed:
            disturbed.append(True)
            broker.send(topic, [(0, 2, record(2, 1))])
            assert run(catalog, broker, topic, 1)["ranges"] == {"0": [2, 2]}
        return planned

    monkeypatch.setattr(ingest_module, "plan", disturb)
    assert run(catalog, broker, topic, 0)["ranges"] == {"0": [0, 2]}
    assert places(catalog) == [(0, 0), (0, 1)]


def test_many_intervals_at_once(
    catalog: SqlCatalog, connections: Connections, broker: Broker, topic_name: MakeTopic
) -> None:
    """A backfill runs neighbours side by side, on tables that are not there yet."""
    topic = topic_name(2)
    broker.send(topic, [(number % 2, number / 4, record(number / 4, number)) for number in range(240)])
    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(lambda number: run(open_catalog(connections), broker, topic, number), range(6)))
    assert [result["read"] for result in results] == [40] * 6
    assert len(set(places(catalog))) == len(places(catalog)) == 240


def test_dropped_records_are_an_error(catalog: SqlCatalog, broker: Broker, topic_name: MakeTopic) -> None:
    topic = topic_name(1)
    broker.send(topic, [(0, hour, record(hour, hour)) for hour in (1, 2, 13, 24)])
    broker.drop_before(topic, 0, 2)
    with pytest.raises(RetentionError, match=r"dropped offsets 0 to 2 .* begins at 2017-01-01T13:00:00Z"):
        run(catalog, broker, topic, 0)
    assert run(catalog, broker, topic, 2)["read"] == 1


def test_a_topic_made_anew_is_refused(catalog: SqlCatalog, broker: Broker, topic_name: MakeTopic) -> None:
    topic = topic_name(1)
    broker.send(topic, [(0, 1, record(1))])
    run(catalog, broker, topic, 0)
    broker.delete(topic)
    broker.create(topic, 1)
    broker.send(topic, [(0, 1, record(1)), (0, 11, record(11))])
    for number in (0, 1):
        with pytest.raises(TopicChangedError, match=r"(?s)offsets of one say nothing of the other.*adopt-topic"):
            run(catalog, broker, topic, number)


def test_a_partition_that_is_added_is_read_from_its_beginning(
    catalog: SqlCatalog, broker: Broker, topic_name: MakeTopic
) -> None:
    topic = topic_name(1)
    broker.send(topic, [(0, 1, record(1))])
    run(catalog, broker, topic, 0)
    broker.widen(topic, 2)
    broker.send(topic, [(1, 12, record(12, 1)), (0, 13, record(13, 2))])
    assert run(catalog, broker, topic, 1)["ranges"] == {"0": [1, 2], "1": [0, 1]}


def test_aborted_transactions_are_not_read(catalog: SqlCatalog, broker: Broker, topic_name: MakeTopic) -> None:
    """Their records and the markers take offsets that are never delivered, at the end of a range too."""
    topic = topic_name(1)
    producer = broker.transaction(topic)
    for number, commit in enumerate((True, False, True, False)):
        if number:
            producer.begin_transaction()
        producer.produce(topic, record(number, number), b"900", timestamp=milliseconds(number))
        producer.flush(60)
        (producer.commit_transaction if commit else producer.abort_transaction)(60)
    result = run(catalog, broker, topic, 0)
    assert (result["read"], result["ranges"]) == (2, {"0": [0, 8]})
    assert places(catalog) == [(0, 0), (0, 4)]


def test_missing_topics_and_brokers_are_named(catalog: SqlCatalog, broker: Broker) -> None:
    with pytest.raises(TopicMissingError, match="topic nosuch is not on"):
        run(catalog, broker, "nosuch", 0)


def test_a_broker_that_is_away_is_named(catalog: SqlCatalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("include.jobs.ingest.topic._REQUEST_TIMEOUT_S", 1.0)
    with pytest.raises(KafkaUnavailableError, match=r"Kafka at 127\.0\.0\.1:1 does not answer for topic events"):
        run(catalog, Broker("127.0.0.1:1"), "events", 0)
