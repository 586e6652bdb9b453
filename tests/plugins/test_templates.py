import datetime as dt
from types import SimpleNamespace

import pytest
from podium.templates import NoIntervalError, interval_end, interval_start, slug


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
