"""One Kafka topic: what it holds for an interval, and reading explicit offset ranges. No consumer group, no commit."""

import datetime as dt
import importlib
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa
from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    TopicCollection,
    TopicPartition,
)

from include.jobs.ingest.plan import PartitionView, TopicView
from include.jobs.lake.errors import JobError
from include.jobs.lake.ledger import Interval, OffsetRange

if TYPE_CHECKING:
    from include.jobs.ingest.registry import Registry

# Any: the package's types do not export OffsetSpec, which its documentation tells to import from here.
_admin: Any = importlib.import_module("confluent_kafka.admin")

_REFUSED = frozenset({KafkaError._AUTHENTICATION, KafkaError._SSL})
_REQUEST_TIMEOUT_S = 30.0
_POLL_TIMEOUT_S = 0.05
#: Messages of a batch: large enough for the check in columns, small enough for memory.
_BATCH = 8_192
_STALL_S = 60.0


class KafkaUnavailableError(JobError):
    """Kafka does not answer."""


class TopicMissingError(JobError):
    """The topic does not exist."""


class TopicStalledError(JobError):
    """Records that the topic says it holds do not arrive."""


@dataclass(frozen=True, slots=True)
class Records:
    """Records as they came, in columns of one length.

    `partitions` are int32, `offsets` and `times` (milliseconds since 1970) int64, `keys` binary, `values` large
    binary; a key or value that was not given is null.
    """

    partitions: pa.Array
    offsets: pa.Array
    times: pa.Array
    keys: pa.Array
    values: pa.Array

    def __len__(self) -> int:
        return len(self.offsets)


class Topic:
    """A topic of a Kafka cluster, as a context manager."""

    def __init__(
        self,
        bootstrap_servers: str,
        name: str,
        security: Mapping[str, str] | None = None,
        registry: "Registry | None" = None,
    ) -> None:
        """Open it; `security` is what `kafka_security` gives, nothing of it for an open cluster.

        `registry` has the schemas that the values name; there is none where they are plain JSON.
        """
        self.name = name
        self.registry = registry
        self._servers = bootstrap_servers
        self._secured = bool(security)
        self._trouble: KafkaError | None = None
        common: dict[str, Any] = {
            "bootstrap.servers": bootstrap_servers,
            "log_level": 3,
            "error_cb": self._on_error,
            **(security or {}),
        }
        self._admin = _admin.AdminClient(common)
        self._consumer = Consumer(
            {
                **common,
                # Required by the client; with explicit assignment and no commits no group is ever joined.
                "group.id": f"podium-ingest-{uuid.uuid4()}",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "enable.partition.eof": True,
                "isolation.level": "read_committed",
                # An offset that vanished must be an error, never a silent jump.
                "auto.offset.reset": "error",
                # What is fetched past the end of a range is for nothing.
                "queued.max.messages.kbytes": 4_096,
                "fetch.message.max.bytes": 1_048_576,
                # A full queue is drained in milliseconds; librdkafka would look again only after a second.
                "fetch.queue.backoff.ms": 2,
                # How long the broker may hold back the answer that a partition has ended.
                "fetch.wait.max.ms": 50,
            }
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._consumer.close()

    def view(self, interval: Interval) -> TopicView:
        """What Kafka says of the topic, for an interval.

        Raises:
            KafkaUnavailableError: no broker answers.
            TopicMissingError: no such topic.
        """
        topic_id, numbers = self._describe()
        low = self._offsets(numbers, _admin.OffsetSpec.earliest())
        # The high watermark is taken before the times: a record that lands in between then lies past it.
        high = self._offsets(numbers, _admin.OffsetSpec.latest())
        at_start = self._offsets(numbers, _admin.OffsetSpec.for_timestamp(_milliseconds(interval.start)))
        at_end = self._offsets(numbers, _admin.OffsetSpec.for_timestamp(_milliseconds(interval.end)))
        views = {}
        for number in numbers:
            floor, ceiling = low[number], high[number]
            views[number] = PartitionView(
                low=max(floor, 0),
                high=max(ceiling, 0),
                at_start=_within(at_start[number], ceiling),
                at_end=_within(at_end[number], ceiling),
                low_time=self._time_at(number, floor) if 0 < floor < ceiling else None,
            )
        return TopicView(self.name, topic_id, views)

    def read(self, ranges: Mapping[int, OffsetRange]) -> Iterator[Records]:
        """The records of the ranges, in batches; each partition in its order.

        Raises:
            TopicStalledError: nothing arrives for a minute.
            KafkaUnavailableError: the broker reports an error.
        """
        ends = {number: span.end for number, span in ranges.items() if len(span)}
        if not ends:
            return
        self._consumer.assign([TopicPartition(self.name, number, ranges[number].start) for number in ends])
        last_progress = time.monotonic()
        while ends:
            messages = self._consumer.consume(_BATCH, _POLL_TIMEOUT_S)
            records, done = self._take(messages, ends)
            if len(records) or done:
                last_progress = time.monotonic()
            elif time.monotonic() - last_progress > _STALL_S:
                raise TopicStalledError(
                    f"topic {self.name}: no record for {_STALL_S:.0f} s while partitions {sorted(ends)} should go on "
                    f"to offsets {[ends[number] for number in sorted(ends)]}: check the brokers, and for a transaction "
                    "that is still open"
                )
            if done:
                self._consumer.incremental_unassign([TopicPartition(self.name, number) for number in done])
                for number in done:
                    del ends[number]
            if len(records):
                yield records

    def _take(self, messages: list[Any], ends: Mapping[int, int]) -> tuple[Records, set[int]]:
        """Columns of the messages that lie in their range, and the partitions that have reached their end.

        Any: what was delivered has its place in Kafka, which the package's types leave optional.
        """
        done: set[int] = set()
        troubles = zip(messages, map(Message.error, messages), strict=True)
        errors = [message for message, trouble in troubles if trouble is not None]
        for message in errors:
            error, number = message.error(), message.partition()
            if error.code() != KafkaError._PARTITION_EOF:
                raise KafkaUnavailableError(f"topic {self.name}, partition {number}: {error.str()}")
            # Offsets at the end may be control records or compacted away: none of them is ever delivered.
            if number in ends and message.offset() >= ends[number]:
                done.add(number)
        if errors:
            messages = [message for message in messages if message.error() is None]
        # The client hands records over as objects; from here on a record is a row of Arrow arrays.
        partitions = np.fromiter(map(Message.partition, messages), np.int32, len(messages))
        offsets = np.fromiter(map(Message.offset, messages), np.int64, len(messages))
        wanted = np.zeros(len(messages), np.bool_)
        for number, end in ends.items():
            here = partitions == number
            wanted |= here & (offsets < end)
            if offsets.max(initial=-1, where=here) >= end - 1:
                done.add(number)
        if not wanted.all():
            partitions, offsets = partitions[wanted], offsets[wanted]
            messages = [messages[place] for place in np.flatnonzero(wanted)]
        records = Records(
            pa.array(partitions),
            pa.array(offsets),
            pa.array(np.fromiter((time for _, time in map(Message.timestamp, messages)), np.int64, len(messages))),
            pa.array(list(map(Message.key, messages)), pa.binary()),
            pa.array(list(map(Message.value, messages)), pa.large_binary()),
        )
        return records, done

    def _describe(self) -> tuple[str, list[int]]:
        try:
            futures = self._admin.describe_topics(TopicCollection([self.name]), request_timeout=_REQUEST_TIMEOUT_S)
            found = futures[self.name].result()
        except KafkaException as error:
            if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise TopicMissingError(
                    f"topic {self.name} is not on {self._servers}: create it, or correct its name under ingest.topics "
                    "in the settings"
                ) from error
            raise self._unavailable(error) from error
        return str(found.topic_id), sorted(partition.id for partition in found.partitions)

    def _offsets(self, numbers: list[int], spec: Any) -> dict[int, int]:
        request = {TopicPartition(self.name, number): spec for number in numbers}
        try:
            futures = self._admin.list_offsets(
                request, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=_REQUEST_TIMEOUT_S
            )
            return {partition.partition: future.result().offset for partition, future in futures.items()}
        except KafkaException as error:
            raise self._unavailable(error) from error

    def _time_at(self, number: int, offset: int) -> dt.datetime | None:
        records = next(self.read({number: OffsetRange(offset, offset + 1)}), None)
        return dt.datetime.fromtimestamp(records.times[0].as_py() / 1000, dt.UTC) if records else None

    def _unavailable(self, error: KafkaException) -> KafkaUnavailableError:
        # What befell the connections waits to be asked for.
        self._admin.poll(0)
        trouble, why = self._trouble, error.args[0].str()
        if trouble is not None:
            why = f"{why}; {trouble.str()}"
        mend = "check that the brokers run and that KAFKA_BOOTSTRAP_SERVERS is right"
        if self._secured or (trouble is not None and trouble.code() in _REFUSED):
            mend += (
                ", and that they let this client in: kafka.security_protocol and kafka.sasl_mechanism in the settings, "
                "the keys kafka_* of the Secret podium-credentials"
            )
        return KafkaUnavailableError(f"Kafka at {self._servers} does not answer for topic {self.name} ({why}): {mend}")

    def _on_error(self, error: KafkaError) -> None:
        """What befalls the connections; the call that waits for them only learns that its time was over."""
        if self._trouble is None or error.code() in _REFUSED:
            self._trouble = error


def _milliseconds(moment: dt.datetime) -> int:
    # Rounded up: an offset for a time is the first record at or past it, and Kafka counts whole milliseconds.
    return -(-int(moment.timestamp() * 1_000_000) // 1000)


def _within(offset: int, high: int) -> int | None:
    return offset if 0 <= offset < high else None
