"""The ledger: what goes in comes out, and what does not fit together is refused."""

import datetime as dt
import json
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from include.jobs.lake.ledger import PREFIX, Counts, Interval, IntervalRecord, Ledger, LedgerError, OffsetRange, iso
from include.jobs.lake.pages import closed_intervals, staged_intervals, taken_intervals

moments = st.integers(0, 3_000_000_000_000_000).map(
    lambda us: dt.datetime.fromtimestamp(0, dt.UTC) + dt.timedelta(microseconds=us)
)
intervals = st.tuples(moments, st.timedeltas(dt.timedelta(microseconds=1), dt.timedelta(days=400))).map(
    lambda pair: Interval(pair[0], pair[0] + pair[1])
)
spans = st.tuples(st.integers(0, 2**40), st.integers(0, 2**40)).map(lambda pair: OffsetRange(pair[0], sum(pair)))
records = st.builds(
    lambda interval, ranges, accepted, quarantined, moment, mended: IntervalRecord(
        interval, "events", "id", ranges, Counts(accepted + quarantined, accepted, quarantined), "run", moment, mended
    ),
    intervals,
    st.dictionaries(st.integers(0, 50), spans),
    st.integers(0, 10**9),
    st.integers(0, 10**9),
    moments,
    st.dictionaries(st.integers(0, 50), st.lists(st.integers(0, 2**40), min_size=1).map(tuple)),
)


def day(number: int) -> dt.datetime:
    return dt.datetime(2017, 1, number, tzinfo=dt.UTC)


def table(*properties: tuple[str, str]) -> Any:
    """A table that has no pages yet, as far as the ledger looks at it."""
    return SimpleNamespace(properties=dict(properties), io=None)


def closed(*records: IntervalRecord) -> Ledger:
    return closed_intervals(table(*((one.key, one.to_json()) for one in records)))


def record(first: int, last: int) -> IntervalRecord:
    return IntervalRecord(Interval(day(first), day(last)), "events", "id", {}, Counts(0, 0, 0), "run", day(1))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(records)
def test_a_record_survives_the_table_properties(one: IntervalRecord) -> None:
    ledger = closed_intervals(table((one.key, one.to_json()), ("write.format.default", "parquet")))
    assert list(ledger) == [one]
    assert ledger.get(one.interval) == one
    both = table((one.staged_key, one.to_json()), (one.key, one.to_json()))
    assert list(staged_intervals(both)) == list(taken_intervals(both)) == [one]


def test_neighbours_are_the_nearest() -> None:
    ledger = closed(record(9, 12), record(1, 2), record(3, 5))
    wanted = Interval(day(5), day(9))
    before, after = ledger.before(wanted), ledger.after(wanted)
    assert before is not None
    assert after is not None
    assert (before.interval, after.interval) == (record(3, 5).interval, record(9, 12).interval)
    assert ledger.before(record(1, 2).interval) is None
    assert ledger.after(record(9, 12).interval) is None
    assert ledger.get(wanted) is None


@pytest.mark.parametrize(("first", "last"), [(1, 4), (4, 6), (2, 10), (3, 4)])
def test_an_overlap_is_refused(first: int, last: int) -> None:
    ledger = closed(record(3, 5))
    with pytest.raises(
        LedgerError, match=r"overlaps the closed interval \[2017-01-03T00:00:00Z, 2017-01-05T00:00:00Z\)"
    ):
        ledger.get(Interval(day(first), day(last)))


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"end": "yesterday"}', json.dumps(json.loads(record(3, 5).to_json()) | {"read": 5})],
)
def test_a_damaged_property_is_named(text: str) -> None:
    key = PREFIX + iso(day(3))
    with pytest.raises(LedgerError, match=r"podium.interval.2017-01-03T00:00:00Z is damaged"):
        closed_intervals(table((key, text)))


@pytest.mark.parametrize(
    ("start", "end", "why"),
    [
        ("2017-01-01", "2017-01-02T00:00:00Z", "has no UTC offset"),
        ("2017-01-01T00:00:00Z", "soon", "is not ISO 8601"),
        ("2017-01-02T00:00:00Z", "2017-01-02T00:00:00Z", "must lie before its end"),
        ("2017-01-02T00:00:00Z", "2017-01-02T00:00:00+05:00", "must lie before its end"),
    ],
)
def test_bounds_that_are_none_are_refused(start: str, end: str, why: str) -> None:
    with pytest.raises(LedgerError, match=why):
        Interval.parse(start, end)


def test_local_bounds_are_utc_inside() -> None:
    interval = Interval.parse("2017-01-01T00:00:00-05:00", "2017-02-01T00:00:00-05:00")
    assert str(interval) == "[2017-01-01T05:00:00Z, 2017-02-01T05:00:00Z)"


def test_counts_must_add_up() -> None:
    with pytest.raises(LedgerError, match="do not add up: read 3"):
        Counts(3, 1, 1)
    with pytest.raises(LedgerError, match="offset range"):
        OffsetRange(3, 2)
