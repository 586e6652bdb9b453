"""A pod that does nothing: whether work gets through at all, and how long that takes."""

import datetime as dt

from airflow.sdk import DAG
from podium.dag_defaults import Tag, default_args
from podium.operators.pod import PodiumPodOperator

DOC = """
### What
Starts a pod that ends at once. When it succeeds, the scheduler, the triggerer, the Kubernetes API, the node pool
`general` and the credentials are in order; `make bench` measures it.

### When
Only by hand: first thing when something is wrong and nobody knows where.

### Backfill
There is nothing to backfill.

### When a task fails
| task | means | do |
| --- | --- | --- |
| `noop` | the platform, not a job, is at fault | read the reason in the task's last lines; `make status` (or the cluster's own monitoring) shows what is down; clear the task when it is up |
"""

with DAG(
    "check_platform",
    schedule=None,
    catchup=False,
    default_args=default_args(dt.timedelta(minutes=10)),
    tags=[Tag.MONITORING],
    doc_md=DOC,
):
    PodiumPodOperator(task_id="noop", image="ingest", arguments=["true"], do_xcom_push=False)
