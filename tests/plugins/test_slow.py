import datetime as dt
import uuid

import pytest
from podium.platform import settings
from podium.slow import is_slow, tell_of_slow, usual_s
from sqlalchemy import exists, insert, select, update
from sqlalchemy.orm import Session

from include.config.airflow import Notifications

WANTED = Notifications(slow_after_s=60, slow_factor=3, slow_after_successes=5)


def test_what_is_usual_is_not_known_of_first_runs() -> None:
    assert usual_s([6.0] * 4, WANTED) is None
    assert not is_slow(100_000, None, WANTED)


def test_one_that_was_slow_itself_does_not_make_that_usual() -> None:
    assert usual_s([6.0] * 19 + [7200.0], WANTED) == 6


@pytest.mark.parametrize(
    ("usual", "seconds", "slow"),
    [(6, 59, False), (6, 61, True), (600, 1_799, False), (600, 1_801, True)],
)
def test_slow_is_a_multiple_of_what_is_usual_and_never_less_than_the_floor(
    usual: float, seconds: float, slow: bool
) -> None:
    assert is_slow(seconds, usual, WANTED) is slow


NOW = dt.datetime(2026, 11, 30, 12, tzinfo=dt.UTC)


@pytest.fixture
def wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    own = settings()
    monkeypatch.setattr("podium.slow.settings", lambda: own.model_copy(update={"notifications": WANTED}))


def tried(
    tables: Session, run_id: str, state: str, started_s_ago: float, duration: float | None, task: str = "t"
) -> None:
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance

    if not tables.scalar(select(exists().where(DagRun.run_id == run_id))):
        run = {"dag_id": "d", "run_id": run_id, "run_type": "manual", "run_after": NOW, "state": "running"}
        tables.execute(insert(DagRun.__table__).values(**run, clear_number=0, log_template_id=1, updated_at=NOW))
    values = {
        **{"id": uuid.uuid4(), "dag_id": "d", "run_id": run_id, "task_id": task, "map_index": -1, "state": state},
        **{"try_number": 1, "max_tries": 1, "pool": "default_pool", "pool_slots": 1, "duration": duration},
        "start_date": NOW - dt.timedelta(seconds=started_s_ago),
        "end_date": None if duration is None else NOW - dt.timedelta(seconds=started_s_ago - duration),
    }
    tables.execute(insert(TaskInstance.__table__).values(**values))
    tables.commit()


@pytest.mark.usefixtures("wanted")
@pytest.mark.parametrize("state", ["running", "deferred"])
def test_a_try_that_hangs_is_told_of_once(tables: Session, state: str) -> None:
    from airflow.models.taskinstance import TaskInstance

    for number in range(5):
        tried(tables, f"r{number}", "success", 10_000, 6.0)
    # Failures say nothing of how long success takes, other tasks nothing of this one.
    tried(tables, "failed", "failed", 9_000, 7_000.0)
    tried(tables, "r0", "running", 8_000, None, task="first")
    tried(tables, "hangs", state, 300, None)
    (told,) = tell_of_slow(tables, NOW)
    assert (told.run_id, told.task_id, told.try_number) == ("hangs", "t", 1)
    assert "at work for 5 min 0 s, and usually takes 0 min 6 s at most" in told.reason
    assert tell_of_slow(tables, NOW + dt.timedelta(hours=1)) == []
    tables.execute(update(TaskInstance).where(TaskInstance.run_id == "hangs").values(try_number=2))
    assert [told.try_number for told in tell_of_slow(tables, NOW)] == [2], "each try is told of"


@pytest.mark.usefixtures("wanted")
def test_nothing_is_told_of_what_takes_its_time_or_waits_for_a_slot(tables: Session) -> None:
    for number in range(5):
        tried(tables, f"r{number}", "success", 10_000, 600.0)
    tried(tables, "usual", "running", 1_700, None)
    tried(tables, "queued", "queued", 9_000, None)
    assert tell_of_slow(tables, NOW) == []
