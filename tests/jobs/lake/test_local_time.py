"""The shops' clock, by Python's own rules, at the moments where clocks are hard."""

import datetime as dt
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.jobs.lake.local_time import local_days, local_seconds

ZONES = (
    *("America/New_York", "America/St_Johns", "Africa/Cairo", "Asia/Kathmandu", "Pacific/Apia", "Australia/Lord_Howe"),
    *("America/Asuncion", "Atlantic/Azores", "America/Havana", "UTC"),
)
MOMENTS = st.integers(946_684_800_000_000, 4_102_444_800_000_000).map(
    lambda micros: dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=micros)
)


def column(*moments: dt.datetime) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array([moment], pa.timestamp("us", "UTC")) for moment in moments])


@pytest.mark.parametrize("zone", ZONES)
@settings(max_examples=30, deadline=None)
@given(moments=st.lists(MOMENTS, min_size=1))
def test_it_is_what_python_says(zone: str, moments: list[dt.datetime]) -> None:
    local = [moment.astimezone(ZoneInfo(zone)) for moment in moments]
    assert local_days(column(*moments), ZoneInfo(zone)).tolist() == [moment.date() for moment in local]
    clocks = [moment.replace(tzinfo=dt.UTC, microsecond=0) for moment in local]
    seconds = local_seconds(column(*moments), ZoneInfo(zone))
    assert [dt.datetime.fromtimestamp(int(one), dt.UTC) for one in seconds] == clocks


@pytest.mark.parametrize("zone", ZONES)
def test_every_minute_around_the_first_of_november(zone: str) -> None:
    start = dt.datetime(2009, 10, 31, 20, tzinfo=dt.UTC)
    moments = [start + dt.timedelta(minutes=number, seconds=59) for number in range(24 * 60)]
    expected = [moment.astimezone(ZoneInfo(zone)).date() for moment in moments]
    assert local_days(column(*moments), ZoneInfo(zone)).tolist() == expected


def test_a_column_without_rows_has_no_days() -> None:
    assert local_days(pa.chunked_array([], pa.timestamp("us", "UTC")), ZoneInfo("UTC")).dtype == np.dtype(
        "datetime64[D]"
    )
