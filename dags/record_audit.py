"""The audit trail: who or what did what with which data and which image, in a chain of hashes."""

import datetime as dt

from airflow.sdk import DAG
from podium.dag_defaults import Tag, default_args
from podium.operators.pod import PodiumPodOperator
from podium.platform import settings

DOC = """
### What
Airflow leaves a record of every try of every task in the lake's bucket (`audit/`) when the try ends: DAG, run, task,
who or what started the run (a person as a pseudonym), code version, image and its digest, what was read and written
with snapshot ids and rows, how it ended. Beside them lies a record of each request and each command by which somebody
changed something in Airflow: cleared, marked, triggered, paused, deleted, edited a variable, a connection or a pool
(`state` is `requested`, `started_by` who asked, `outputs` what, without values; what Airflow then refused stands there
too). `record` appends the records to the table `platform.audit`, each row with the hash of the one before it; `verify`
goes along the whole chain and fails when a row was changed, dropped, added or moved.

What Airflow does not see is not in it: MLflow does not tell who moved an alias or when, only the rollout that follows
stands here, as started by the asset; for `kubectl` see the audit log of the cluster's API server.

### When
On `accounting.schedule`; by hand at any time. Nothing is lost while it does not run. To verify at any time: `make audit`
on a laptop, elsewhere `airflow dags trigger run_job --conf '{"job": "upkeep", "arguments": ["verify"]}'`.

Whoever may write the table could make a whole new chain. Note the head that `record` returns where others cannot write
(it is in Airflow's database already), and hold the trail to it: `make audit ARGS="--head NUMBER:HASH"`.

### Backfill
There is nothing to backfill: a run takes all records that lie there.

### When a task fails
| task | means | do |
| --- | --- | --- |
| `record` | the lake is out of reach, or an object is no record | read the reason: mend the connection, or correct the named object; clear the task |
| `verify` | the trail is not what was recorded: each row that is wrong is named | keep the table as it is; its snapshots and the versions of the bucket's objects tell when it was changed; tell who answers for security |

A task whose log says that its try is not in the audit trail has the record in that line: put it into the bucket by hand.
"""

with DAG(
    "record_audit",
    schedule=settings().accounting.schedule,
    catchup=False,
    max_active_runs=1,
    default_args=default_args(dt.timedelta(minutes=30)),
    tags=[Tag.AUDIT, Tag.MONITORING],
    doc_md=DOC,
):
    command = ["python", "-m", "include.jobs.upkeep"]
    record = PodiumPodOperator(task_id="record", image="upkeep", arguments=[*command, "record"])
    verify = PodiumPodOperator(
        task_id="verify",
        image="upkeep",
        # The head of this very run: what others append meanwhile comes after it.
        arguments=[*command, "verify", "--head={{ ti.xcom_pull(task_ids='record')['head'] }}"],
    )

    record >> verify
