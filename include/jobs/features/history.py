"""What the lake's events cover, from the interval ledger: which cutoffs have their past, which their label month."""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from include.jobs.lake.errors import JobError
from include.jobs.lake.ledger import Interval, Ledger


class HistoryError(JobError):
    """The closed intervals do not cover what was asked for."""


@dataclass(frozen=True, slots=True)
class Cutoff:
    """A cutoff: features see days strictly before `day`, the label is the month from `day` to before `label_end`.

    `labelled` says whether that month is complete in the lake.
    """

    day: dt.date
    label_end: dt.date
    labelled: bool


def judge_cutoffs(days: Iterable[dt.date], ledger: Ledger, zone: ZoneInfo) -> list[Cutoff]:
    """Hold cutoffs against the ledger.

    Raises:
        HistoryError: a cutoff is no first day of a month, or closed intervals do not reach it without a gap.
    """
    covered = _covered(ledger)
    cutoffs = []
    for day in sorted(set(days)):
        if day.day != 1:
            raise HistoryError(f"cutoff {day} is not the first day of a month: the label is a whole month")
        if midnight(day, zone) > covered.end or midnight(day, zone) <= covered.start:
            raise HistoryError(
                f"cutoff {day} needs closed intervals up to that day, but those of sales.transactions cover {covered} "
                "without a gap: ingest (or backfill) the missing intervals first, or choose other cutoffs"
            )
        label_end = next_month(day)
        cutoffs.append(Cutoff(day, label_end, midnight(label_end, zone) <= covered.end))
    if not cutoffs:
        raise HistoryError("no cutoff was given: pass --cutoffs 2017-12-01[,…]")
    return cutoffs


def complete_months(ledger: Ledger, zone: ZoneInfo) -> list[dt.date]:
    """First days of the local months that closed intervals cover from first to last moment.

    The first month counts although its beginning may lie before the first interval when that starts within it.
    """
    covered = _covered(ledger)
    month = covered.start.astimezone(zone).date().replace(day=1)
    months = []
    while midnight(next_month(month), zone) <= covered.end:
        months.append(month)
        month = next_month(month)
    return months


def next_month(day: dt.date) -> dt.date:
    """The first day of the month after."""
    return (day.replace(day=1) + dt.timedelta(days=32)).replace(day=1)


def _covered(ledger: Ledger) -> Interval:
    """The stretch of time from the first closed interval to the first gap."""
    intervals = ledger.intervals()
    first = next(intervals, None)
    if first is None:
        raise HistoryError("no interval of sales.transactions is closed: ingest some first")
    end = first.end
    for interval in intervals:
        if interval.start > end:
            break
        end = interval.end
    return Interval(first.start, end)


def midnight(day: dt.date, zone: ZoneInfo) -> dt.datetime:
    """The beginning of a local day, in UTC."""
    return dt.datetime.combine(day, dt.time(), zone).astimezone(dt.UTC)
