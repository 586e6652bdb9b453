"""Which offsets an interval takes. Pure: what Kafka and the ledger say goes in, one range a partition comes out.

The rules keep one invariant: closed intervals that are ordered in time have offset ranges ordered the same way,
and where two of them meet in time their ranges meet too. So every offset falls in at most one interval, whatever
the order and the number of runs, and a tiling of closed intervals has no gap.

Times are Kafka's message times. One that lies far ahead ends an interval early, and what follows goes to later ones,
as stragglers do: keep the topic's `message.timestamp.after.max.ms` small (an hour, by default).
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from include.jobs.lake.errors import EXIT_TRY_LATER, JobError
from include.jobs.lake.ledger import Interval, IntervalRecord, Ledger, OffsetRange, iso


class IntervalOpenError(JobError):
    """The interval may still get records: too early to close it."""

    exit_code = EXIT_TRY_LATER


class RetentionError(JobError):
    """Records that belong to the interval are gone from Kafka."""


class TopicChangedError(JobError):
    """The topic is not the one that the ledger speaks of."""


@dataclass(frozen=True, slots=True)
class PartitionView:
    """What Kafka says of one partition, for one interval.

    `low` and `high` bound the offsets that can be read. `at_start` and `at_end` are the first offsets whose
    message time is at or past the interval's start and end, None where there is none. `low_time` is the message
    time at `low`, None for an empty partition.
    """

    low: int
    high: int
    at_start: int | None
    at_end: int | None
    low_time: dt.datetime | None = None


@dataclass(frozen=True, slots=True)
class TopicView:
    """What Kafka says of the topic, for one interval."""

    name: str
    topic_id: str
    partitions: Mapping[int, PartitionView]


def plan(
    interval: Interval, ledger: Ledger, topic: TopicView, now: dt.datetime, lateness: dt.timedelta
) -> dict[int, OffsetRange]:
    """The offset range of every partition.

    A closed interval gets its recorded ranges again. Another one begins where the adjacent earlier one ended,
    else at the first record of its time; it ends where the adjacent later one began, else at the first record
    past its time, else at the high watermark.

    Raises:
        IntervalOpenError: neither the watermark nor the allowed lateness has passed its end.
        RetentionError: part of it is gone.
        TopicChangedError: the topic was re-created or is another one.
        LedgerError: it overlaps a closed interval.
    """
    recorded = ledger.get(interval)
    for neighbour in (recorded, ledger.before(interval), ledger.after(interval)):
        if neighbour is not None:
            _same_topic(neighbour, topic)
    if recorded is not None:
        ranges = dict(recorded.ranges)
    else:
        _closable(interval, topic, now, lateness)
        earlier, later = ledger.before(interval), ledger.after(interval)
        ranges = {number: _first_range(interval, number, topic, earlier, later) for number in topic.partitions}
    for number, span in ranges.items():
        _readable(interval, number, span, topic)
    return ranges


def _same_topic(record: IntervalRecord, topic: TopicView) -> None:
    if (record.topic, record.topic_id) != (topic.name, topic.topic_id):
        raise TopicChangedError(
            f"interval {record.interval} was read from topic {record.topic} (id {record.topic_id}), but this is topic "
            f"{topic.name} (id {topic.topic_id}): offsets of one say nothing of the other. Give the topic that the "
            "table was filled from, or fill a new table from the new topic"
        )


def _closable(interval: Interval, topic: TopicView, now: dt.datetime, lateness: dt.timedelta) -> None:
    due = interval.end + lateness
    if now >= due:
        return
    behind = sorted(number for number, view in topic.partitions.items() if view.at_end is None)
    if behind:
        raise IntervalOpenError(
            f"interval {interval} of topic {topic.name} is still open: partitions {behind} have no record past its end "
            f"yet, and the allowed lateness ends at {iso(due)}. Run it again then"
        )


def _first_range(
    interval: Interval, number: int, topic: TopicView, earlier: IntervalRecord | None, later: IntervalRecord | None
) -> OffsetRange:
    view = topic.partitions[number]
    floor = earlier.range_of(number).end if earlier else 0
    ceiling = later.range_of(number).start if later else None
    meets_earlier = earlier is not None and earlier.interval.end == interval.start
    meets_later = later is not None and later.interval.start == interval.end

    if meets_earlier:
        start = floor
    else:
        start = max(view.high if view.at_start is None else view.at_start, floor)
        _not_dropped(interval, number, topic, floor)
    if meets_later and ceiling is not None:
        end = ceiling
    else:
        end = max(view.high if view.at_end is None else view.at_end, start)
    if ceiling is not None:
        # A closed interval further on may have begun at a high watermark that lies before this one's records.
        start, end = min(start, ceiling), min(end, ceiling)
    return OffsetRange(start, max(end, start))


def _not_dropped(interval: Interval, number: int, topic: TopicView, floor: int) -> None:
    """Without a recorded neighbour, the start is known only if a record from before it is still there."""
    view = topic.partitions[number]
    if view.low <= floor:
        return
    first = view.high if view.at_start is None else view.at_start
    if first <= view.low:
        raise _gone(interval, number, topic, floor)


def _readable(interval: Interval, number: int, span: OffsetRange, topic: TopicView) -> None:
    view = topic.partitions.get(number)
    if view is None or span.end > view.high:
        has = "does not exist" if view is None else f"ends at offset {view.high}"
        raise TopicChangedError(
            f"interval {interval} needs offsets {span.start} to {span.end} of partition {number} of topic "
            f"{topic.name}, which {has}: records were lost from Kafka, or the cluster was restored from an older state"
        )
    if len(span) and span.start < view.low:
        raise _gone(interval, number, topic, span.start)


def _gone(interval: Interval, number: int, topic: TopicView, start: int) -> RetentionError:
    view = topic.partitions[number]
    kept = "nothing is kept" if view.low_time is None else f"what is kept begins at {iso(view.low_time)}"
    until = interval.end if view.low_time is None else min(view.low_time, interval.end)
    return RetentionError(
        f"interval {interval} cannot be read exactly: retention of topic {topic.name} has dropped offsets {start} to "
        f"{view.low} of partition {number}; {kept}, so {iso(interval.start)} to {iso(until)} is gone. Restore the "
        "topic from a backup, or start the schedule after that; raise retention.ms so that it outlasts any outage"
    )


def fits(interval: Interval, ledger: Ledger, ranges: Mapping[int, OffsetRange]) -> bool:
    """Whether planned ranges still keep the invariant with a ledger that may have grown since they were planned."""
    recorded = ledger.get(interval)
    if recorded is not None:
        return dict(recorded.ranges) == dict(ranges)
    earlier, later = ledger.before(interval), ledger.after(interval)
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
