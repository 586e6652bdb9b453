"""The ledger of closed intervals: which offsets each took, and how many records.

It lives in the properties of the events table, one property an interval, because those are written in the same
commit as the rows and outlive snapshot expiry. An interval that is staged, which nobody sees until it has been judged,
has a property of its own until it is published. Pure data: no lake, no Kafka.
"""

import datetime as dt
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

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
    """Records of an interval: read = accepted + quarantined + erased (those of households that were erased)."""

    read: int
    accepted: int
    quarantined: int
    erased: int = 0

    def __post_init__(self) -> None:
        if self.read != self.accepted + self.quarantined + self.erased:
            raise LedgerError(
                f"counts do not add up: read {self.read}, accepted {self.accepted} + quarantined {self.quarantined} "
                f"+ erased {self.erased}"
            )

    @property
    def kept(self) -> int:
        """Those of them that are in a table."""
        return self.accepted + self.quarantined


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
                counts=Counts(value["read"], value["accepted"], value["quarantined"], value.get("erased", 0)),
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


class Ledger:
    """All intervals of one state, closed ones or staged ones, in order of time."""

    def __init__(self, records: Mapping[Interval, IntervalRecord]) -> None:
        self._records = dict(sorted(records.items()))

    @classmethod
    def from_properties(cls, properties: Mapping[str, str]) -> Self:
        """The closed intervals, from a table's properties."""
        return cls(_records(properties, PREFIX))

    @classmethod
    def of_staged(cls, properties: Mapping[str, str]) -> Self:
        """The staged intervals, from a table's properties."""
        return cls(_records(properties, STAGED_PREFIX))

    @classmethod
    def of_taken(cls, properties: Mapping[str, str]) -> Self:
        """Closed and staged ones together: the offsets that are spoken for.

        A closed interval that is staged again has the same ranges in both states.
        """
        return cls(_records(properties, PREFIX) | _records(properties, STAGED_PREFIX))

    def __iter__(self) -> Iterator[IntervalRecord]:
        return iter(self._records.values())

    def __len__(self) -> int:
        return len(self._records)

    def get(self, interval: Interval) -> IntervalRecord | None:
        """The record of exactly this interval.

        Raises:
            LedgerError: a recorded interval overlaps it without being equal.
        """
        for other in self._records:
            if other != interval and other.start < interval.end and interval.start < other.end:
                raise LedgerError(
                    f"interval {interval} overlaps the closed interval {other}: run the same boundaries again, or "
                    "choose boundaries that meet it. Was the schedule, its time zone or the unit changed? What is "
                    f"closed keeps its boundaries: go on with the new ones from {iso(self._last_end())} on "
                    "(start_date of the topic in the settings), or give the topic a new table and ingest it all anew"
                )
        return self._records.get(interval)

    def _last_end(self) -> dt.datetime:
        return max(interval.end for interval in self._records)

    def with_record(self, record: IntervalRecord) -> "Ledger":
        """The ledger with a further record."""
        return Ledger({**self._records, record.interval: record})

    def before(self, interval: Interval) -> IntervalRecord | None:
        """The nearest closed interval that ends at or before this one's start."""
        found = [record for other, record in self._records.items() if other.end <= interval.start]
        return found[-1] if found else None

    def after(self, interval: Interval) -> IntervalRecord | None:
        """The nearest closed interval that starts at or after this one's end."""
        return next((record for other, record in self._records.items() if other.start >= interval.end), None)


def _records(properties: Mapping[str, str], prefix: str) -> dict[Interval, IntervalRecord]:
    records = (IntervalRecord.from_property(k, v) for k, v in properties.items() if k.startswith(prefix))
    return {record.interval: record for record in records}


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
