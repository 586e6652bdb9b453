"""The shop's master data to the lake: products and households."""

import datetime as dt

from airflow.sdk import DAG
from podium.dag_defaults import Tag, default_args
from podium.operators.pod import PodiumPodOperator
from podium.platform import settings

DOC = """
### What
Replaces `reference.products` and `reference.households` by what the shop publishes; a reader sees the old table or the
new one, whole. Features are made of them, and the ingests hold the products of their events against them
(`references` in `include/contracts`). Households that were erased (`erase_household`) stay out.

### When
On `ingest.reference_schedule` in `include/config`; by hand at any time, and once before the first ingest is judged.

### Backfill
There is nothing to backfill: the shop publishes the present state only. Earlier states are snapshots of the tables.

### When a task fails
| task | means | do |
| --- | --- | --- |
| `write` | the lake is out of reach | read the reason in the task's last lines; mend it; clear the task. The tables are as they were |
"""

with DAG(
    "ingest_reference",
    schedule=settings().ingest.reference_schedule,
    catchup=False,
    max_active_runs=1,
    default_args=default_args(dt.timedelta(minutes=30)),
    tags=[Tag.INGEST],
    doc_md=DOC,
):
    PodiumPodOperator(task_id="write", image="ingest", arguments=["python", "-m", "include.jobs.ingest", "reference"])
