"""Several intervals in one process: the days of a longer one, each staged, judged and published for itself.

What a process needs to start is paid once, not for each day. Every day stays a unit of its own, that can be run again
alone.
"""

import datetime as dt
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from include.jobs.lake import lineage
from include.jobs.lake.errors import JobError
from include.jobs.lake.ledger import Interval, LedgerError, iso

_TOTALS = ("read", "accepted", "quarantined", "erased", "duplicates", "given_up")


class TimeZoneError(JobError):
    """There is no such time zone."""


def days_of(interval: Interval, timezone: str) -> list[Interval]:
    """The days of an interval, each from its beginning to that of the next where the clocks show `timezone`.

    A day may have 23 or 25 hours, and a date that was left out of the calendar has none.

    Raises:
        TimeZoneError: no such time zone.
        LedgerError: the interval does not begin and end where a day does.
    """
    try:
        zone = ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise TimeZoneError(f"{timezone!r} is no IANA time zone: give for instance America/New_York") from error
    # The clocks of a boundary may show a time before midnight, or a date that ends there: look a little further.
    first, last = (moment.astimezone(zone).date() for moment in (interval.start, interval.end))
    dates = (first + dt.timedelta(days=number) for number in range(-1, (last - first).days + 3))
    begins = sorted({day_begin(date, zone) for date in dates})
    bounds = [moment for moment in begins if interval.start <= moment <= interval.end]
    if not bounds or (bounds[0], bounds[-1]) != (interval.start, interval.end):
        near = " and ".join(
            iso(min(begins, key=lambda begin: abs(begin - moment))) for moment in (interval.start, interval.end)
        )
        raise LedgerError(
            f"interval {interval} cannot be cut into days: it does not begin and end where a day does in {timezone}. "
            f"Nearest are {near}. Take a schedule whose boundaries are those, or ingest it whole"
        )
    return [Interval(start, end) for start, end in pairwise(bounds)]


def day_begin(date: dt.date, zone: dt.tzinfo) -> dt.datetime:
    """The instant at which Airflow's cron timetables begin a date: when the clocks show 00:00, which is

    the second time where they do so twice, and as long after the clocks were put forward where they never do.
    """
    midnight = dt.datetime.combine(date, dt.time(), zone)
    # Before and after such a change; otherwise there is only one.
    offsets = [offset for fold in (0, 1) if (offset := midnight.replace(fold=fold).utcoffset()) is not None]
    return (midnight.replace(tzinfo=None) - min(offsets)).replace(tzinfo=dt.UTC)


def ingest_each(intervals: Sequence[Interval], ingest: Callable[[Interval], Mapping[str, Any]]) -> dict[str, Any]:
    """Ingest intervals one after the other; their results as one, with `intervals`, their number."""
    results = [ingest(interval) for interval in intervals]
    seconds = sum(result["seconds"] for result in results)
    totals = {name: sum(result[name] for result in results) for name in _TOTALS}
    return {
        **results[-1],
        **totals,
        **{name: _summed(result[name] for result in results) for name in ("reasons", "events_per_day")},
        "seconds": round(seconds, 3),
        "rows_per_s": round(totals["read"] / seconds),
        "interval_start": results[0]["interval_start"],
        "ranges": _hull([result["ranges"] for result in results]),
        "rerun": any(result["rerun"] for result in results),
        "accepted_by_start": {result["interval_start"]: result["accepted"] for result in results},
        "intervals": len(results),
        **lineage.joined(results),
    }


def validate_each(intervals: Sequence[Interval], validate: Callable[[Interval], Mapping[str, Any]]) -> dict[str, Any]:
    """Judge intervals one after the other; their results as one. One that is refused does not hold up the others."""
    results = [validate(interval) for interval in intervals]
    return {
        **results[-1],
        "success": all(result["success"] for result in results),
        "published": all(result["published"] for result in results),
        **{name: sum(result[name] for result in results) for name in ("evaluated", "rows", "judged_rows")},
        **{
            name: [item for result in results for item in result[name]]
            for name in ("failed_expectations", "skipped_expectations")
        },
        # First the pages that somebody should look at.
        "data_docs": [
            page for result in sorted(results, key=lambda result: result["success"]) for page in result["data_docs"]
        ],
        "interval_start": results[0]["interval_start"],
        "seconds": round(sum(result["seconds"] for result in results), 3),
        "intervals": len(results),
        **lineage.joined(results),
    }


def _summed(counts: Any) -> dict[str, int]:
    total: Counter[str] = Counter()
    for one in counts:
        total.update(one)
    return dict(sorted(total.items()))


def _hull(ranges: Sequence[Mapping[str, Sequence[int]]]) -> dict[str, list[int]]:
    """From the first offset of each partition to the last."""
    hull: dict[str, list[int]] = {}
    for one in ranges:
        for number, (start, end) in one.items():
            low, high = hull.get(number, (start, end))
            hull[number] = [min(low, start), max(high, end)]
    return hull
