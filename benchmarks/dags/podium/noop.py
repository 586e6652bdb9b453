"""What the overhead benchmark runs on Podium's settings: the operator of every pipeline, as the pipelines use it."""

import datetime as dt
import os

from airflow.sdk import DAG, task
from podium.operators.pod import PodiumPodOperator

START = dt.datetime(2017, 1, 1, tzinfo=dt.UTC)

for dag_id, command, deferrable in (
    ("noop_sync", ["true"], False),
    ("noop_deferred", ["true"], True),
    ("waits_deferred", ["sleep", os.environ["BENCH_WAIT_S"]], True),
):
    with DAG(dag_id, schedule=None, start_date=START):
        PodiumPodOperator(task_id="work", image="ingest", arguments=command, deferrable=deferrable, do_xcom_push=False)

with DAG("no_pod", schedule=None, start_date=START):

    @task
    def work() -> None:
        """What Airflow alone takes."""

    work()
