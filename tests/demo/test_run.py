import datetime as dt

import pytest

from include.demo.airflow_api import DagRun
from include.demo.run import is_since

BEGAN = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)


def run(dag_id: str, queued: int | None, start: int | None, end: int | None) -> DagRun:
    """A run; its moments are minutes after the demonstration began."""
    queued_at, started, ended = (
        None if minutes is None else BEGAN + dt.timedelta(minutes=minutes) for minutes in (queued, start, end)
    )
    return DagRun(dag_id, "r", "running", queued_at, started, ended, None)


@pytest.mark.parametrize(
    ("found", "belongs"),
    [
        (run("ingest_transactions", 1, None, None), True),
        (run("ingest_transactions", -9, 1, None), True),
        (run("ingest_transactions", -9, -8, -1), False),
        # At work when the demonstration before was interrupted: no backfill runs it again.
        (run("ingest_transactions", -9, -8, 2), True),
        (run("build_features", -9, -8, 2), False),
        (run("build_features", 3, 4, None), True),
        (run("build_features", None, None, None), True),
    ],
)
def test_a_demonstration_counts_its_own_runs_and_intervals_that_one_before_had_at_work(
    found: DagRun, belongs: bool
) -> None:
    assert is_since(found, BEGAN) is belongs
