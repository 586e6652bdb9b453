"""The ledger of closed intervals: which offsets each took, and how many records.

It lives in the properties of the events table, because those are written in the same commit as the rows and outlive
snapshot expiry: the newest intervals with a property each, the older ones on pages that a property names (`pages`). An
interval that is staged, which nobody sees until it has been judged, has a property of its own until it is published.
Pure data: no lake, no Kafka.
"""

import datetime as dt
import heapq
import json
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, Self

from include.jobs.lake.errors import LakeError

PREFIX = "podium.interval."
STAGED_PREFIX = "podium.staged."


class LedgerError(LakeError):
    """The recorded intervals and the one asked for do not fit together."""


@dataclass(frozen=True, slots=True, order=True)
class Interval:
    """A half-open interval of event time, `[start, end)`, in UTC."""

    start: dt.datetime
    end: dt.datetime

    @classmethod
    def parse(cls, start: str, end: str) -> Self:
        """From two ISO 8601 times with an offset.

        Raises:
            LedgerError: not ISO 8601, no offset, or not start before end.
        """
        return cls(parse_moment(start, "start"), parse_moment(end, "end"))

    def __post_init__(self) -> None:
        if not self.start < self.end:
            raise LedgerError(f"interval start {iso(self.start)} must lie before its end {iso(self.end)}")

    def __str__(self) -> str:
        return f"[{iso(self.start)}, {iso(self.end)})"


@dataclass(frozen=True, slots=True)
class OffsetRange:
    """Offsets `[start, end)` of one partition."""

    start: int
    end: int

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.end:
            raise LedgerError(f"offset range [{self.start}, {self.end}) is none: 0 <= start <= end must hold")

    def __len__(self) -> int:
        return self.end - self.start


class Mark(NamedTuple):
    """The last record that was read of a partition: what tells later whether the log is still the one that was read.

    `epoch` is the leader epoch in which the record was written, -1 where the broker tells none; `time` its message
    time, in milliseconds since 1970.
    """

    offset: int
    epoch: int
    time: int


@dataclass(frozen=True, slots=True)
class Counts:
    """Records of an interval: read = accepted + quarantined + erased + duplicates.

    `quarantined` broke their contract, `erased` are those of households that were erased, and `duplicates` the ones
    whose event was taken from another record.
    """

    read: int
    accepted: int
    quarantined: int
    erased: int = 0
    duplicates: int = 0

    def __post_init__(self) -> None:
        if self.read != self.accepted + self.quarantined + self.erased + self.duplicates:
            raise LedgerError(
                f"counts do not add up: read {self.read}, accepted {self.accepted} + quarantined {self.quarantined} "
                f"+ erased {self.erased} + duplicates {self.duplicates}"
            )

    @property
    def kept(self) -> int:
        """Those of them that are in a table."""
        return self.accepted + self.set_aside

    @property
    def set_aside(self) -> int:
        """The rows of the quarantine's table: broken records and duplicates."""
        return self.quarantined + self.duplicates


@dataclass(frozen=True, slots=True)
class IntervalRecord:
    """What is recorded of a closed or a staged interval.

    `mended` are the offsets, by partition, of records that came broken and were put back mended. `given_up` are as many
    records as it once held, that Kafka no longer had when somebody chose to take what was there. `last` is the last
    record of each partition that it or the interval before it has read.
    """

    interval: Interval
    topic: str
    topic_id: str
    ranges: Mapping[int, OffsetRange]
    counts: Counts
    run_id: str
    closed_at: dt.datetime
    mended: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    given_up: int = 0
    last: Mapping[int, Mark] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The table property that holds it once it is closed."""
        return PREFIX + iso(self.interval.start)

    @property
    def staged_key(self) -> str:
        """The table property that holds it while it is staged."""
        return STAGED_PREFIX + iso(self.interval.start)

    def range_of(self, partition: int) -> OffsetRange:
        """What it took of a partition; nothing of one that did not exist yet."""
        return self.ranges.get(partition, OffsetRange(0, 0))

    def to_json(self) -> str:
        """The property's value."""
        value: dict[str, Any] = {
            "end": iso(self.interval.end),
            "topic": self.topic,
            "topic_id": self.topic_id,
            "ranges": {str(number): [span.start, span.end] for number, span in sorted(self.ranges.items())},
            "read": self.counts.read,
            "accepted": self.counts.accepted,
            "quarantined": self.counts.quarantined,
            "run_id": self.run_id,
            "closed_at": iso(self.closed_at),
        }
        if self.counts.erased:
            value["erased"] = self.counts.erased
        if self.counts.duplicates:
            value["duplicates"] = self.counts.duplicates
        if self.mended:
            value["mended"] = {str(number): list(offsets) for number, offsets in sorted(self.mended.items())}
        if self.given_up:
            value["given_up"] = self.given_up
        if self.last:
            value["last"] = {str(number): list(mark) for number, mark in sorted(self.last.items())}
        return json.dumps(value, separators=(",", ":"))

    @classmethod
    def from_property(cls, key: str, text: str) -> Self:
        """Parse a property.

        Raises:
            LedgerError: it is not what `to_json` writes.
        """
        try:
            value: dict[str, Any] = json.loads(text)
            return cls(
                interval=Interval.parse(key.removeprefix(STAGED_PREFIX).removeprefix(PREFIX), value["end"]),
                topic=value["topic"],
                topic_id=value["topic_id"],
                ranges={int(number): OffsetRange(*span) for number, span in value["ranges"].items()},
                counts=Counts(
                    value["read"],
                    value["accepted"],
                    value["quarantined"],
                    value.get("erased", 0),
                    value.get("duplicates", 0),
                ),
                run_id=value["run_id"],
                closed_at=parse_moment(value["closed_at"], "closed_at"),
                mended={int(number): tuple(offsets) for number, offsets in value.get("mended", {}).items()},
                given_up=value.get("given_up", 0),
                last={int(number): Mark(*mark) for number, mark in value.get("last", {}).items()},
            )
        except (ValueError, KeyError, TypeError, AttributeError, LedgerError) as error:
            raise LedgerError(
                f"table property {key} is damaged ({error}): restore it from an older metadata file of the table"
            ) from error


class Page(Protocol):
    """Some neighbouring closed intervals that are read together, and only when they are asked for.

    `first` and `last` are the starts of the first and the last one, `end` is where the last one ends.
    """

    @property
    def first(self) -> dt.datetime: ...  # noqa: D102

    @property
    def last(self) -> dt.datetime: ...  # noqa: D102

    @property
    def end(self) -> dt.datetime: ...  # noqa: D102

    @property
    def intervals(self) -> Sequence[Interval]:
        """All of them, in order."""

    def record(self, interval: Interval) -> IntervalRecord:
        """What is recorded of one of them."""


class Ledger:
    """All intervals of one state, closed ones or staged ones, in order of time.

    `records` are at hand, those of `pages` are read when they are needed: a look at an interval and its neighbours
    takes a page or two, however long the history is. What is at hand stands for what a page has of the same interval.
    """

    def __init__(self, records: Mapping[Interval, IntervalRecord], pages: Sequence[Page] = ()) -> None:
        self._records = dict(sorted(records.items()))
        self._order = list(self._records)
        self._pages = sorted(pages, key=lambda page: page.first)

    def __bool__(self) -> bool:
        return bool(self._records or self._pages)

    def __iter__(self) -> Iterator[IntervalRecord]:
        """Every record: all pages are read, one after the other."""
        paged = (page.record(interval) for page in self._pages for interval in self._only_on(page))
        return heapq.merge(self._records.values(), paged, key=lambda record: record.interval)

    def intervals(self) -> Iterator[Interval]:
        """Every interval, without what is recorded of it."""
        return heapq.merge(self._order, (interval for page in self._pages for interval in self._only_on(page)))

    def get(self, interval: Interval) -> IntervalRecord | None:
        """The record of exactly this interval.

        Raises:
            LedgerError: a recorded interval overlaps it without being equal.
        """
        self._meets(interval, self._order)
        if interval in self._records:
            return self._records[interval]
        for page in self._pages:
            if page.first < interval.end and interval.start < page.end:
                self._meets(interval, page.intervals)
                if interval in page.intervals:
                    return page.record(interval)
        return None

    def with_record(self, record: IntervalRecord) -> "Ledger":
        """The ledger with a further record."""
        return Ledger({**self._records, record.interval: record}, self._pages)

    def before(self, interval: Interval) -> IntervalRecord | None:
        """The nearest closed interval that ends at or before this one's start."""
        found, on = _last_until(self._order, interval.start), None
        for page in reversed(self._pages):
            if page.first >= interval.start:
                continue
            if found is not None and found.start >= page.last:
                break
            earlier = _last_until(page.intervals, interval.start)
            if earlier is not None:
                found, on = (earlier, page) if found is None or found < earlier else (found, on)
                break
        return self._record(found, on)

    def after(self, interval: Interval) -> IntervalRecord | None:
        """The nearest closed interval that starts at or after this one's end."""
        found, on = _first_from(self._order, interval.end), None
        for page in self._pages:
            if page.last < interval.end:
                continue
            if found is not None and found.start <= page.first:
                break
            later = _first_from(page.intervals, interval.end)
            if later is not None:
                found, on = (later, page) if found is None or later < found else (found, on)
                break
        return self._record(found, on)

    def last(self) -> IntervalRecord | None:
        """The one that ends last."""
        page = self._pages[-1] if self._pages else None
        if self._order and (page is None or page.last <= self._order[-1].start):
            return self._records[self._order[-1]]
        return None if page is None else page.record(page.intervals[-1])

    def _record(self, interval: Interval | None, page: Page | None) -> IntervalRecord | None:
        if interval is None:
            return None
        return page.record(interval) if page is not None else self._records[interval]

    def _only_on(self, page: Page) -> list[Interval]:
        return [interval for interval in page.intervals if interval not in self._records]

    def _meets(self, interval: Interval, others: Sequence[Interval]) -> None:
        """Hold an interval against others, which are in order and do not overlap each other."""
        place = bisect_left(others, interval.start, key=lambda other: other.start)
        for other in others[max(0, place - 1) : place + 2]:
            if other != interval and other.start < interval.end and interval.start < other.end:
                raise LedgerError(
                    f"interval {interval} overlaps the closed interval {other}: run the same boundaries again, or "
                    "choose boundaries that meet it. Was the schedule, its time zone or the unit changed? What is "
                    f"closed keeps its boundaries: go on with the new ones from {iso(self._last_end())} on "
                    "(start_date of the topic in the settings), or give the topic a new table and ingest it all anew"
                )

    def _last_end(self) -> dt.datetime:
        return max([page.end for page in self._pages] + [interval.end for interval in self._order[-1:]])


def _last_until(intervals: Sequence[Interval], moment: dt.datetime) -> Interval | None:
    """The last of some intervals that ends at a moment or before."""
    place = bisect_left(intervals, moment, key=lambda interval: interval.start)
    return next((each for each in reversed(intervals[max(0, place - 2) : place]) if each.end <= moment), None)


def _first_from(intervals: Sequence[Interval], moment: dt.datetime) -> Interval | None:
    """The first of some intervals that starts at a moment or after."""
    place = bisect_left(intervals, moment, key=lambda interval: interval.start)
    return intervals[place] if place < len(intervals) else None


def iso(moment: dt.datetime) -> str:
    """ISO 8601 in UTC with `Z`, to the second, or finer where there is a fraction."""
    return moment.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")


def parse_moment(text: str, what: str) -> dt.datetime:
    """A moment from ISO 8601 with an offset, in UTC; `what` names it in the error.

    Raises:
        LedgerError: it is none.
    """
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise LedgerError(f"{what} {text!r} is not ISO 8601: give for instance 2017-01-01T05:00:00Z") from error
    if moment.tzinfo is None:
        raise LedgerError(f"{what} {text!r} has no UTC offset: give for instance 2017-01-01T05:00:00Z")
    return moment.astimezone(dt.UTC)
