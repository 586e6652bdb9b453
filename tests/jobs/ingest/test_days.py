"""The days of a longer interval in one process: each is a unit of its own."""

import datetime as dt
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table.refs import MAIN_BRANCH

from include.jobs.ingest.days import TimeZoneError, days_of, ingest_each, validate_each
from include.jobs.ingest.expectations import Suite
from include.jobs.ingest.interval import Request, ingest
from include.jobs.ingest.topic import Topic
from include.jobs.ingest.validate import explain, validate
from include.jobs.lake.commits import files_of
from include.jobs.lake.ledger import Interval, LedgerError
from include.jobs.lake.pages import closed_intervals
from tests.jobs.ingest.broker import Broker, at, record
from tests.jobs.ingest.sales import CONTRACT, EVENTS, SALES
from tests.jobs.ingest.test_interval import BROKEN, places

THREE_DAYS = Interval(at(0), at(72))
UP_TO_THIRTY = Suite(
    "up to thirty", 1_000, ({"type": "expect_table_row_count_to_be_between", "kwargs": {"max_value": 30}},)
)


def ingest_days(catalog: SqlCatalog, broker: Broker, topic: str, intervals: list[Interval]) -> dict[str, Any]:
    with Topic(broker.servers, topic) as opened:
        return ingest_each(
            intervals,
            lambda one: ingest(catalog, opened, CONTRACT, Request(one, "r", dt.timedelta(0), 1.0, SALES)),
        )


def validate_days(catalog: SqlCatalog, intervals: list[Interval]) -> dict[str, Any]:
    return validate_each(intervals, lambda one: validate(catalog, SALES, one, UP_TO_THIRTY))


def test_a_month_with_a_change_of_the_clocks_is_cut_at_its_midnights() -> None:
    march = Interval.parse("2017-03-01T00:00:00-05:00", "2017-04-01T00:00:00-04:00")
    days = days_of(march, "America/New_York")
    assert len(days) == 31
    assert (days[0].start, days[-1].end) == (march.start, march.end)
    assert all(one.end == other.start for one, other in pairwise(days))
    lengths = [day.end - day.start for day in days]
    assert lengths[11] == dt.timedelta(hours=23)
    assert lengths.count(dt.timedelta(hours=24)) == 30
    assert days_of(days[11], "America/New_York") == [days[11]]


@pytest.mark.parametrize(
    ("timezone", "start", "end", "hours"),
    [
        # At midnight the clocks were put forward to one.
        ("Africa/Cairo", "2024-04-25T22:00:00Z", "2024-04-26T21:00:00Z", [23]),
        ("Africa/Cairo", "2024-04-24T22:00:00Z", "2024-04-27T21:00:00Z", [24, 23, 24]),
        ("America/Sao_Paulo", "2018-11-03T03:00:00Z", "2018-11-05T02:00:00Z", [24, 23]),
        # At one they were put back to midnight, so that they showed it twice.
        ("America/Havana", "2023-11-04T04:00:00Z", "2023-11-06T05:00:00Z", [25, 24]),
        # A minute past midnight they were put back to the evening before.
        ("America/St_Johns", "2006-10-28T02:30:00Z", "2006-10-30T03:30:00Z", [25, 24]),
        # There was no 30th of December.
        ("Pacific/Apia", "2011-12-29T10:00:00Z", "2012-01-01T10:00:00Z", [24, 24, 24]),
        ("Asia/Kathmandu", "2017-01-01T18:15:00Z", "2017-01-02T18:15:00Z", [24]),
    ],
)
def test_a_day_begins_where_the_schedule_has_it_begin(timezone: str, start: str, end: str, hours: list[int]) -> None:
    days = days_of(Interval.parse(start, end), timezone)
    assert [(day.end - day.start) / dt.timedelta(hours=1) for day in days] == hours
    assert all(days_of(day, timezone) == [day] for day in days)


def test_what_cannot_be_cut_says_so() -> None:
    with pytest.raises(LedgerError, match="does not begin and end where a day does in UTC"):
        days_of(Interval(at(0), at(25)), "UTC")
    with pytest.raises(TimeZoneError, match="'Mars/Base' is no IANA time zone"):
        days_of(Interval(at(0), at(24)), "Mars/Base")


def test_every_day_is_judged_published_and_replaced_for_itself(
    catalog: SqlCatalog, broker: Broker, topic_name: Callable[..., str]
) -> None:
    topic = topic_name(2)
    broker.send(topic, [(number % 2, number / 2, record(number / 2, number)) for number in range(144)][:48])
    broker.send(topic, [(0, 25 + number / 4, record(25, 100 + number)) for number in range(20)])
    broker.send(topic, [(1, 26, BROKEN), (0, 49, record(49, 200))])
    days = days_of(THREE_DAYS, "UTC")
    result = ingest_days(catalog, broker, topic, days)
    assert (result["read"], result["accepted"], result["quarantined"]) == (70, 69, 1)
    assert (result["intervals"], result["reasons"]) == (3, {"not_json": 1})
    assert result["ranges"] == {"0": [0, 45], "1": [0, 25]}
    assert result["events_per_day"] == {"2017-01-01": 48, "2017-01-02": 20, "2017-01-03": 1}

    verdict = validate_days(catalog, days)
    assert (verdict["success"], verdict["rows"], verdict["intervals"], len(verdict["data_docs"])) == (False, 69, 3, 3)
    assert "Refused: [2017-01-01T00:00:00Z, 2017-01-02T00:00:00Z)." in explain(verdict)
    table = catalog.load_table(EVENTS)
    ledger = closed_intervals(table)
    assert [(one.interval, one.counts.read) for one in ledger] == [(days[1], 21), (days[2], 1)]
    assert len(places(catalog)) == 21, "the day that was refused holds up no other"

    before = {day: [file.file_path for file in files_of(table, day.start, MAIN_BRANCH)] for day in days}
    ingest_days(catalog, broker, topic, days[1:2])
    assert validate_days(catalog, days[1:2])["success"]
    table = catalog.load_table(EVENTS)
    after = {day: [file.file_path for file in files_of(table, day.start, MAIN_BRANCH)] for day in days}
    assert {day for day in days if before[day] != after[day]} == {days[1]}
    assert len(places(catalog)) == 21
