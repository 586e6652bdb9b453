"""One DAG for each kind of operator, way of waiting and node pool; the run's id says which cell of the matrix it is."""

import datetime as dt
import os
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, BaseOperator
from podium.custom_resource_run import Cleanup
from podium.operators.mpi import MPIJobOperator
from podium.operators.pod import PodiumPodOperator
from podium.operators.spark import PodiumSparkOperator

FOLDER = os.environ["PODIUM_TEST_CELLS"]
COMMAND = [
    *("python", str(Path(__file__).parents[1] / "job.py")),
    *(f"{FOLDER}/{{{{ run_id }}}}", "{{ dag_run.conf['phase'] }}"),
]
# A fault may cost more than one attempt; the work must still run once.
COMMON: dict[str, Any] = {"retries": 6, "retry_delay": dt.timedelta(seconds=1), "owner": "somebody"}


def work(kind: str, deferrable: bool, pool: str) -> BaseOperator:
    common: dict[str, Any] = {"task_id": "work", "node_pool": pool, "deferrable": deferrable}
    if kind == "pod":
        return PodiumPodOperator(**common, image="ingest", arguments=COMMAND, cpu="50m", memory="64Mi")
    # The hardest policy: once the task has the result, nothing else has it.
    common["cleanup"] = Cleanup.DELETE_ON_SUCCESS
    if kind == "spark":
        return PodiumSparkOperator(
            **common,
            image="features",
            main="local:///app/main.py",
            arguments=["run", *COMMAND],
            driver_memory="512m",
            executors=0,
        )
    return MPIJobOperator(
        **common,
        image="recommender",
        command=["run", *COMMAND],
        workers=2,
        gpus_per_worker=0,
        cpu="50m",
        memory="64Mi",
    )


for kind in ("pod", "spark", "mpi"):
    for mode in ("sync", "deferred"):
        for pool in ("general", "spark"):
            with DAG(
                f"matrix_{kind}_{mode}_{pool}",
                schedule=None,
                start_date=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
                default_args=COMMON,
                max_active_runs=64,
                max_active_tasks=64,
            ):
                work(kind, mode == "deferred", pool)
