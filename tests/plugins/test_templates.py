import datetime as dt
from types import SimpleNamespace

import pytest
from podium import templates
from podium.templates import NoIntervalError, RangeError, boundaries, interval_end, interval_start, slug


def run(start: dt.datetime | None = None) -> SimpleNamespace:
    end = None if start is None else start + dt.timedelta(days=1)
    return SimpleNamespace(dag_id="d", run_id="manual__1", data_interval_start=start, data_interval_end=end)


def test_interval_is_written_with_its_offset() -> None:
    day = dt.datetime(2017, 1, 1, 5, tzinfo=dt.UTC)
    assert interval_start(run(day)) == "2017-01-01T05:00:00+00:00"
    assert interval_end(run(day)) == "2017-01-02T05:00:00+00:00"


@pytest.mark.parametrize("macro", [interval_start, interval_end])
def test_a_run_without_an_interval_says_what_to_do(macro: object) -> None:
    with pytest.raises(NoIntervalError, match="logical date"):
        macro(run())  # type: ignore[operator]


def test_slug() -> None:
    assert slug("manual__2017-01-01T00:00:00+00:00") == "manual__2017-01-01T00-00-00-00-00"


def test_the_boundaries_of_a_backfill_are_those_of_the_runs_that_airflow_would_make() -> None:
    """Clocks change in March: a boundary moves with them."""
    months = boundaries("transactions", "2017-01-01T05:00:00Z", "2017-03-01T05:00:00Z").split(",")
    assert months == [
        "2017-01-01T05:00:00+00:00",
        "2017-02-01T05:00:00+00:00",
        "2017-03-01T05:00:00+00:00",
        "2017-04-01T04:00:00+00:00",
    ]
    days = boundaries("inventory", "2017-01-01T05:00:00Z", "2017-12-31T05:00:00Z").split(",")
    assert len(days) == 366
    assert "2017-03-13T04:00:00+00:00" in days


@pytest.mark.parametrize(
    ("name", "first", "last", "text"),
    [
        ("transactions", "2017-01-02T00:00:00Z", "2017-01-20T00:00:00Z", "No interval of ingest_transactions starts"),
        ("inventory", "2000-01-01T05:00:00Z", "2016-12-31T05:00:00Z", "No interval of ingest_inventory starts"),
        ("inventory", "2017-01-01T05:00:00Z", "2017-12-31T05:00:00Z", "More than 100 intervals of ingest_inventory"),
        ("inventory", "yesterday", "2017-01-01T05:00:00Z", "are not both times like 2017-01-01T05:00:00Z"),
    ],
)
def test_a_range_without_intervals_or_with_too_many_is_refused(
    name: str, first: str, last: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(templates, "MOST_BOUNDARIES", 100)
    with pytest.raises(RangeError, match=text):
        boundaries(name, first, last)
