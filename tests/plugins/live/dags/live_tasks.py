"""Tasks for tests with a real Airflow; only Spark and Horovod themselves are stood in for."""

import datetime as dt
from typing import Any

from airflow.sdk import DAG
from podium.operators.mpi import MPIJobOperator
from podium.operators.pod import PodiumPodOperator

COMMON: dict[str, Any] = {"retries": 1, "retry_delay": dt.timedelta(seconds=1), "owner": "somebody"}
SLEEP = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('asleep', flush=True); time.sleep(600)"
)


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


with dag("too_many_gpus"):
    # Six each, of the pool's eight.
    gang("first", "slow"), gang("second", "slow")

for mode in ("deferred", "sync"):
    with dag(f"sleeps_{mode}"):
        PodiumPodOperator(
            task_id="work",
            image="ingest",
            arguments=["python", "-c", SLEEP],
            node_pool="gpu-a100",
            gpus=1,
            deferrable=mode == "deferred",
            do_xcom_push=False,
        )
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
