"""A DAG that an announced batch starts, whose task tells which interval it is about; and one that runs day by day."""

import datetime as dt
from typing import Any

from airflow.sdk import DAG, BaseOperator, Context, PartitionedAssetTimetable
from podium.assets import events_of, partitions_of
from podium.operators.announce import AnnounceIntervalOperator
from podium.platform import settings
from podium.templates import interval_end, interval_start
from podium.timetables import each_interval

TABLE = "test.announced"
ARGUMENTS: dict[str, Any] = {"retries": 1, "retry_delay": dt.timedelta(0), "owner": "somebody"}


class TellInterval(BaseOperator):
    """Returns the run's interval."""

    def execute(self, context: Context) -> Any:
        return {"start": interval_start(context["dag_run"]), "end": interval_end(context["dag_run"])}


class TellPartition(BaseOperator):
    """Returns the run's partition."""

    def execute(self, context: Context) -> Any:
        return context["dag_run"].partition_key


with DAG(
    "announced",
    # By cron never: only an announcement starts it.
    schedule=each_interval(
        settings().ingest.transactions.model_copy(update={"schedule": "0 0 1 1 *", "batches": "shop.batches"})
    ),
    start_date=dt.datetime(2100, 1, 1, tzinfo=dt.UTC),
    catchup=False,
    default_args=ARGUMENTS,
):
    TellInterval(task_id="work") >> AnnounceIntervalOperator(
        task_id="announce", asset=events_of(TABLE), counted_by="work", partitions="day"
    )

with DAG(
    "daily", schedule=PartitionedAssetTimetable(assets=partitions_of(TABLE)), catchup=False, default_args=ARGUMENTS
):
    TellPartition(task_id="work")
