"""A real broker, as tests drive it."""

import datetime as dt
import time
from collections.abc import Iterable
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from confluent_kafka.cimpl import NewPartitions, NewTopic

from tests.jobs.ingest.records import GOOD, encode

EPOCH = dt.datetime(2017, 1, 1, tzinfo=dt.UTC)


def at(hours: float) -> dt.datetime:
    """Hours since the beginning of 2017."""
    return EPOCH + dt.timedelta(hours=hours)


def milliseconds(hours: float) -> int:
    """The same as a message time."""
    return int(at(hours).timestamp() * 1000)


def record(hours: float, number: int = 0, **changes: Any) -> bytes:
    """A good record of a moment, an event of its own; `number` makes it another one."""
    time = at(hours).strftime("%Y-%m-%dT%H:%M:%SZ")
    event = f"{GOOD['basket_id']}-{number or f'at-{hours:g}'}"
    return encode(**{"event_id": event, "transaction_timestamp": time, **changes})


class Broker:
    """Topics and messages of a real broker."""

    def __init__(self, servers: str) -> None:
        self.servers = servers
        self.admin = AdminClient({"bootstrap.servers": servers, "log_level": 0})

    def create(self, topic: str, partitions: int, **config: str) -> None:
        settings = {"retention.ms": "-1", **{name.replace("_", "."): value for name, value in config.items()}}
        self.admin.create_topics([NewTopic(topic, partitions, 1, config=settings)])[topic].result()
        self._leaders(topic, partitions)

    def delete(self, topic: str) -> None:
        self.admin.delete_topics([topic])[topic].result()
        deadline = time.monotonic() + 30
        while topic in self.admin.list_topics(timeout=10).topics and time.monotonic() < deadline:
            time.sleep(0.1)

    def widen(self, topic: str, partitions: int) -> None:
        self.admin.create_partitions([NewPartitions(topic, partitions)])[topic].result()
        self._leaders(topic, partitions)

    def drop_before(self, topic: str, partition: int, offset: int) -> None:
        """What retention does."""
        request = [TopicPartition(topic, partition, offset)]
        for future in self.admin.delete_records(request).values():
            future.result()

    def send(self, topic: str, messages: Iterable[tuple[int, float, bytes | None]], key: bytes | None = b"900") -> None:
        """Send `(partition, hours, value)`, in order."""
        producer = Producer({"bootstrap.servers": self.servers, "enable.idempotence": True, "log_level": 0})
        for partition, hours, value in messages:
            producer.produce(topic, value, key, partition, timestamp=milliseconds(hours))
        assert producer.flush(60) == 0

    def transaction(self, topic: str) -> Producer:
        """A producer with a transaction open; one of an earlier call for this topic is fenced off, and aborted."""
        producer = Producer({"bootstrap.servers": self.servers, "transactional.id": topic, "log_level": 0})
        producer.init_transactions(60)
        producer.begin_transaction()
        return producer

    def clean_at_once(self) -> None:
        """Have the log cleaner look for work all the time, not every 15 seconds."""
        self._configure(ResourceType.BROKER, "1", {"log.cleaner.backoff.ms": "20"})

    def compact(self, topic: str) -> None:
        """Have the cleaner take what has a later record of its key, but for the latest segment."""
        self._configure(ResourceType.TOPIC, topic, {"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.001"})

    def _configure(self, kind: ResourceType, name: str, config: dict[str, str]) -> None:
        entries = [ConfigEntry(*item, incremental_operation=AlterConfigOpType.SET) for item in config.items()]
        for future in self.admin.incremental_alter_configs(
            [ConfigResource(kind, name, incremental_configs=entries)]
        ).values():
            future.result()

    def read(self, topic: str, partitions: int) -> list[tuple[int, int]]:
        """Partition and offset of all that a plain consumer gets, which reads what is committed."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.servers,
                "group.id": "plain",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
                "log_level": 0,
            }
        )
        found, left = [], set(range(partitions))
        consumer.assign([TopicPartition(topic, number, 0) for number in left])
        while left:
            message = consumer.poll(60)
            assert message is not None, f"partitions {left} of {topic} say nothing"
            if (error := message.error()) is not None:
                assert error.code() == KafkaError._PARTITION_EOF, error
                left.discard(message.partition())
            else:
                found.append((message.partition(), message.offset()))
        consumer.close()
        return sorted(found)

    def _leaders(self, topic: str, partitions: int) -> None:
        deadline = time.monotonic() + 60
        while True:
            try:
                found = self.admin.list_topics(topic, timeout=10).topics[topic].partitions
                if len(found) == partitions and all(partition.leader >= 0 for partition in found.values()):
                    return
            except KafkaException:
                pass
            assert time.monotonic() < deadline, f"{topic} has no leaders"
            time.sleep(0.1)
