"""Tasks for tests with a real Airflow; only Spark and Horovod themselves are stood in for."""

import datetime as dt
from typing import Any

from airflow.sdk import DAG
from podium.operators.mpi import MPIJobOperator
from podium.operators.pod import PodiumPodOperator
from podium.operators.spark import PodiumSparkOperator

COMMON: dict[str, Any] = {"retries": 1, "retry_delay": dt.timedelta(seconds=1), "owner": "somebody"}
# Those that run out of time, after so many seconds, are not tried again.
BRIEF: dict[str, Any] = {"execution_timeout": dt.timedelta(seconds=30), "retries": 0}
SLEEP = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('asleep', flush=True); time.sleep(600)"
)
SLEEPS = ["python", "-c", SLEEP]


def dag(dag_id: str) -> DAG:
    return DAG(dag_id, schedule=None, start_date=dt.datetime(2026, 1, 1, tzinfo=dt.UTC), default_args=COMMON)


def gang(task_id: str, does: str) -> MPIJobOperator:
    return MPIJobOperator(
        task_id=task_id,
        image="recommender",
        command=["train", does],
        workers=2,
        gpus_per_worker=3,
        node_pool="gpu-a100",
        cpu="1",
        memory="512Mi",
    )


def sleeping_pod(**common: Any) -> None:
    PodiumPodOperator(**common, image="ingest", arguments=SLEEPS, node_pool="gpu-a100", gpus=1, do_xcom_push=False)


def sleeping_spark(**common: Any) -> None:
    PodiumSparkOperator(**common, image="features", main="local:///app/main.py", arguments=["run", *SLEEPS])


def sleeping_mpi(**common: Any) -> None:
    MPIJobOperator(
        **common,
        image="recommender",
        command=["run", *SLEEPS],
        workers=2,
        gpus_per_worker=1,
        node_pool="gpu-a100",
        cpu="1",
        memory="512Mi",
    )


with dag("too_many_gpus"):
    # Six each, of the pool's eight.
    gang("first", "slow"), gang("second", "slow")

for mode in ("deferred", "sync"):
    for kind, sleep in {"pod": sleeping_pod, "spark": sleeping_spark, "mpi": sleeping_mpi}.items():
        for length, further in {"sleeps": {}, "naps": BRIEF}.items():
            with dag(f"{length}_{kind}_{mode}"):
                sleep(task_id="work", deferrable=mode == "deferred", **further)
    with dag(f"works_{mode}"):
        PodiumPodOperator(
            task_id="work",
            image="ingest",
            arguments=[
                "python",
                "-c",
                "import time\nfor n in range(60): print(f'line {n}.', flush=True); time.sleep(0.25)\n"
                "import json, os\n"
                "table = {'kind': 'table', 'name': 't', 'snapshot_id': '42', 'rows': 3}\n"
                "result = {'ran': 1, 'datasets': {'inputs': [], 'outputs': [table]}}\n"
                "json.dump(result, open(os.environ['PODIUM_XCOM_PATH'], 'w'))",
            ],
            node_pool="gpu-a100",
            gpus=1,
            deferrable=mode == "deferred",
        )
