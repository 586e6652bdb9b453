"""Which offsets an interval takes: what Kafka and the ledger say goes in, one range a partition comes out.

The rules keep one invariant: closed intervals that are ordered in time have offset ranges ordered the same way,
and where two of them meet in time their ranges meet too. So every offset falls in at most one interval, whatever
the order and the number of runs, and a tiling of closed intervals has no gap.

Times are Kafka's message times, and where a moment lies among them is for `boundary` to say. A record whose time is far
from those of its neighbours is taken with these. Those without any time that begin a partition go with the interval
that is run first.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from include.jobs.ingest.boundary import Boundary
from include.jobs.ingest.sources import Adoption, Sources
from include.jobs.lake.errors import EXIT_TRY_LATER, JobError
from include.jobs.lake.ledger import Interval, IntervalRecord, Ledger, Mark, OffsetRange, iso

#: By how many records in each partition later ones must outweigh earlier ones, to close before the allowed lateness.
_EVIDENCE = 10
_ADOPT = (
    "If the topic was moved, restored or made anew, go on with the same table: `python -m include.jobs.ingest "
    "adopt-topic --topic … --table … --contract … --from MOMENT`, the end of the last closed interval or later; what "
    "is closed stays as it is"
)


class IntervalOpenError(JobError):
    """The interval may still get records: too early to close it."""

    exit_code = EXIT_TRY_LATER


class OpenTransactionError(JobError):
    """A transaction that has not ended holds back records that may belong to the interval."""

    exit_code = EXIT_TRY_LATER


class RetentionError(JobError):
    """Records that belong to the interval are gone from Kafka."""


class TopicChangedError(JobError):
    """The topic is not the one that the ledger speaks of."""


@dataclass(frozen=True, slots=True)
class PartitionView:
    """What Kafka says of one partition: the offsets from `low` to `high` are there, those before `stable` are decided.

    What comes from `stable` on waits for a transaction that is open.
    """

    low: int
    high: int
    stable: int


@dataclass(frozen=True, slots=True)
class TopicView:
    """What Kafka says of the topic, at one moment."""

    name: str
    topic_id: str
    partitions: Mapping[int, PartitionView]


class Log(Protocol):
    """What is asked of a topic: `include.jobs.ingest.topic.Topic`."""

    def view(self) -> TopicView:
        """What Kafka says of it now."""

    def boundaries(
        self, moment: dt.datetime, view: TopicView, floors: Mapping[int, int], now: dt.datetime
    ) -> Mapping[int, Boundary]:
        """Where a moment lies in each partition of `floors`, not before the offset there."""

    def timeless(self, spans: Mapping[int, OffsetRange], now: dt.datetime) -> set[int]:
        """The partitions in whose range no record has a time that is one."""

    def cut(self, marks: Mapping[int, Mark]) -> Mapping[int, int]:
        """The partitions whose log is no longer the one that was read, and from which offset on."""

    def time_at(self, number: int, span: OffsetRange, *, stable: bool = True) -> dt.datetime | None:
        """The message time of the first record of a range of a partition."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What an interval takes: `ranges` are its own for good, `there` is what Kafka still has of them.

    `marks` are the last records that were read of each partition so far.
    """

    topic_id: str
    ranges: Mapping[int, OffsetRange]
    there: Mapping[int, OffsetRange]
    marks: Mapping[int, Mark]


def plan(
    interval: Interval,
    ledger: Ledger,
    sources: Sources,
    log: Log,
    now: dt.datetime,
    lateness: dt.timedelta,
    *,
    take_what_is_there: bool = False,
) -> Plan:
    """The offset range of every partition.

    A closed interval gets its recorded ranges again. Another one begins where the adjacent earlier one ended, else at
    the boundary of its start; it ends where the adjacent later one began, else at the boundary of its end.

    Args:
        take_what_is_there: whether it is enough to get what retention has left.

    Raises:
        IntervalOpenError: neither records past its end nor the allowed lateness tell that it is over.
        OpenTransactionError: where it ends is not decided yet.
        RetentionError: part of it is gone.
        TopicChangedError: the topic was re-created, is another one, or has lost its end.
        LedgerError: it overlaps a closed interval.
    """
    recorded, (earlier, later) = ledger.get(interval), sources.neighbours(interval, ledger)
    view, adopted = log.view(), sources.of(interval)
    for record in (recorded, earlier, later, adopted):
        if record is not None:
            _same_topic(interval, record, view)
    asked = _Asked(interval, view, log, now, take_what_is_there)
    read = recorded or earlier
    marks = dict(read.last) if read else {}
    asked.same_log(marks)
    ranges = dict(recorded.ranges) if recorded else asked.first_ranges(earlier, later, adopted, interval.end + lateness)
    there = {number: asked.still_there(number, span) for number, span in ranges.items()}
    return Plan(view.topic_id, ranges, there, marks)


def _same_topic(interval: Interval, record: IntervalRecord | Adoption, topic: TopicView) -> None:
    if (record.topic, record.topic_id) != (topic.name, topic.topic_id):
        raise TopicChangedError(
            f"interval {interval} belongs to topic {record.topic} (id {record.topic_id}), as what is closed beside it, "
            f"but this is topic {topic.name} (id {topic.topic_id}): offsets of one say nothing of the other. Give the "
            f"topic that the table was filled from. {_ADOPT}"
        )


def cut_of(marks: Mapping[int, Mark], log: Log, view: TopicView) -> dict[int, int]:
    """The partitions whose log was cut before the last record that was read of them, and from which offset on."""
    views = {number: view.partitions[number] for number in marks if number in view.partitions}
    shorter = {number: part.high for number, part in views.items() if part.high <= marks[number].offset}
    # A record that retention took cannot be looked at, and nothing else stands in its place.
    left = {n: marks[n] for n, part in views.items() if n not in shorter and part.low <= marks[n].offset}
    return {**log.cut(left), **shorter}


@dataclass(frozen=True, slots=True)
class _Asked:
    """An interval, and the topic as it was seen for it."""

    interval: Interval
    view: TopicView
    log: Log
    now: dt.datetime
    take_what_is_there: bool

    def first_ranges(
        self,
        earlier: IntervalRecord | None,
        later: IntervalRecord | None,
        adopted: Adoption | None,
        due: dt.datetime,
    ) -> dict[int, OffsetRange]:
        """What an interval takes that has not been taken yet."""
        begin = dict(adopted.starts) if adopted else {}
        floors = {
            number: earlier.range_of(number).end if earlier else begin.get(number, 0) for number in self.view.partitions
        }
        ceilings = {number: later.range_of(number).start for number in self.view.partitions} if later else {}
        for number, floor in floors.items():
            self._not_cut(number, floor)
        if earlier is not None and earlier.interval.end == self.interval.start:
            starts = floors
        else:
            begin = begin if adopted and adopted.begin == self.interval.start else {}
            starts = self._with_heads(self._told(self.interval.start, floors), floors) | begin
            for number in floors.keys() - begin.keys():
                self._not_dropped(number, starts[number], floors[number])
        if later is not None and later.interval.start == self.interval.end:
            ends = ceilings
        else:
            ends = self._told(self.interval.end, starts, due)
        # A closed interval further on may have begun at an end of the topic that lies before this one's records.
        bounds = {
            number: (min(start, ceilings.get(number, start)), min(ends[number], ceilings.get(number, ends[number])))
            for number, start in starts.items()
        }
        return {number: OffsetRange(start, max(start, end)) for number, (start, end) in bounds.items()}

    def same_log(self, marks: Mapping[int, Mark]) -> None:
        """Refuse a log that was cut since its last record was read, and may have grown again."""
        for number, offset in sorted(cut_of(marks, self.log, self.view).items()):
            mark = marks[number]
            raise TopicChangedError(
                f"partition {number} of topic {self.view.name} is no longer the log that was read: offset "
                f"{mark.offset} was the last that was read, of leader epoch {mark.epoch}, but it was cut at offset "
                f"{offset}. Offsets {offset} to {mark.offset + 1} of now belong to no interval: records were lost from "
                "Kafka (unclean leader election, a restored disk), and others may stand in their place. "
                f"{_ADOPT}, and what stands from the cut on is taken with the next interval"
            )

    def still_there(self, number: int, span: OffsetRange) -> OffsetRange:
        """What can be read of a range."""
        view = self.view.partitions.get(number)
        if view is None or span.end > view.high:
            has = "does not exist" if view is None else f"ends at offset {view.high}"
            raise TopicChangedError(
                f"interval {self.interval} needs offsets {span.start} to {span.end} of partition {number} of topic "
                f"{self.view.name}, which {has}: records were lost from Kafka, or the cluster was restored from an "
                f"older state. {_ADOPT}"
            )
        if not len(span) or span.start >= view.low:
            return span
        if not self.take_what_is_there:
            raise self._gone(number, span.start)
        return OffsetRange(min(view.low, span.end), span.end)

    def _told(self, moment: dt.datetime, floors: Mapping[int, int], due: dt.datetime | None = None) -> dict[int, int]:
        """Where a moment lies; before `due` only if every partition has moved past it."""
        if due is not None and self.now < self.interval.end:
            raise IntervalOpenError(
                f"interval {self.interval} of topic {self.view.name} is still open: it is not over yet, and the "
                f"allowed lateness ends at {iso(due)}. Run it again then"
            )
        found = self.log.boundaries(moment, self.view, floors, self.now)
        behind = sorted(number for number, boundary in found.items() if boundary.evidence < _EVIDENCE)
        if due is not None and self.now < due and behind:
            raise IntervalOpenError(
                f"interval {self.interval} of topic {self.view.name} is still open: partitions {behind} have not moved "
                f"past its end by {_EVIDENCE} records yet, and the allowed lateness ends at {iso(due)}. Run it again "
                "then"
            )
        for number, boundary in found.items():
            if boundary.held:
                raise self._held(number)
        return {number: boundary.offset for number, boundary in found.items()}

    def _with_heads(self, starts: Mapping[int, int], floors: Mapping[int, int]) -> dict[int, int]:
        """Take in what lies before a start and has no time at all, with no earlier record to go with."""
        low = {number: max(floors[number], self.view.partitions[number].low) for number in starts}
        heads = {number: OffsetRange(low[number], start) for number, start in starts.items() if low[number] < start}
        timeless = self.log.timeless(heads, self.now) if heads else set()
        return {number: low[number] if number in timeless else start for number, start in starts.items()}

    def _held(self, number: int) -> OpenTransactionError:
        view, name = self.view.partitions[number], self.view.name
        since = self.log.time_at(number, OffsetRange(view.stable, view.high), stable=False)
        first = "" if since is None else f" (its first record there is of {iso(since)})"
        where = f"--topic {name} --partition {number}"
        return OpenTransactionError(
            f"interval {self.interval} waits for a transaction: one is open in partition {number} of topic {name} from "
            f"offset {view.stable} on{first}, and records that are held back by it may belong to the interval. Run it "
            "again once the transaction has ended. If its producer is gone for good, look at "
            f"`kafka-transactions.sh --bootstrap-server … describe-producers {where}`, and abort it with "
            f"`kafka-transactions.sh --bootstrap-server … abort {where} --start-offset {view.stable}`"
        )

    def _not_cut(self, number: int, floor: int) -> None:
        high = self.view.partitions[number].high
        if high < floor:
            raise TopicChangedError(
                f"partition {number} of topic {self.view.name} ends at offset {high}, but closed intervals have read "
                f"it up to {floor}: records were lost from Kafka, or the cluster was restored from an older state. "
                f"{_ADOPT}"
            )

    def _not_dropped(self, number: int, first: int, floor: int) -> None:
        """Without a recorded neighbour, the start is known only if a record from before it is still there."""
        low = self.view.partitions[number].low
        if floor < low and first <= low and not self.take_what_is_there:
            raise self._gone(number, floor)

    def _gone(self, number: int, start: int) -> RetentionError:
        view, interval = self.view.partitions[number], self.interval
        kept_from = self.log.time_at(number, OffsetRange(view.low, max(view.low, view.stable)))
        kept = "nothing is kept" if view.low >= view.high else "what is kept begins with a time that is none"
        if kept_from is not None:
            kept = f"what is kept begins at {iso(kept_from)}"
        until = interval.end if kept_from is None else min(max(kept_from, interval.start), interval.end)
        return RetentionError(
            f"interval {interval} cannot be read exactly: retention of topic {self.view.name} has dropped offsets "
            f"{start} to {view.low} of partition {number}; {kept}, so {iso(interval.start)} to {iso(until)} is gone. "
            "Restore the topic from a backup, start the schedule after that, or run the interval with `--found-less "
            "take` to take what is there; raise retention.ms so that it outlasts any outage"
        )


def fits(interval: Interval, ledger: Ledger, sources: Sources, ranges: Mapping[int, OffsetRange]) -> bool:
    """Whether planned ranges still keep the invariant with a ledger that may have grown since they were planned."""
    recorded = ledger.get(interval)
    if recorded is not None:
        return dict(recorded.ranges) == dict(ranges)
    earlier, later = sources.neighbours(interval, ledger)
    if earlier is not None:
        ends = {number: earlier.range_of(number).end for number in ranges}
        meets = earlier.interval.end == interval.start
        if any(span.start < ends[number] or (meets and span.start != ends[number]) for number, span in ranges.items()):
            return False
    if later is not None:
        starts = {number: later.range_of(number).start for number in ranges}
        meets = later.interval.start == interval.end
        if any(span.end > starts[number] or (meets and span.end != starts[number]) for number, span in ranges.items()):
            return False
    return True
