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
from include.jobs.lake.ledger import Interval, LedgerError


class TimeZoneError(JobError):
    """There is no such time zone."""


def days_of(interval: Interval, timezone: str) -> list[Interval]:
    """The days of an interval, from midnight to midnight where the clocks show `timezone`.

    Raises:
        TimeZoneError: no such time zone.
        LedgerError: the interval does not begin and end at midnight there.
    """
    try:
        zone = ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise TimeZoneError(f"{timezone!r} is no IANA time zone: give for instance America/New_York") from error
    first, last = (moment.astimezone(zone) for moment in (interval.start, interval.end))
    if {first.time(), last.time()} != {dt.time()}:
        raise LedgerError(
            f"interval {interval} cannot be cut into days: it does not begin and end at midnight in {timezone}. Take a "
            "schedule whose boundaries do, or ingest it whole"
        )
    dates = [first.date() + dt.timedelta(days=number) for number in range((last.date() - first.date()).days + 1)]
    # A day may have 23 or 25 hours: midnight is found anew for each date.
    bounds = [dt.datetime.combine(date, dt.time(), zone).astimezone(dt.UTC) for date in dates]
    return [Interval(start, end) for start, end in pairwise(bounds)]


def ingest_each(intervals: Sequence[Interval], ingest: Callable[[Interval], Mapping[str, Any]]) -> dict[str, Any]:
    """Ingest intervals one after the other; their results as one, with `intervals`, their number."""
    results = [ingest(interval) for interval in intervals]
    seconds = sum(result["seconds"] for result in results)
    totals = {name: sum(result[name] for result in results) for name in ("read", "accepted", "quarantined", "erased")}
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
