"""Puts mended records of one interval back from quarantine, exactly once."""

import datetime as dt

from airflow.sdk import DAG
from podium import params
from podium.dag_defaults import Tag, default_args
from podium.operators.pod import PodiumPodOperator
from podium.operators.validate import ValidateIntervalOperator
from podium.platform import settings
from podium.templates import MACROS

DOC = """
### What
Takes the quarantined records of one closed interval of a topic, with those of a file of mended ones in their place, and
holds them against the contract again. Those that keep it now move to the topic's table, at the offsets where they came;
the rest stays in quarantine. Great Expectations judges the interval with them before anybody sees it. A second run finds
nothing to put back, and a later ingest of the interval keeps what was mended. What has the reason `duplicate` stays
where it is, unless it is mended: another event takes another `event_id` (the contract's `duplicates: key`).

### When
By hand, after records were mended or the contract was changed. Look at what there is:
`SELECT reason, detail, kafka_partition, kafka_offset, key, value FROM sales.transactions_quarantine WHERE
interval_start = …`. Write the mended ones to an object of the lake, one a line:
`{"partition": 0, "offset": 5, "key": "900", "value": {"schema_version": 1, …}}` (JSON whatever the topic's values are
written in), and trigger with

    airflow dags trigger replay_quarantine --conf \\
      '{"topic": "transactions", "start": "2017-03-01T05:00:00Z", "end": "2017-04-01T04:00:00Z",
        "mended": "s3://lake/mended/march.ndjson"}'

Without `mended` the records are taken as they came. Then trigger what is made of the topic (`build_features`
for transactions).

### Backfill
None: one run for each interval that has something to put back.

### When a task fails
| task | means | do |
| --- | --- | --- |
| `replay` | the interval is not closed, or is staged and waits to be judged; or the file of mended records cannot be read | read the reason in the task's last lines; mend it; clear the task. `unknown` in its result lists mended records that are not in quarantine (any more) |
| `validate` | the interval as a whole looks wrong with what was put back, and stays as it was | see "Data Docs" on the task's page; correct the file, give the attempt up (of its interval: `make job ARGS="ingest discard --contract transactions.v1 --table sales.transactions --start 2017-03-01T05:00:00Z --end 2017-04-01T04:00:00Z"`; on a cluster see `run_job`), then trigger again; or correct the suite and clear the task |
"""

with DAG(
    "replay_quarantine",
    schedule=None,
    catchup=False,
    max_active_runs=1,
    default_args=default_args(dt.timedelta(hours=2)),
    params={
        "topic": params.choice("of the settings", "transactions", settings().ingest.topics),
        "start": params.moment("start of the interval"),
        "end": params.moment("end of the interval"),
        "mended": params.address("s3://bucket/key of mended records"),
    },
    user_defined_macros=MACROS,
    tags=[Tag.INGEST],
    doc_md=DOC,
):
    interval = [
        "--contract={{ ingest_topic(params.topic).contract }}",
        "--table={{ ingest_topic(params.topic).table }}",
        *("--start={{ params.start }}", "--end={{ params.end }}"),
    ]

    replay = PodiumPodOperator(
        task_id="replay",
        image="ingest",
        arguments=[
            *("python", "-m", "include.jobs.ingest", "replay", *interval),
            *("--run-id={{ run_id }}", "--mended={{ params.mended }}"),
            "--value-format={{ ingest_topic(params.topic).value_format }}",
        ],
        cpu="1",
        memory="1Gi",
    )
    validate = ValidateIntervalOperator(task_id="validate", interval=interval)

    replay >> validate
