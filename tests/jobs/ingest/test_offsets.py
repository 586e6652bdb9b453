"""Which records an interval takes, whatever producers, clocks and the broker have done to offsets: a real broker."""

import datetime as dt
import time
from collections.abc import Callable

import pytest
from confluent_kafka import Producer
from pyiceberg.catalog.sql import SqlCatalog

from include.jobs.ingest.interval import FoundLessError
from include.jobs.ingest.plan import IntervalOpenError, OpenTransactionError, RetentionError
from include.jobs.ingest.topic import Topic
from include.jobs.ingest.validate import validate
from include.jobs.lake.errors import EXIT_TRY_LATER
from include.jobs.lake.ledger import Interval
from include.jobs.lake.pages import closed_intervals
from tests.jobs.ingest.broker import Broker, at, milliseconds, record
from tests.jobs.ingest.sales import EVENTS, QUARANTINED, SALES, SUITE
from tests.jobs.ingest.test_interval import places, rows, run, stage

MakeTopic = Callable[..., str]
ANY_TIME = {"message_timestamp_after_max_ms": str(2**63 - 1), "message_timestamp_before_max_ms": str(2**63 - 1)}
COMPACTED = {"cleanup_policy": "compact", "segment_ms": "1", "min_cleanable_dirty_ratio": "0.001"}
MINUTE = 1 / 60


def minutes(start: float, end: float) -> Interval:
    return Interval(at(start * MINUTE), at(end * MINUTE))


def read_of(catalog: SqlCatalog, broker: Broker, topic: str, intervals: list[Interval]) -> list[int]:
    return [run(catalog, broker, topic, 0, bounds=bounds)["read"] for bounds in intervals]


def test_control_records_end_no_interval(catalog: SqlCatalog, broker: Broker, topic_name: MakeTopic) -> None:
    """They carry the broker's clock, years after the records that a transactional producer replays."""
    topic = topic_name(1)
    producer = broker.transaction(topic)
    for begin in (0, 10, 20):
        if begin:
            producer.begin_transaction()
        for hour in range(begin, begin + 10):
            producer.produce(topic, record(hour, hour), b"900", timestamp=milliseconds(hour))
        producer.commit_transaction(60)
    assert [run(catalog, broker, topic, number)["read"] for number in (1, 0, 2)] == [10, 10, 10]
    assert [row["event_time"] for row in rows(catalog)] == [at(hour) for hour in range(30)]


def test_a_clock_that_runs_ahead_moves_only_its_own_record(
    catalog: SqlCatalog, broker: Broker, topic_name: MakeTopic
) -> None:
    topic = topic_name(1)
    stamps = [*range(21), 20 + 41, *range(21, 180)]
    broker.send(topic, [(0, minute * MINUTE, record(minute * MINUTE, n)) for n, minute in enumerate(stamps)])
    hours = [minutes(0, 60), minutes(60, 120), minutes(120, 180)]
    assert read_of(catalog, broker, topic, hours) == [61, 60, 60]
    stage(catalog, broker, topic, 0, bounds=hours[0])
    (own,) = [item for item in SUITE.expectations if item["kwargs"].get("column") == "event_time"]
    strict = type(SUITE)("strays", SUITE.sample_rows, (own,))
    verdict = validate(catalog, SALES, hours[0], strict)
    assert verdict["published"], "one odd record in sixty is no reason to refuse an hour"
    stage(catalog, broker, topic, 0, bounds=hours[0])
    assert validate(catalog, SALES, hours[0], strict, 0.0)["published"], "nor are ten, whatever their share is"


@pytest.mark.parametrize(
    "stamp", [1_483_228_800_000_000 + 20 * 60_000_000, -62_135_600_400_000, 2**62, -(2**62), 253_402_300_800_000]
)
def test_a_time_that_is_none_is_quarantined_and_moves_nothing(
    catalog: SqlCatalog, broker: Broker, topic_name: MakeTopic, stamp: int
) -> None:
    """In microseconds, before the year 1, beyond what tables can hold."""
    topic = topic_name(1, **ANY_TIME)
    good = [(0, hour, record(hour, hour)) for hour in range(20)]
    broker.send(topic, good[:5])
    producer = Producer({"bootstrap.servers": broker.servers, "log_level": 0})
    producer.produce(topic, record(5, 99), b"900", 0, timestamp=stamp)
    assert producer.flush(60) == 0
    broker.send(topic, good[5:])
    assert [run(catalog, broker, topic, number)["reasons"] for number in (1, 0)] == [{}, {"impossible_time": 1}]
    (kept,) = rows(catalog, QUARANTINED)
    assert (kept["kafka_offset"], kept["event_time"], str(stamp) in kept["detail"]) == (5, at(0), True)
    assert [row["event_time"] for row in rows(catalog)] == [at(hour) for hour in range(20)]
    broker.drop_before(topic, 0, 5)
    with pytest.raises(RetentionError, match="what is kept begins with a time that is none"):
        run(catalog, broker, topic, 0)


@pytest.mark.parametrize("stamp", [-5, 2**62])
def test_what_begins_a_partition_without_a_time_goes_with_the_interval_that_is_run_first(
    catalog: SqlCatalog, broker: Broker, topic_name: MakeTopic, stamp: int
) -> None:
    """A producer that counts in another unit from its first record on: somebody must learn of it."""
    topic = topic_name(2, **ANY_TIME)
    aborted = broker.transaction(topic)
    aborted.produce(topic, record(1, 1), b"900", 0, timestamp=milliseconds(1))
    aborted.abort_transaction(60)
    producer = Producer({"bootstrap.servers": broker.servers, "log_level": 0})
    for partition in (0, 1):
        producer.produce(topic, record(5, 99), b"900", partition, timestamp=stamp)
    assert producer.flush(60) == 0
    broker.send(topic, [(0, 25, record(25, 1))])
    run(catalog, broker, topic, 1)
    assert (1, 0) in places(catalog, QUARANTINED), "nothing else is there to go with"
    broker.send(topic, [(1, 26, record(26, 2))])
    for number in (0, 2):
        run(catalog, broker, topic, number)
    assert sorted(places(catalog) + places(catalog, QUARANTINED)) == broker.read(topic, 2)


def test_a_hanging_transaction_is_named_and_nothing_is_published_short(
    catalog: SqlCatalog, broker: Broker, topic_name: MakeTopic
) -> None:
    topic = topic_name(1)
    broker.send(topic, [(0, minute * MINUTE, record(0, minute)) for minute in range(10)])
    hanging = broker.transaction(topic)
    hanging.produce(topic, record(0, 10), b"900", 0, timestamp=milliseconds(10 * MINUTE))
    assert hanging.flush(60) == 0
    broker.send(topic, [(0, minute * MINUTE, record(0, minute)) for minute in range(11, 240)])
    hours = [minutes(60 * hour, 60 * hour + 60) for hour in range(4)]
    assert run(catalog, broker, topic, 0, bounds=minutes(-60, 0))["read"] == 0
    for hour in hours:
        with pytest.raises(
            OpenTransactionError,
            match=r"partition 0 of topic .* from offset 10 on \(its first record there is of 2017-01-01T00:10:00Z\)"
            r".*kafka-transactions\.sh .*abort --topic .* --partition 0 --start-offset 10",
        ) as caught:
            run(catalog, broker, topic, 0, bounds=hour)
        assert caught.value.exit_code == EXIT_TRY_LATER
    broker.transaction(topic).abort_transaction(60)
    assert read_of(catalog, broker, topic, hours) == [59, 60, 60, 60]


def test_an_open_transaction_holds_up_no_interval_that_it_cannot_change(
    catalog: SqlCatalog, broker: Broker, topic_name: MakeTopic
) -> None:
    """Some producers have one open all the time."""
    topic = topic_name(1)
    broker.send(topic, [(0, hour, record(hour, hour)) for hour in range(30)])
    hanging = broker.transaction(topic)
    hanging.produce(topic, record(31, 31), b"900", 0, timestamp=milliseconds(31))
    assert hanging.flush(60) == 0
    assert [run(catalog, broker, topic, number)["read"] for number in (0, 1, 2)] == [10, 10, 10]
    hanging.abort_transaction(60)


def test_what_is_stamped_ahead_of_now_closes_no_interval(
    catalog: SqlCatalog, broker: Broker, topic_name: MakeTopic
) -> None:
    topic, now = topic_name(1), dt.datetime.now(dt.UTC)
    hours = (now - at(0)) / dt.timedelta(hours=1)
    bounds = Interval(now - dt.timedelta(hours=1), now - dt.timedelta(minutes=1))
    broker.send(topic, [(0, hours - 0.5, record(1)), *((0, hours + 0.5, record(2, n)) for n in range(20))])
    with pytest.raises(IntervalOpenError, match=r"partitions \[0\] have not moved past its end by 10 records"):
        run(catalog, broker, topic, 0, bounds=bounds, lateness=dt.timedelta(hours=1))
    broker.send(topic, [(0, hours - 0.001, record(3, n)) for n in range(30, 40)])
    assert run(catalog, broker, topic, 0, bounds=bounds, lateness=dt.timedelta(hours=1))["read"] == 1


def test_a_second_run_that_finds_less_changes_nothing_until_somebody_takes_what_is_there(
    catalog: SqlCatalog, broker: Broker, topic_name: MakeTopic
) -> None:
    topic = topic_name(1, segment_ms="1")
    broker.clean_at_once()
    for hour in range(10):
        broker.send(topic, [(0, hour, record(hour, hour))])
    assert run(catalog, broker, topic, 0)["read"] == 10
    before = rows(catalog)
    broker.compact(topic)
    broker.send(topic, [(0, 11, record(11, 11))])
    broker.send(topic, [(0, 12, record(12, 12))])
    deadline = time.monotonic() + 120
    while len(left := broker.read(topic, 1)) > 2:
        assert time.monotonic() < deadline, left
    with pytest.raises(
        FoundLessError, match=r"holds 10 records, but only 0 of them are in offsets .*--found-less take"
    ):
        run(catalog, broker, topic, 0)
    assert rows(catalog) == before
    taken = run(catalog, broker, topic, 0, take=True)
    assert (taken["read"], taken["given_up"]) == (0, 10)
    (closed,) = closed_intervals(catalog.load_table(EVENTS))
    assert closed.given_up == 10
    assert run(catalog, broker, topic, 0)["read"] == 0, "what was given up is not missed again"


def test_what_retention_has_left_is_taken_only_by_name(
    catalog: SqlCatalog, broker: Broker, topic_name: MakeTopic
) -> None:
    topic = topic_name(1)
    broker.send(topic, [(0, hour, record(hour, hour)) for hour in range(20)])
    run(catalog, broker, topic, 0)
    broker.drop_before(topic, 0, 15)
    for number in (0, 1):
        with pytest.raises(RetentionError, match="--found-less take"):
            run(catalog, broker, topic, 0, bounds=Interval(at(number * 10), at(number * 10 + 10)))
    assert run(catalog, broker, topic, 1, take=True)["read"] == 5
    assert places(catalog) == [(0, offset) for offset in (*range(10), *range(15, 20))]


def test_hundreds_of_partitions_are_looked_at_at_once(broker: Broker, topic_name: MakeTopic) -> None:
    """Also those whose first records retention has taken."""
    topic = topic_name(300)
    hours = range(0, 40, 10)
    broker.send(topic, [(number, hour, record(hour, number)) for hour in hours for number in range(300)])
    for number in range(0, 300, 10):
        broker.drop_before(topic, number, 1)
    with Topic(broker.servers, topic) as opened:
        opened.view()
        began = time.monotonic()
        view = opened.view()
        found = opened.boundaries(at(15), view, dict.fromkeys(range(300), 0), dt.datetime.now(dt.UTC))
        took = time.monotonic() - began
    assert {boundary.offset for boundary in found.values()} == {2}
    assert took < 5, "a fifth of a second on a machine at rest: it waits for no partition by itself"
