"""Producing the year of sales to a topic: whole, once, and resumable.

The messages of every partition are a fixed sequence (slice and seed decide it) and the producer is idempotent, so
what a partition holds is always a beginning of its sequence. A second call therefore finds out by counting what is
missing, and by comparing the last message whether the topic holds this sequence at all.
"""

import logging
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from include.jobs.lake.errors import JobError
from include.jobs.shop.events import Event

log = logging.getLogger(__name__)

_TIMEOUT_S = 30.0
_DELIVERY_TIMEOUT_S = 300.0
_PROGRESS_S = 5.0
_POLL_EVERY = 10_000
_NO_LEADER_YET = frozenset(
    {
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_PARTITION,  # the same, told by librdkafka
    }
)


class ProduceError(JobError):
    """Kafka refused messages or does not answer."""


class TopicMismatchError(JobError):
    """The topic holds other messages than these."""


def produce(
    client: Mapping[str, str], topic: str, partitions: int, events: Callable[[], Iterator[Event]]
) -> dict[str, Any]:
    """Bring the topic to hold exactly `events`, creating it when it is missing.

    `events` gives the same sequence each time that it is called. `client` is what every client of Kafka begins with.

    Returns:
        `{produced, present, total, seconds}`: messages sent now, found there, and in all.

    Raises:
        ProduceError: Kafka refuses messages or does not answer.
        TopicMismatchError: the topic holds something else.
    """
    begun = time.monotonic()
    count = _create(client, topic, partitions)
    present = _present(client, topic, count)
    totals = _verify(client, topic, present, events()) if any(present.values()) else None
    if totals == present:
        produced, total = 0, sum(present.values())
    else:
        produced, total = _send(client, topic, present, events())
    seconds = time.monotonic() - begun
    return {"produced": produced, "present": total - produced, "total": total, "seconds": round(seconds, 3)}


@cache
def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a key: CRC-32, librdkafka's `consistent` partitioner."""
    return zlib.crc32(key) % partitions


def _create(client: Mapping[str, str], topic: str, partitions: int) -> int:
    """Create the topic unless it is there; its number of partitions."""
    admin = AdminClient({**client, "log_level": 3})
    # The year lies in the past: any retention by time would drop it at once.
    config = {"retention.ms": "-1", "retention.bytes": "-1", "message.timestamp.type": "CreateTime"}
    try:
        found = admin.list_topics(timeout=_TIMEOUT_S).topics.get(topic)
        if found is not None:
            return len(found.partitions)
        admin.create_topics(
            [NewTopic(topic, num_partitions=partitions, replication_factor=-1, config=config)],
            operation_timeout=_TIMEOUT_S,
        )[topic].result()
    except KafkaException as error:
        if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
            return _create(client, topic, partitions)
        raise ProduceError(
            f"Kafka at {client['bootstrap.servers']} does not take topic {topic} ({error.args[0].str()}): check that "
            "the broker runs and that KAFKA_BOOTSTRAP_SERVERS is right"
        ) from error
    log.info("created topic %s with %d partitions", topic, partitions)
    return partitions


def _present(client: Mapping[str, str], topic: str, partitions: int) -> dict[int, int]:
    """How many messages every partition holds."""
    consumer = _consumer(client)
    try:
        marks = {}
        for number in range(partitions):
            low, high = _watermarks(consumer, TopicPartition(topic, number))
            if low > 0:
                raise TopicMismatchError(
                    f"topic {topic}, partition {number}: offsets below {low} were dropped by retention, so it can no "
                    "longer be completed. Delete the topic and produce again; set retention.ms to -1"
                )
            marks[number] = high
        return marks
    except KafkaException as error:
        raise ProduceError(
            f"Kafka at {client['bootstrap.servers']} does not answer for topic {topic}: {error.args[0].str()}"
        ) from error
    finally:
        consumer.close()


def _watermarks(consumer: Consumer, partition: TopicPartition) -> tuple[int, int]:
    """First and past-the-last offset. A topic made a moment ago may not have its leaders yet: asked until then."""
    deadline = time.monotonic() + _TIMEOUT_S
    while True:
        try:
            low, high = consumer.get_watermark_offsets(partition, timeout=_TIMEOUT_S)
            return low, high
        except KafkaException as error:
            if error.args[0].code() not in _NO_LEADER_YET or time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _verify(client: Mapping[str, str], topic: str, present: dict[int, int], events: Iterator[Event]) -> dict[int, int]:
    """Compare the last message of every partition with the one that belongs there; how many belong in each."""
    expected: dict[int, Event] = {}
    totals = dict.fromkeys(present, 0)
    for event in events:
        number = partition_of(event.key, len(present))
        totals[number] += 1
        if totals[number] == present[number]:
            expected[number] = event
    consumer = _consumer(client)
    try:
        for number, count in present.items():
            if not count:
                continue
            consumer.assign([TopicPartition(topic, number, count - 1)])
            message = consumer.poll(_TIMEOUT_S)
            if number not in expected or message is None or not _same(message, expected[number]):
                raise TopicMismatchError(
                    f"topic {topic} holds other messages than these (partition {number}, offset {count - 1}): it was "
                    "filled from another slice or seed, or by another producer. Give the options of then, another "
                    "topic, or delete the topic"
                )
    finally:
        consumer.close()
    return totals


def _same(message: Message, event: Event) -> bool:
    return (message.key(), message.value(), message.timestamp()[1]) == event


def _send(client: Mapping[str, str], topic: str, present: dict[int, int], events: Iterator[Event]) -> tuple[int, int]:
    """Send what is missing; the numbers of messages sent and of all."""
    sender = _Sender(client, topic)
    skip, total = dict(present), 0
    for event in events:
        total += 1
        number = partition_of(event.key, len(skip))
        if skip[number]:
            skip[number] -= 1
            continue
        sender.send(number, event)
        if sender.failures:
            break
    sender.finish()
    return sender.sent, total


class _Sender:
    """An idempotent producer, which keeps the order and drops duplicates: counting relies on both."""

    def __init__(self, client: Mapping[str, str], topic: str) -> None:
        self._servers = client["bootstrap.servers"]
        self._topic = topic
        self._reported = time.monotonic()
        self.sent = 0
        self.failures: list[str] = []
        self._producer = Producer(
            {
                **client,
                "log_level": 3,
                "enable.idempotence": True,
                "compression.type": "lz4",
                "linger.ms": 50,
                "batch.num.messages": 10_000,
                "queue.buffering.max.messages": 200_000,
                "delivery.timeout.ms": int(_DELIVERY_TIMEOUT_S * 1000),
                "delivery.report.only.error": True,
            }
        )

    def send(self, partition: int, event: Event) -> None:
        """Queue a message, waiting while the queue is full."""
        while True:
            try:
                self._producer.produce(
                    self._topic,
                    event.value,
                    event.key,
                    partition,
                    on_delivery=self._on_delivery,
                    timestamp=event.time,
                )
                break
            except BufferError:
                self._producer.poll(0.1)
        self.sent += 1
        if self.sent % _POLL_EVERY == 0:
            self._producer.poll(0)
            if time.monotonic() - self._reported > _PROGRESS_S:
                self._reported = time.monotonic()
                log.info("produced %d messages", self.sent)

    def finish(self) -> None:
        """Wait until all is acknowledged.

        Raises:
            ProduceError: some messages were not.
        """
        left = self._producer.flush(_DELIVERY_TIMEOUT_S)
        if not self.failures and not left:
            return
        missing = f"{left} messages were not acknowledged in {_DELIVERY_TIMEOUT_S:.0f} s"
        raise ProduceError(
            f"topic {self._topic} at {self._servers} did not take all messages "
            f"({self.failures[0] if self.failures else missing}). Check the broker and its disk, then run the same "
            "command again: it goes on where this one ended"
        )

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self.failures.append(f"partition {message.partition()}: {error.str()}")


def _consumer(client: Mapping[str, str]) -> Consumer:
    return Consumer({**client, "group.id": "podium-shop", "enable.auto.commit": False, "log_level": 3})
