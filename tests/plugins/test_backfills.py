"""Which runs of a backfill are announced, when, and as what: on tables of Airflow's own database."""

import datetime as dt
import uuid
from dataclasses import dataclass
from typing import Any

import pytest
from podium.announcements import KEPT, Announcement
from podium.assets import SALES, partitions_of
from podium.backfills import announce_ended
from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

BEGAN = dt.datetime(2026, 11, 30, 12, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)


@dataclass
class Database:
    """Rows as Airflow writes them."""

    session: Session

    def backfill(self, number: int, completed_at: dt.datetime | None = None) -> None:
        from airflow.models.backfill import Backfill

        self._add(
            Backfill,
            id=number,
            dag_id="ingest",
            from_date=BEGAN,
            to_date=BEGAN,
            dag_run_conf={},
            is_paused=False,
            reprocess_behavior="completed",
            max_active_runs=1,
            created_at=BEGAN,
            completed_at=completed_at,
            updated_at=BEGAN,
        )

    def run(
        self, day: int, state: str, backfill: int | None, *, kept: bool, queued_at: dt.datetime = BEGAN, rows: int = 10
    ) -> None:
        """A run about a day of January; its announcing task has kept what it has to announce, or not."""
        from airflow.models.dagrun import DagRun
        from airflow.models.taskinstance import TaskInstance
        from airflow.models.xcom import XComModel

        start = dt.datetime(2026, 1, day, tzinfo=dt.UTC)
        end, run_id = start + dt.timedelta(days=1), f"scheduled__{day}"
        self._add(
            DagRun,
            id=day,
            dag_id="ingest",
            run_id=run_id,
            run_type="backfill",
            run_after=end,
            logical_date=start,
            data_interval_start=start,
            data_interval_end=end,
            state=state,
            queued_at=queued_at,
            backfill_id=backfill,
            clear_number=0,
            log_template_id=1,
            updated_at=BEGAN,
        )
        task = {"dag_id": "ingest", "run_id": run_id, "task_id": "announce", "map_index": -1}
        self._add(
            TaskInstance,
            id=uuid.uuid4(),
            **task,
            try_number=1,
            max_tries=0,
            state="skipped" if kept else state,
            pool="default_pool",
            pool_slots=1,
            last_heartbeat_at=None,
        )
        if kept:
            other = partitions_of(SALES.name)
            announcement = Announcement(
                SALES, {start.isoformat(): [end.isoformat(), rows]}, other, [f"2026-01-{day:02}"]
            )
            self._add(XComModel, dag_run_id=day, key=KEPT, value=announcement.to_json(), timestamp=BEGAN, **task)

    def end(self, day: int, state: str) -> None:
        from airflow.models.dagrun import DagRun

        self.session.execute(update(DagRun).where(DagRun.id == day).values(state=state))
        self.session.commit()

    def announce(self) -> list[dict[str, Any]]:
        """Look once; the events of the asset so far."""
        from airflow.models.asset import AssetEvent, AssetModel

        announce_ended(self.session)
        of_sales = select(AssetEvent).join(AssetModel, AssetModel.id == AssetEvent.asset_id)
        events = self.session.scalars(of_sales.where(AssetModel.name == SALES.name).order_by(AssetEvent.id))
        return [event.extra for event in events]

    def partitions(self) -> list[str | None]:
        from airflow.models.asset import AssetEvent

        keys = select(AssetEvent.partition_key).where(AssetEvent.partition_key.is_not(None))
        return sorted(self.session.scalars(keys))

    def _add(self, model: Any, **values: Any) -> None:
        self.session.execute(insert(model.__table__).values(**values))
        self.session.commit()


@pytest.fixture
def database(tables: Session) -> Database:
    """Airflow's tables, with the assets."""
    from airflow.models.asset import AssetModel

    for asset in (SALES, partitions_of(SALES.name)):
        tables.add(AssetModel(name=asset.name, uri=asset.uri, group="lake"))
    tables.commit()
    return Database(tables)


def days(event: dict[str, Any]) -> list[int]:
    return [int(start[8:10]) for start in event["intervals"]]


def failed(event: dict[str, Any]) -> list[int]:
    return [int(start[8:10]) for start in event["failed"]]


def test_nothing_is_announced_while_a_run_of_the_backfill_is_to_come(database: Database) -> None:
    database.backfill(1)
    database.run(1, "success", 1, kept=True)
    database.run(2, "queued", 1, kept=False)
    assert database.announce() == []
    database.end(2, "running")
    assert database.announce() == []


@pytest.mark.parametrize("last", ["success", "failed"])
def test_the_end_of_a_backfill_is_one_event_however_its_last_run_ends(database: Database, last: str) -> None:
    database.backfill(1)
    database.run(1, "success", 1, kept=True)
    database.run(3, "success", 1, kept=True)
    database.run(2, last, 1, kept=last == "success")
    (event,) = database.announce()
    assert (days(event), failed(event)) == (([1, 2, 3], []) if last == "success" else ([1, 3], [2]))
    assert (event["backfill"], event["rows"]) == (True, 10 * len(days(event)))
    assert event["latest"]["start"][:10] == "2026-01-03"
    assert database.partitions() == [f"2026-01-{day:02}" for day in days(event)]
    assert len(database.announce()) == 1, "it is announced once"


def test_a_backfill_that_published_nothing_announces_nothing(database: Database) -> None:
    database.backfill(1)
    database.run(1, "failed", 1, kept=False)
    assert database.announce() == []


def test_backfills_of_one_dag_are_told_apart(database: Database) -> None:
    """One was cancelled while a run of it was at work, which the next one leaves alone."""
    database.backfill(1, completed_at=BEGAN + HOUR)
    database.backfill(2)
    database.run(1, "running", 1, kept=False)
    database.run(2, "success", 2, kept=True)
    database.run(3, "failed", 1, kept=False)
    (second,) = database.announce()
    assert (days(second), failed(second)) == ([2], [])


def test_a_run_at_work_when_its_backfill_was_cancelled_is_still_of_it(database: Database) -> None:
    database.backfill(1, completed_at=BEGAN + HOUR)
    database.run(1, "success", 1, kept=True)
    database.run(2, "failed", 1, kept=False)
    (event,) = database.announce()
    assert (event["backfill"], days(event), failed(event)) == (True, [1], [2])


def test_runs_that_are_cleared_long_after_are_no_backfill_and_are_announced_together(database: Database) -> None:
    database.backfill(1, completed_at=BEGAN + HOUR)
    later = BEGAN + 500 * HOUR
    database.run(1, "success", 1, kept=True, queued_at=later)
    database.run(2, "running", 1, kept=False, queued_at=later)
    database.run(3, "failed", 1, kept=False)
    assert database.announce() == []
    database.end(2, "success")
    (event,) = database.announce()
    assert (event["backfill"], days(event), "failed" in event) == (False, [1], False)


def test_a_run_whose_backfill_is_no_longer_known_is_announced_for_itself(database: Database) -> None:
    database.run(1, "success", None, kept=True)
    database.run(2, "running", None, kept=True)
    (event,) = database.announce()
    assert (event["backfill"], days(event)) == (False, [1])
