"""One DAG for each kind of operator, way of waiting and node pool; the run's id says which cell of the matrix it is."""

import datetime as dt
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, BaseOperator
from podium.custom_resource_run import Cleanup
from podium.experiments import Choice, Objective
from podium.operators.argo import ArgoWorkflowOperator
from podium.operators.katib import KatibExperimentOperator
from podium.operators.mpi import MPIJobOperator
from podium.operators.pod import PodiumPodOperator
from podium.operators.spark import PodiumSparkOperator
from podium.operators.train_job import TrainJobOperator

FOLDER = os.environ["PODIUM_TEST_CELLS"]
COMMAND = [
    *("python", str(Path(__file__).parents[1] / "job.py")),
    *(f"{FOLDER}/{{{{ run_id }}}}", "{{ dag_run.conf['phase'] }}"),
]
# A fault may cost more than one attempt; the work must still run once.
COMMON: dict[str, Any] = {"retries": 6, "retry_delay": dt.timedelta(seconds=1), "owner": "somebody"}
# The hardest policy: once the task has the result, nothing else has it.
CLEANUP = Cleanup.DELETE_ON_SUCCESS


SMALL: dict[str, Any] = {"cpu": "50m", "memory": "64Mi"}


def pod(**common: Any) -> BaseOperator:
    return PodiumPodOperator(**common, **SMALL, image="ingest", arguments=COMMAND)


def spark(**common: Any) -> BaseOperator:
    return PodiumSparkOperator(
        **common,
        cleanup=CLEANUP,
        image="features",
        main="local:///app/main.py",
        arguments=["run", *COMMAND],
        driver_memory="512m",
    )


def mpi(**common: Any) -> BaseOperator:
    return MPIJobOperator(
        **common,
        **SMALL,
        cleanup=CLEANUP,
        image="recommender",
        command=["run", *COMMAND],
        workers=2,
        gpus_per_worker=0,
    )


def train(**common: Any) -> BaseOperator:
    return TrainJobOperator(
        **common,
        **SMALL,
        cleanup=CLEANUP,
        runtime="torch-distributed",
        image="recommender",
        command=COMMAND,
        nodes=1,
        gpus_per_node=0,
    )


def katib(**common: Any) -> BaseOperator:
    return KatibExperimentOperator(
        **common,
        **SMALL,
        cleanup=CLEANUP,
        image="recommender",
        command=COMMAND,
        parameters=[Choice(name="learning_rate", values=("0.1",))],
        objective=Objective(metric="lines", further_metrics=("ran",)),
        max_trials=1,
    )


def argo(node_pool: str, **common: Any) -> BaseOperator:
    return ArgoWorkflowOperator(
        **common,
        cleanup=CLEANUP,
        template="count",
        parameters={"folder": COMMAND[-2], "phase": COMMAND[-1], "pool": node_pool},
    )


KINDS: dict[str, Callable[..., BaseOperator]] = {
    "pod": pod,
    "spark": spark,
    "mpi": mpi,
    "train": train,
    "katib": katib,
    "argo": argo,
}

for kind, make in KINDS.items():
    for mode in ("sync", "deferred"):
        for node_pool in ("general", "spark"):
            with DAG(
                f"matrix_{kind}_{mode}_{node_pool}",
                schedule=None,
                start_date=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
                default_args=COMMON,
                max_active_runs=64,
                max_active_tasks=64,
            ):
                make(task_id="work", node_pool=node_pool, deferrable=mode == "deferred")
