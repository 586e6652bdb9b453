"""What Kafka may hold and do: each case has one result, on a real broker."""

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Producer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import NoSuchTableError

from include.jobs.lake.pages import closed_intervals
from tests.jobs.ingest.broker import Broker, at, record
from tests.jobs.ingest.sales import EVENTS, QUARANTINED, SALES
from tests.jobs.ingest.test_interval import places, rows, run

MakeTopic = Callable[..., str]
MEGABYTE = 1_000_000


def produce(broker: Broker, topic: str, messages: list[tuple[float, bytes | None]], **config: Any) -> None:
    """Send to partition 0, as few batches as there can be."""
    producer = Producer({"bootstrap.servers": broker.servers, "log_level": 0, "linger.ms": 1_000, **config})
    for hours, value in messages:
        producer.produce(topic, value, b"900", 0, timestamp=int(at(hours).timestamp() * 1000))
    assert producer.flush(60) == 0


def test_a_poison_record_of_20_megabytes_is_quarantined_whole(
    catalog: SqlCatalog, broker: Broker, topic_name: MakeTopic
) -> None:
    topic = topic_name(1, max_message_bytes=str(25 * MEGABYTE))
    poison = b'{"event_id":"' + b"x" * 20 * MEGABYTE + b'"}'
    limit = {"message.max.bytes": 25 * MEGABYTE}
    produce(broker, topic, [(1, record(1))], **limit)
    produce(broker, topic, [(2, poison)], **limit)
    produce(broker, topic, [(3, record(3, 1))], **limit)
    result = run(catalog, broker, topic, 0)
    assert (result["read"], result["accepted"], result["reasons"]) == (3, 2, {"oversized": 1})
    assert places(catalog) == [(0, 0), (0, 2)]
    (kept,) = rows(catalog, QUARANTINED)
    assert kept["value"] == poison
    assert kept["detail"] == f"{len(poison)} bytes, allowed 4096"


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_an_interval_may_begin_and_end_within_a_compressed_batch(
    catalog: SqlCatalog, broker: Broker, topic_name: MakeTopic, codec: str
) -> None:
    topic = topic_name(1)
    produce(broker, topic, [(hour, record(hour, hour)) for hour in range(30)], **{"compression.type": codec})
    assert [run(catalog, broker, topic, number)["ranges"] for number in (1, 0, 2)] == [
        {"0": [10, 20]},
        {"0": [0, 10]},
        {"0": [20, 30]},
    ]
    assert places(catalog) == [(0, offset) for offset in range(30)]


def test_tombstones_are_quarantined_as_they_came(catalog: SqlCatalog, broker: Broker, topic_name: MakeTopic) -> None:
    """The topic is a log of events: a null value deletes nothing, it says nothing."""
    topic = topic_name(1)
    produce(broker, topic, [(1, record(1)), (2, None), (3, b"")])
    assert run(catalog, broker, topic, 0)["reasons"] == {"not_json": 2}
    kept = rows(catalog, QUARANTINED)
    assert [(row["key"], row["value"]) for row in kept] == [(b"900", None), (b"900", b"")]
    assert kept[0]["detail"] == "no value"


histories = st.lists(
    st.one_of(
        st.lists(st.tuples(st.integers(0, 1), st.integers(0, 39), st.booleans()), max_size=6),
        st.integers(0, 3),
        st.just("widen"),
    ),
    min_size=3,
    max_size=9,
)


@settings(
    max_examples=6,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)
@given(histories, st.permutations(range(4)))
def test_every_offset_lands_in_exactly_one_interval_whatever_happens(
    catalog: SqlCatalog,
    broker: Broker,
    topic_name: MakeTopic,
    history: list[list[tuple[int, int, bool]] | int | str],
    order: list[int],
) -> None:
    """Records arrive in any order, some of them broken, between first runs and re-runs; the topic may get wider."""
    for spec in (SALES.events, SALES.quarantine):
        with contextlib.suppress(NoSuchTableError):
            catalog.drop_table(spec.identifier)
    topic, partitions, sent = topic_name(2), 2, [0, 0, 0]
    for step in history:
        if step == "widen":
            if partitions == 2:
                broker.widen(topic, 3)
                partitions = 3
        elif isinstance(step, int):
            run(catalog, broker, topic, step)
        else:
            for number, hour, good in step:
                partition = (number + hour) % partitions
                broker.send(topic, [(partition, hour, record(hour, sum(sent)) if good else b"broken")])
                sent[partition] += 1
    for number in (*order, 4):
        run(catalog, broker, topic, number)
    before = rows(catalog), rows(catalog, QUARANTINED)
    for number in order:
        run(catalog, broker, topic, number)
    after = rows(catalog), rows(catalog, QUARANTINED)
    assert [without_run(one) for one in after] == [without_run(one) for one in before]
    taken = sorted(places(catalog) + places(catalog, QUARANTINED))
    everything = [(partition, offset) for partition, count in enumerate(sent) for offset in range(count)]
    # A straggler that came when all later intervals were closed waits for the next one.
    assert taken == [place for place in everything if place[1] < ends(catalog).get(place[0], 0)]
    assert run(catalog, broker, topic, 5)["read"] == len(everything) - len(taken)


def ends(catalog: SqlCatalog) -> dict[int, int]:
    """Where the last closed interval ends in each partition."""
    *_, last = closed_intervals(catalog.load_table(EVENTS))
    return {partition: span.end for partition, span in last.ranges.items()}


def without_run(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != "run_id"} for row in found]
