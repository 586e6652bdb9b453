"""Where Airflow's days begin is where those of the ingest do: every time zone, around changes of its clocks."""

import datetime as dt
from collections.abc import Iterator
from itertools import pairwise
from random import Random
from zoneinfo import ZoneInfo, available_timezones

import pytest
from airflow.timetables.base import DataInterval, TimeRestriction
from airflow.timetables.interval import CronDataIntervalTimetable
from pendulum import instance

from include.jobs.ingest.days import days_of
from include.jobs.lake.ledger import Interval

#: Of each zone so many changes of its clocks, drawn from all of 1970 to 2037.
CHANGES = 4
HOUR = dt.timedelta(hours=1)


def changes(zone: ZoneInfo) -> list[dt.datetime]:
    """When its clocks are changed, to the hour."""

    def offset(moment: dt.datetime) -> dt.timedelta | None:
        return moment.astimezone(zone).utcoffset()

    months = [dt.datetime(year, month, 1, tzinfo=dt.UTC) for year in range(1970, 2038) for month in range(1, 13)]
    found = []
    for before, after in pairwise(months):
        low, high = before, after
        while offset(low) != offset(high) and high - low > HOUR:
            middle = low + (high - low) // (2 * HOUR) * HOUR
            low, high = (middle, high) if offset(middle) == offset(low) else (low, middle)
        if offset(low) != offset(high):
            found.append(high)
    return found


def daily(zone: str, around: dt.datetime) -> Iterator[Interval]:
    """The intervals of a daily schedule from three days before a moment to three days after."""
    timetable = CronDataIntervalTimetable("0 0 * * *", timezone=zone)
    reach = dt.timedelta(days=3)
    restriction = TimeRestriction(instance(around - reach), instance(around + reach), catchup=True)
    last: DataInterval | None = None
    while info := timetable.next_dagrun_info(last_automated_data_interval=last, restriction=restriction):
        last = info.data_interval
        if last is None:
            return
        yield Interval(last.start, last.end)


@pytest.mark.parametrize("part", range(8))
def test_days_begin_where_a_daily_schedule_has_them_begin(part: int) -> None:
    for name in sorted(available_timezones())[part::8]:
        moments = changes(ZoneInfo(name))
        for moment in Random(name).sample(moments, min(CHANGES, len(moments))):
            days = list(daily(name, moment))
            assert len(days) >= 4, f"{name}, {moment}"
            for day in days:
                assert days_of(day, name) == [day], f"{name}, {moment}"
            whole = Interval(days[0].start, days[-1].end)
            assert days_of(whole, name) == days, f"{name}, {moment}"
