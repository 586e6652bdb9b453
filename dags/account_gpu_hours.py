"""The GPU-hours ledger: which task had how many GPUs, for how long, at what cost."""

import datetime as dt

from airflow.sdk import DAG
from podium.dag_defaults import Tag, default_args
from podium.operators.pod import PodiumPodOperator
from podium.platform import settings

DOC = """
### What
Airflow leaves a record of every try of a task that had GPUs in the lake's bucket (`gpu-hours/`) when the try ends. This
folds the records into the table `platform.gpu_hours`, one row a try, and removes them. Cost is by `price_per_gpu_hour`
of the node pool when the try ended.

### When
On `accounting.schedule`; by hand at any time. Nothing is lost while it does not run.

### Backfill
There is nothing to backfill: a run takes all records that lie there.

### When a task fails
| task | means | do |
| --- | --- | --- |
| `fold` | the lake is out of reach, or an object is no record | read the reason: mend the connection, or correct the named object; clear the task |

A task whose log says that its GPU-hours are not recorded has the record in that line: put it into the bucket by hand.
"""

with DAG(
    "account_gpu_hours",
    schedule=settings().accounting.schedule,
    catchup=False,
    max_active_runs=1,
    default_args=default_args(dt.timedelta(minutes=30)),
    tags=[Tag.COST, Tag.MONITORING],
    doc_md=DOC,
):
    PodiumPodOperator(task_id="fold", image="ingest", arguments=["python", "-m", "include.jobs.ingest", "gpu-hours"])
