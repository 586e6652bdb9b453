"""A job's own command line, in a pod of its image, for what a runbook asks for."""

import datetime as dt

from airflow.sdk import DAG
from podium import params
from podium.dag_defaults import Tag, default_args
from podium.operators.job import JobCommandOperator

DOC = """
### What
Runs `python -m include.jobs.<job> <arguments>` in a pod of the job's image, with the platform's addresses and credentials.
Who asked for it is in the audit trail, the arguments are in the run's configuration. Erasures have a DAG of their own
(`erase_household`), so that no household's id stays there.

### When
By hand, where a runbook says so:

    make job ARGS="ingest discard --contract transactions.v1 --table sales.transactions \\
      --start 2017-03-01T05:00:00Z --end 2017-04-01T04:00:00Z"

It shows the log and the result, and ends as the command does (0: it succeeded). On a cluster:

    airflow dags trigger run_job --conf '{"job": "ingest", "arguments": ["discard", "--contract", "transactions.v1",
      "--table", "sales.transactions", "--start", "2017-03-01T05:00:00Z", "--end", "2017-04-01T04:00:00Z"]}'

What there is: `make job ARGS="ingest --help"`, `make job ARGS="ingest discard --help"`, `make job ARGS="upkeep --help"`.

### Backfill
There is nothing to backfill.

### When a task fails
| task | means | do |
| --- | --- | --- |
| `ingest` | the command failed, or its arguments are wrong: the reason is in the last lines | correct the arguments and ask for it again; else mend what the reason names and clear the task |
| `upkeep` | the same | the same |
"""

with DAG(
    "run_job",
    schedule=None,
    catchup=False,
    default_args=default_args(dt.timedelta(hours=2)),
    params={
        "job": params.choice("whose command it is", "ingest", ["ingest", "upkeep"]),
        "arguments": params.arguments("the command and its options", never=["request", "erase", "prove"]),
    },
    tags=[Tag.UPKEEP],
    doc_md=DOC,
):
    for job in ("ingest", "upkeep"):
        JobCommandOperator(task_id=job, job=job, cpu="1", memory="2Gi")
