"""What the broker still holds of an erased household, and until when.

A topic's records cannot be taken out one by one. In a compacted topic a tombstone removes all records of a key, and one
is sent. In any other they go with retention, or when the broker's owner deletes all records before an offset: that is
theirs to decide, because everybody's records before it go too. Until then the erasure list keeps the household out of
whatever is ingested.
"""

import datetime as dt
import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType  # type: ignore[attr-defined]

from include.jobs.lake.errors import JobError
from include.jobs.lake.named import households_in

TIMEOUT_S: Final = 30.0
_BATCH: Final = 10_000
_SOUND: Final = re.compile(rb'"household_id":([1-9][0-9]*)[,}]')

log = logging.getLogger(__name__)


class TopicError(JobError):
    """The broker cannot be asked."""


@dataclass(slots=True)
class Held:
    """What a topic holds: records read, those that name the household, and what becomes of them.

    A topic that the broker no longer has (`there` is false) holds nothing. `keys` are those, by partition, that are the
    household's, or whose last record names it: what a tombstone may remove without taking another household's.
    """

    topic: str
    there: bool = True
    read: int = 0
    naming: int = 0
    latest_ms: int = -1
    retention_ms: int = -1
    compacted: bool = False
    keys: set[tuple[int, bytes]] = field(default_factory=set)

    def report(self) -> dict[str, Any]:
        """As JSON: without the household."""
        gone = None
        if self.naming and self.retention_ms >= 0 and not self.compacted:
            gone = dt.datetime.fromtimestamp((self.latest_ms + self.retention_ms) / 1000, dt.UTC).isoformat()
        return {
            "topic": self.topic,
            "there": self.there,
            "read": self.read,
            "naming": self.naming,
            "compacted": self.compacted,
            "retention_ms": self.retention_ms,
            "gone_by": gone,
        }


def search_topic(client: Mapping[str, str], topic: str, household_id: int, *, whole: bool = True) -> Held:
    """Read a topic from its first record to what is its last now; `client` is what `kafka_client` gives.

    `whole`: see `households_in`.

    Raises:
        TopicError: the broker does not answer, or does not let this client in.
    """
    held = policy(client, topic)
    for message in read_topic(client, topic) if held.there else ():
        _look(held, message, household_id, whole)
    return held


def bury(client: Mapping[str, str], held: Held) -> int:
    """Send a tombstone for each key of the household to the partition it was found in; how many. Compacted topics only.

    Raises:
        TopicError: the broker does not take them.
    """
    if not held.compacted or not held.keys:
        return 0
    producer = Producer({**client, "enable.idempotence": True})
    for partition, key in sorted(held.keys):
        producer.produce(held.topic, None, key, partition)
    if producer.flush(TIMEOUT_S):
        raise TopicError(
            f"topic {held.topic} at {client['bootstrap.servers']} does not take tombstones: check the right to write it"
        )
    return len(held.keys)


def policy(client: Mapping[str, str], topic: str) -> Held:
    """What the broker does with a topic's records; nothing is read.

    Raises:
        TopicError: the broker does not answer, or does not let this client in.
    """
    admin = AdminClient(dict(client))
    resource = ConfigResource(ResourceType.TOPIC, topic)
    (answer,) = admin.describe_configs([resource], request_timeout=TIMEOUT_S).values()
    try:
        config = answer.result()
    except KafkaException as error:
        if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise _unsearched(client, topic, error) from error
        return Held(topic, there=False)
    return Held(
        topic,
        retention_ms=int(config["retention.ms"].value),
        compacted="compact" in config["cleanup.policy"].value.split(","),
    )


def read_topic(client: Mapping[str, str], topic: str) -> Iterator[Message]:
    """Every record of a topic, from its first to what is its last now; none of a topic that is not there.

    Raises:
        TopicError: the broker does not answer, or does not let this client in.
    """
    settings: dict[str, str | bool] = {
        **client,
        "group.id": "podium-erasure",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "isolation.level": "read_uncommitted",
    }
    consumer = Consumer(settings)
    try:
        yield from _records(consumer, topic)
    except KafkaException as error:
        raise _unsearched(client, topic, error) from error
    finally:
        consumer.close()


def _records(consumer: Consumer, topic: str) -> Iterator[Message]:
    partitions = consumer.list_topics(topic, TIMEOUT_S).topics[topic].partitions
    # The end as of now: who writes meanwhile writes what came after the erasure.
    ends = {
        number: consumer.get_watermark_offsets(TopicPartition(topic, number), TIMEOUT_S)[1] for number in partitions
    }
    consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in partitions])
    open_partitions = {number for number, end in ends.items() if end > 0}
    while open_partitions:
        messages = consumer.consume(_BATCH, TIMEOUT_S)
        if not messages:
            raise TopicError(f"topic {topic} gave nothing for {TIMEOUT_S:.0f} s: is the broker up?")
        for message in messages:
            error = message.error()
            if error is None:
                yield message
            elif error.code() != KafkaError._PARTITION_EOF:
                raise KafkaException(error)
            if error is not None or (message.offset() or 0) + 1 >= ends[message.partition()]:
                open_partitions.discard(message.partition())


def _unsearched(client: Mapping[str, str], topic: str, error: KafkaException) -> TopicError:
    return TopicError(
        f"topic {topic} at {client['bootstrap.servers']} cannot be searched ({error.args[0].str()}): check that "
        "the broker runs and lets this client read it, then run this again"
    )


def _look(held: Held, message: Message, household_id: int, whole: bool) -> None:
    held.read += 1
    key, value = message.key(), message.value()
    place = message.partition() or 0, key or b""
    if key and value and set(_SOUND.findall(value)) == {key} and key != b"%d" % household_id:
        # A sound record of another household, as nearly all are.
        held.keys.discard(place)
        return
    by_key = household_id in households_in(key, None, whole=whole)
    if not by_key and household_id not in households_in(None, value, whole=whole):
        # Compaction keeps this one of the key, and takes those before it.
        held.keys.discard(place)
        return
    if value is None and held.compacted:
        # A tombstone, from an earlier erasure: it is what removes the others.
        return
    held.naming += 1
    held.latest_ms = max(held.latest_ms, message.timestamp()[1])
    if key is not None:
        held.keys.add(place)
