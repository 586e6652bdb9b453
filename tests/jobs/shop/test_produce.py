"""Producing to a real topic: once, whole, resumable, and never onto something else."""

import uuid
from collections.abc import Iterator
from itertools import islice

import pytest
from confluent_kafka import Consumer, TopicPartition

from include.jobs.shop.events import Event
from include.jobs.shop.produce import ProduceError, TopicMismatchError, partition_of, produce

PARTITIONS = 3


def sequence(count: int = 500, start: int = 0) -> Iterator[Event]:
    for number in range(start, start + count):
        yield Event(b"%d" % (number % 17), b"value %d" % number, 1_483_228_800_000 + number)


def content(servers: str, topic: str) -> list[list[Event]]:
    """All messages of all partitions."""
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "tests", "enable.auto.commit": False})
    found = []
    try:
        for number in range(PARTITIONS):
            _, high = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=30)
            consumer.assign([TopicPartition(topic, number, 0)])
            messages = consumer.consume(high, 30) if high else []
            found.append([Event(m.key() or b"", m.value() or b"", m.timestamp()[1]) for m in messages])
    finally:
        consumer.close()
    return found


@pytest.fixture
def topic() -> str:
    return f"shop.{uuid.uuid4().hex[:8]}"


def by_partition(events: Iterator[Event]) -> list[list[Event]]:
    split: list[list[Event]] = [[] for _ in range(PARTITIONS)]
    for event in events:
        split[partition_of(event.key, PARTITIONS)].append(event)
    return split


def test_a_topic_is_made_filled_and_then_left_alone(kafka: str, topic: str) -> None:
    first = produce({"bootstrap.servers": kafka}, topic, PARTITIONS, sequence)
    assert (first["produced"], first["present"], first["total"]) == (500, 0, 500)
    again = produce({"bootstrap.servers": kafka}, topic, PARTITIONS, sequence)
    assert (again["produced"], again["present"], again["total"]) == (0, 500, 500)
    assert content(kafka, topic) == by_partition(sequence())


@pytest.mark.parametrize("count", [1, 250, 499])
def test_what_an_interrupted_call_left_is_completed(kafka: str, topic: str, count: int) -> None:
    produce({"bootstrap.servers": kafka}, topic, PARTITIONS, lambda: islice(sequence(), count))
    result = produce({"bootstrap.servers": kafka}, topic, PARTITIONS, sequence)
    assert (result["produced"], result["present"]) == (500 - count, count)
    assert content(kafka, topic) == by_partition(sequence())


@pytest.mark.parametrize("other", [lambda: sequence(start=1), lambda: sequence(100)])
def test_another_sequence_is_refused(kafka: str, topic: str, other: object) -> None:
    produce({"bootstrap.servers": kafka}, topic, PARTITIONS, sequence)
    with pytest.raises(TopicMismatchError, match=rf"topic {topic} holds other messages than these \(partition"):
        produce({"bootstrap.servers": kafka}, topic, PARTITIONS, other)  # type: ignore[arg-type]
    assert content(kafka, topic) == by_partition(sequence())


def test_a_broker_that_is_away_is_named(topic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("include.jobs.shop.produce._TIMEOUT_S", 1.0)
    with pytest.raises(ProduceError, match=r"Kafka at 127\.0\.0\.1:1 does not take topic"):
        produce({"bootstrap.servers": "127.0.0.1:1"}, topic, PARTITIONS, sequence)
