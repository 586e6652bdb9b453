"""One Kafka topic: what it holds for an interval, and reading explicit offset ranges. No consumer group, no commit."""

import datetime as dt
import importlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
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

from include.jobs.ingest.boundary import Boundary, Search, are_times, milliseconds, votes_to_confirm
from include.jobs.ingest.fetch import LOOKS, KafkaUnavailableError, consumer, fetch
from include.jobs.ingest.plan import PartitionView, TopicView
from include.jobs.ingest.times import readable
from include.jobs.lake.errors import JobError
from include.jobs.lake.ledger import Mark, OffsetRange

if TYPE_CHECKING:
    from include.jobs.ingest.registry import Registry

# Any: the package's types do not export OffsetSpec, which its documentation tells to import from here.
_admin: Any = importlib.import_module("confluent_kafka.admin")

_REFUSED = frozenset({KafkaError._AUTHENTICATION, KafkaError._SSL})
_REQUEST_TIMEOUT_S = 30.0
# The client tells it only in words.
_BROKER_END = re.compile(r"broker end offset is (\d+)")


class TopicMissingError(JobError):
    """The topic does not exist."""


@dataclass(frozen=True, slots=True)
class Records:
    """Records as they came, in columns of one length.

    `partitions` are int32, `offsets` and `times` (milliseconds since 1970) int64, `keys` binary, `values` large
    binary; a key or value that was not given is null. `last` is the last record of each partition.
    """

    partitions: pa.Array
    offsets: pa.Array
    times: pa.Array
    keys: pa.Array
    values: pa.Array
    last: Mapping[int, Mark]

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
        *,
        max_ahead: dt.timedelta = dt.timedelta(hours=1),
        confirm: int | None = None,
    ) -> None:
        """Open it; `security` is what `kafka_security` gives, nothing of it for an open cluster.

        `registry` has the schemas that the values name; there is none where they are plain JSON. A record that is
        stamped more than `max_ahead` after now moves no boundary. `confirm` is by how many votes one is found, by
        default `votes_to_confirm`.
        """
        self._max_ahead, self._confirm = max_ahead, confirm
        self.name = name
        self.registry = registry
        self._servers = bootstrap_servers
        self._secured = bool(security)
        self._trouble: KafkaError | None = None
        self._common: dict[str, Any] = {
            "bootstrap.servers": bootstrap_servers,
            "log_level": 3,
            "error_cb": self._on_error,
            **(security or {}),
        }
        self._admin = _admin.AdminClient(self._common)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in ("_ranges", "_committed", "_uncommitted"):
            if name in self.__dict__:
                self.__dict__[name].close()

    def view(self) -> TopicView:
        """What Kafka says of the topic.

        Raises:
            KafkaUnavailableError: no broker answers.
            TopicMissingError: no such topic.
        """
        topic_id, numbers = self._describe()
        low = self._offsets(numbers, _admin.OffsetSpec.earliest())
        # The high watermark is asked for first: what is stable lies before it only where a transaction is open.
        high = self._offsets(numbers, _admin.OffsetSpec.latest(), IsolationLevel.READ_UNCOMMITTED)
        stable = self._offsets(numbers, _admin.OffsetSpec.latest())
        views = {
            number: PartitionView(max(low[number], 0), max(high[number], 0), min(max(stable[number], 0), high[number]))
            for number in numbers
        }
        return TopicView(self.name, topic_id, views)

    def boundaries(
        self, moment: dt.datetime, view: TopicView, floors: Mapping[int, int], now: dt.datetime
    ) -> dict[int, Boundary]:
        """Where a moment lies in each partition that `floors` names, not before the offset given there.

        Reads the timestamps from the first offset on that the broker names, as far as the search goes: little where
        records are in order.

        Raises:
            JobError: see `view` and `fetch`.
        """
        cut, parts = milliseconds(moment), {number: view.partitions[number] for number in floors}
        # Past it everything is, and a negative time would ask for something else.
        named = self._offsets(list(parts), _admin.OffsetSpec.for_timestamp(cut)) if cut > 0 else dict.fromkeys(parts, 0)
        clock = {"now": milliseconds(now), "latest": milliseconds(now + self._max_ahead)}
        confirm = self._confirm or votes_to_confirm(len(view.partitions))
        starts = {
            number: max(part.low, floors[number], part.stable if named[number] < 0 else named[number])
            for number, part in parts.items()
        }
        searches = {number: Search(cut, starts[number], confirm=confirm, **clock) for number in parts}
        ends = {number: part.stable for number, part in parts.items() if starts[number] < part.stable}
        found: set[int] = set()
        for number, offsets, times in self._times(self._committed, starts, ends):
            if searches[number].feed(offsets, times):
                found.add(number)
                del ends[number]
        behind = {number: part.high for number, part in parts.items() if part.stable < part.high}
        ends = {number: high for number, high in behind.items() if number not in found}
        stable = {number: parts[number].stable for number in ends}
        for number, _, times in self._times(self._uncommitted, stable, ends) if ends else ():
            if searches[number].feed_unstable(times):
                del ends[number]
        return {number: search.result(parts[number].stable) for number, search in searches.items()}

    def timeless(self, spans: Mapping[int, OffsetRange], now: dt.datetime) -> set[int]:
        """The partitions in whose range no record has a time that is one: as `Search` has it, with a vote.

        Reads each range up to the first that has one.

        Raises:
            JobError: see `fetch`.
        """
        latest = milliseconds(now + self._max_ahead)
        left = {number: span.end for number, span in spans.items() if len(span)}
        found = set(spans)
        for number, _, times in self._times(self._committed, {number: spans[number].start for number in left}, left):
            if number in found and are_times(times, latest).any():
                found.remove(number)
                left.pop(number, None)
        return found

    def time_at(self, number: int, span: OffsetRange, *, stable: bool = True) -> dt.datetime | None:
        """The message time of the first record of a range; None where it has none, or the time is none.

        `stable` leaves out records of transactions that are open or aborted.
        """
        source, left = self._committed if stable else self._uncommitted, {number: span.end} if len(span) else {}
        for _, _, times in self._times(source, {number: span.start}, left):
            return readable(int(times[0]))
        return None

    def cut(self, marks: Mapping[int, Mark]) -> dict[int, int]:
        """The partitions whose log is no longer the one that was read, by the last record of each that was read.

        Records that compaction or retention took do not count: nothing else stands in their place.

        Returns:
            By partition, the offset from which the log is another, as far as the broker tells; at most the mark's.
        """
        told: dict[int, str] = {}
        found: dict[int, int] = {}
        left = {number: mark.offset + 1 for number, mark in marks.items()}
        starts = {number: mark.offset for number, mark in marks.items()}
        epochs = {number: mark.epoch for number, mark in marks.items() if mark.epoch >= 0}
        for messages in fetch(self._committed, self.name, starts, left, epochs, told):
            for message in messages:
                number = message.partition()
                if left.pop(number, None) and message.offset() == starts[number] and _mark(message) != marks[number]:
                    found[number] = starts[number]
        for number, text in told.items():
            end = _BROKER_END.search(text)
            found[number] = min(int(end[1]), starts[number]) if end else starts[number]
        return found

    def read(self, ranges: Mapping[int, OffsetRange]) -> Iterator[Records]:
        """The records of the ranges, in batches; each partition in its order.

        Raises:
            JobError: see `fetch`.
        """
        ends = {number: span.end for number, span in ranges.items() if len(span)}
        for messages in fetch(self._ranges, self.name, {number: ranges[number].start for number in ends}, ends):
            if len(records := _records(messages, ends)):
                yield records

    def _times(
        self, source: Consumer, starts: Mapping[int, int], ends: dict[int, int]
    ) -> Iterator[tuple[int, "np.ndarray", "np.ndarray"]]:
        """Partition, offsets and message times of what lies from `starts` to `ends`, in batches of one partition."""
        for messages in fetch(source, self.name, starts, ends):
            partitions, offsets, times = _places(messages)
            for number in np.unique(partitions).tolist():
                if number not in ends:
                    continue
                here = (partitions == number) & (offsets < ends[number])
                last = offsets.max(initial=-1, where=partitions == number) >= ends[number] - 1
                if here.any():
                    yield number, offsets[here], times[here]
                if last:
                    ends.pop(number, None)

    @cached_property
    def _ranges(self) -> Consumer:
        return consumer(self._common, self.name, "read_committed")

    @cached_property
    def _committed(self) -> Consumer:
        return consumer(self._common, self.name, "read_committed", LOOKS)

    @cached_property
    def _uncommitted(self) -> Consumer:
        return consumer(self._common, self.name, "read_uncommitted", LOOKS)

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

    def _offsets(
        self, numbers: list[int], spec: Any, isolation: IsolationLevel = IsolationLevel.READ_COMMITTED
    ) -> dict[int, int]:
        request = {TopicPartition(self.name, number): spec for number in numbers}
        try:
            futures = self._admin.list_offsets(request, isolation_level=isolation, request_timeout=_REQUEST_TIMEOUT_S)
            return {partition.partition: future.result().offset for partition, future in futures.items()}
        except KafkaException as error:
            raise self._unavailable(error) from error

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


def _places(messages: list[Any]) -> tuple["np.ndarray", "np.ndarray", "np.ndarray"]:
    """Partitions, offsets and message times; Any: see `fetch`."""
    count = len(messages)
    return (
        np.fromiter(map(Message.partition, messages), np.int32, count),
        np.fromiter(map(Message.offset, messages), np.int64, count),
        np.fromiter((time for _, time in map(Message.timestamp, messages)), np.int64, count),
    )


def _records(messages: list[Any], ends: dict[int, int]) -> Records:
    """Columns of the messages that lie before the end of their partition; one that has reached it is taken out.

    The client hands records over as objects; from here on a record is a row of Arrow arrays.
    """
    partitions, offsets, times = _places(messages)
    wanted = np.zeros(len(messages), np.bool_)
    last: dict[int, Mark] = {}
    for number, end in list(ends.items()):
        here = partitions == number
        within = here & (offsets < end)
        if within.any():
            last[number] = _mark(messages[int(np.flatnonzero(within)[-1])])
        wanted |= within
        if offsets.max(initial=-1, where=here) >= end - 1:
            del ends[number]
    if not wanted.all():
        partitions, offsets, times = partitions[wanted], offsets[wanted], times[wanted]
        messages = [messages[place] for place in np.flatnonzero(wanted)]
    return Records(
        pa.array(partitions),
        pa.array(offsets),
        pa.array(times),
        pa.array(list(map(Message.key, messages)), pa.binary()),
        pa.array(list(map(Message.value, messages)), pa.large_binary()),
        last,
    )


def _mark(message: Any) -> Mark:
    epoch = message.leader_epoch()
    return Mark(message.offset(), -1 if epoch is None else epoch, message.timestamp()[1])
