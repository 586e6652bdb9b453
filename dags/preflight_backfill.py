"""What a backfill of a topic would do, before it does it."""

import datetime as dt

from airflow.sdk import DAG, Param
from podium import params
from podium.dag_defaults import Tag, default_args
from podium.operators.pod import PodiumPodOperator
from podium.platform import settings
from podium.templates import MACROS

DOC = """
### What
Looks at every interval that `airflow backfill create` would run, in Kafka and in the ledger of the topic's table, and
changes nothing. It tells which intervals would be new, replaced or unchanged, how many offsets they would read, how many
rows are there before, and what the contract would change of the table's columns. It fails, with the dates, where
retention has dropped part of an interval, where the boundaries are not those of what is closed, or where the contract
does not fit the table.

### When
By hand, before each backfill. `from` and `to` are those of the backfill: both included, each the start of an interval.

    airflow dags trigger preflight_backfill --conf \\
      '{"topic": "transactions", "from": "2017-01-01T05:00:00Z", "to": "2017-12-01T05:00:00Z"}'

The task's log has the table, its result the same as JSON. Then start the backfill, at any time, beside the schedule:

    airflow backfill create --dag-id ingest_transactions --from-date 2017-01-01T05:00:00Z \\
      --to-date 2017-12-01T05:00:00Z --max-active-runs 3 --reprocess-behavior completed

Progress: the Backfills page of the DAG. Stop it there too (Cancel): what is done stays done. Its runs start nothing one by
one. When the last has ended, one event sums all up (`intervals`, `rows`, `latest`, `failed`; see Assets, `sales.transactions`),
and what follows runs once.

### Backfill
None: it is what comes before one.

### When a task fails
| task | means | do |
| --- | --- | --- |
| `preflight` | the backfill would fail: the task's last lines say which intervals, and why | leave the dates that are gone out of the backfill, or restore the topic; go on with boundaries as they are; mend the contract; then trigger it again. Kafka or the lake out of reach: mend that, clear the task |
"""

with DAG(
    "preflight_backfill",
    schedule=None,
    catchup=False,
    max_active_runs=1,
    default_args=default_args(dt.timedelta(hours=1)),
    params={
        "topic": params.choice("of the settings", "transactions", settings().ingest.topics),
        "from": params.moment("--from-date of the backfill"),
        "to": params.moment("--to-date of the backfill, included"),
        "reprocess": Param(True, type="boolean", description="whether closed intervals are run again"),
    },
    user_defined_macros=MACROS,
    tags=[Tag.INGEST],
    doc_md=DOC,
):
    PodiumPodOperator(
        task_id="preflight",
        image="ingest",
        arguments=[
            *("python", "-m", "include.jobs.ingest", "preflight"),
            "--topic={{ ingest_topic(params.topic).topic }}",
            "--contract={{ ingest_topic(params.topic).contract }}",
            "--table={{ ingest_topic(params.topic).table }}",
            *("--unit={{ ingest_topic(params.topic).unit }}", "--timezone", settings().ingest.timezone),
            "--allowed-lateness={{ ingest_topic(params.topic).allowed_lateness_s }}",
            "--max-ahead={{ ingest_topic(params.topic).max_ahead_s }}",
            "--boundaries={{ boundaries(params.topic, params['from'], params['to']) }}",
            "--reprocess={{ params.reprocess | lower }}",
        ],
        cpu="1",
        memory="1Gi",
    )
