"""Runs that announce their intervals, what an announcement starts, and DAGs whose dates are over or to come.

`PODIUM_TEST_ORDERS` is a folder: a run whose interval starts on a day waits while there is `<DAG>-<day>.wait`, and
fails while there is `<DAG>-<day>.fail`.
"""

import datetime as dt
import os
import time
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Asset, BaseOperator, Context
from airflow.sdk.exceptions import AirflowFailException
from podium.assets import events_of
from podium.interval_timetable import IntervalTimetable
from podium.operators.announce import AnnounceChangeOperator, AnnounceIntervalOperator
from podium.templates import interval_end, interval_start
from podium.timetables import after

ORDERS = Path(os.environ["PODIUM_TEST_ORDERS"])
DAGS = ("again", "failing", "cancelled", "paused_backfill", "backwards", "skipped")
# A machine that is busy with other tests may fail a task before it has begun.
ARGUMENTS: dict[str, Any] = {"retries": 3, "retry_delay": dt.timedelta(seconds=1), "owner": "somebody"}
JANUARY = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
PULSE = Asset(name="test.pulse", uri="x-test://pulse")
VIEW = Asset(name="test.view", uri="x-test://view")


class Obey(BaseOperator):
    """Does as it is ordered, then returns its interval."""

    def execute(self, context: Context) -> Any:
        start = interval_start(context["dag_run"])
        order = ORDERS / f"{self.dag_id}-{start[:10]}"
        (order.with_suffix(".begun")).touch()
        while order.with_suffix(".wait").exists():
            time.sleep(0.2)  # An order is a file, which announces nothing.
        if order.with_suffix(".fail").exists():
            raise AirflowFailException("it was ordered to fail")
        return {"start": start, "end": interval_end(context["dag_run"]), "accepted": 10}


class Nap(BaseOperator):
    """Hangs while it is ordered to."""

    def execute(self, context: Context) -> None:
        while (ORDERS / "nap.wait").exists():
            time.sleep(0.2)


class Consumed(BaseOperator):
    """Returns what the events say that started the run."""

    def execute(self, context: Context) -> Any:
        return [event.extra for event in context["dag_run"].consumed_asset_events]


class Publish(BaseOperator):
    """Publishes the view that the run names; fails once it has while it is ordered to."""

    def execute(self, context: Context) -> Any:
        (ORDERS / "published").write_text(context["dag_run"].conf["view"])
        if (ORDERS / "publish.fail").exists():
            raise AirflowFailException("it was ordered to fail")
        return {"view": (ORDERS / "published").read_text()}


class Beat(BaseOperator):
    """Emits an event that says which run it comes from."""

    def execute(self, context: Context) -> None:
        context["outlet_events"][PULSE].extra = {"run": context["run_id"]}


def announcing(dag_id: str, timetable: IntervalTimetable, *, catchup: bool = False) -> None:
    # Airflow catches up from a date of the DAG only.
    start = JANUARY if catchup else None
    with DAG(dag_id, schedule=timetable, start_date=start, catchup=catchup, max_active_runs=4, default_args=ARGUMENTS):
        Obey(task_id="work") >> AnnounceIntervalOperator(
            task_id="announce", asset=events_of(f"test.{dag_id}"), counted_by="work"
        )


for name in DAGS:
    # The schedule makes the four days of one of them: the usual case of a backfill is to run them again.
    last = JANUARY + dt.timedelta(days=3)
    announcing(name, IntervalTimetable("0 0 * * *", "UTC", JANUARY, last), catchup=name in ("again", "skipped"))
    with DAG(f"after_{name}", schedule=after(events_of(f"test.{name}"), None), catchup=False, default_args=ARGUMENTS):
        Consumed(task_id="work")

announcing("over", IntervalTimetable("0 0 1 * *", "America/New_York", JANUARY, JANUARY + dt.timedelta(days=59)))
announcing("to_come", IntervalTimetable("0 0 * * *", "UTC", dt.datetime(2126, 1, 1, tzinfo=dt.UTC)))

with DAG("naps", schedule=None, catchup=False, default_args=ARGUMENTS):
    Nap(task_id="work")

with DAG("beats", schedule=None, catchup=False, default_args=ARGUMENTS):
    Beat(task_id="work", outlets=[PULSE])

with DAG("hears", schedule=after(PULSE, None), catchup=False, max_active_runs=1, default_args=ARGUMENTS):
    Consumed(task_id="work")

with DAG("publishes", schedule=None, catchup=False, default_args=ARGUMENTS):
    publish = Publish(task_id="work")
    publish >> AnnounceChangeOperator(task_id="announce", asset=VIEW, result=publish.output)

with DAG("after_publishes", schedule=VIEW, catchup=False, default_args=ARGUMENTS):
    Consumed(task_id="work")
