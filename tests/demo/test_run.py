import datetime as dt

import pytest

from include.demo.airflow_api import DagRun
from include.demo.run import PIPELINE, own_runs

BEGAN = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)


def run(dag_id: str, queued: int | None, start: int | None, end: int | None) -> DagRun:
    """A run; its moments are minutes after the demonstration began."""
    queued_at, started, ended = (
        None if minutes is None else BEGAN + dt.timedelta(minutes=minutes) for minutes in (queued, start, end)
    )
    return DagRun(dag_id, "r", "running", queued_at, started, ended, None)


def own(*found: DagRun) -> list[DagRun]:
    """Those that count."""
    runs = {dag_id: [item for item in found if item.dag_id == dag_id] for dag_id in PIPELINE}
    return [item for counted in own_runs(runs, BEGAN).values() for item in counted]


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
    assert own(found) == [found] * belongs


def test_what_an_interrupted_demonstration_started_does_not_count() -> None:
    first, last = run("ingest_transactions", 0, 1, 2), run("ingest_transactions", 0, 3, 5)
    left = [run("build_features", 1, 2, 4), run("train_recommender", 4, 4, 5), run("rollout_recommender", 5, 5, 6)]
    assert own(first, last, *left[:1]) == [first, last]
    features, training = run("build_features", 5, 6, 8), run("train_recommender", 8, 8, 9)
    assert own(first, last, *left, features, training) == [first, last, features, training]
