"""Events from Kafka to the lake, exact by interval: a DAG for each topic of the settings, all of them alike."""

import datetime as dt

from airflow.sdk import DAG, Param
from podium.assets import events_of
from podium.dag_defaults import Tag, default_args
from podium.operators.announce import AnnounceIntervalOperator
from podium.operators.pod import PodiumPodOperator
from podium.operators.validate import ValidateIntervalOperator
from podium.platform import settings
from podium.templates import MACROS
from podium.timetables import each_interval

DOC = """
### What
Reads one interval of the topic `{topic.topic}` exactly: every offset falls in exactly one interval, a re-run replaces
its interval. Each record is checked against the contract `include/contracts/{topic.contract}.yaml`; what breaks it goes
to `{topic.table}_quarantine` with the reason, the rest to `{topic.table}`, both on the branch `staging`, which no
reader sees. Great Expectations judges the interval there as a whole, a very large one by a sample that has all its
extremes and repetitions; `validate` then publishes it, in one commit. What
it refuses stays staged: its offsets are kept for it, the intervals after it go on. Records of households that were
erased (`erase_household`) are left out and counted as `erased`. An event that a producer has sent more than once is
taken once: the first by the contract's `duplicates`, in the interval and in those within its `look_back_s`; the others
stand in quarantine with the reason `duplicate`, say where the first lies and whether they say the same, and count as
`duplicates`, not as broken: read = accepted + quarantined + erased + duplicates.

### When
On the schedule of `ingest.topics.{name}` in `include/config`, once an interval is over. By hand: trigger with a logical
date; the run takes the last interval that is over by then (the last of all, where the topic has an `end_date`). With
`unit: day` a run of several days does them in one pod, one commit a day: each day is judged, published and replaced for
itself. With `batches: <topic>` a message
`{{"start": "…", "end": "…"}}` on that topic starts the ingest of this interval at once, what is no such message goes to
`<topic>.dlq`; the boundaries must be those of the schedule. With `value_format: registry_avro` (or
`registry_json`) each value names a schema of `schema_registry`: what names none (`no_schema_id`), one that is not there
(`unknown_schema`), or is not written by it (`not_avro`) goes to quarantine, header and all; `replay_quarantine` reads it by
its schema again. With `asset_partitions: day` (or `hour`) each day that is
closed is also an event of the asset `{topic.table}.partitions` with its start as partition key, for DAGs that run a
partition at a time (`PartitionedAssetTimetable`).

### Backfill
First `preflight_backfill`, which tells what would change; its page has the whole course. Then

    airflow backfill create --dag-id {dag_id} --from-date 2017-01-01T05:00:00Z --to-date 2017-12-31T05:00:00Z \\
      --max-active-runs 3 --reprocess-behavior completed
Its runs announce nothing one by one: `announce` of each is skipped. Within seconds after the last one has ended, well or
badly, one event says what was published (`intervals`, `rows`, `latest`; `failed`: what was not), and what follows runs
once. A run that failed is announced by itself when it was cleared and has succeeded. Cancelled: what is done is announced
once nothing of it runs any longer. Paused: nothing is announced before it went on to its end.

### Which offsets
A boundary of an interval lies where the fewest records are on the wrong side of it, each partition for itself: control
records, a record from a clock that runs ahead or a transaction of old records moves nothing. The odd record is taken
with its neighbours. A message time before 1970 or after 2099 is none: such a record goes to quarantine
(`impossible_time`), and comes back only with a mend of `replay_quarantine`. One more than `max_ahead_s`
({topic.max_ahead_s} s) ahead of now moves no boundary. An interval closes `allowed_lateness_s`
({topic.allowed_lateness_s} s) after its end, or before, once every partition has moved past its end by ten records.

### When a task fails
| task | means | do |
| --- | --- | --- |
| `ingest` | Kafka, the schema registry, the lake or the catalog is out of reach; or too many records break the contract, or a schema by which they are written does; or one of those below | read the reason in the task's last lines; mend it; clear the task. Nothing is visible before `validate` |
| `ingest`: `IntervalOpenError` | late records may still come | nothing: it is tried again; a shorter `allowed_lateness_s` closes sooner |
| `ingest`: `OpenTransactionError` | a transaction is open in a partition, and holds back records that may belong to the interval | wait for it; if its producer is gone for good, abort it: the message has the command of `kafka-transactions.sh`. Then clear the task |
| `ingest`: `RetentionError` | retention has dropped part of the interval | restore the topic, or take what is left: the param `found_less: take` |
| `ingest`: `TopicChangedError` | the topic was moved, restored, cut or made anew: its offsets are no longer those of what is closed | give the topic back; or go on with this table from the topic as it is: `make job ARGS="ingest adopt-topic --topic {topic.topic} --contract {topic.contract} --table {topic.table} --from 2017-04-01T04:00:00Z"` (on a cluster: see `run_job`), from the end of the last closed interval |
| `ingest`: `FoundLessError` | a second run finds fewer records than the interval holds: compaction or deletion took them | nothing was changed. Restore the topic; or give the records up with the param `found_less: take`, which the ledger and the result count as `given_up` |
| `ingest`: `TooManyBadRecordsError` | more than `max_bad_fraction` ({topic.max_bad_fraction}) of the records break the contract | have the producer mended; if they are to go to quarantine, the param `max_bad_fraction: 1` |
| `ingest`: `DuplicatesError` | events came more than once, and the contract has `take: refuse` | mend the producer; Kafka keeps what it has, so that it takes `take: first` in the contract to go on: the message says how |
| `validate` | the interval as a whole looks wrong, and is not published: the failed expectations are listed, "Data Docs" on the task's page leads to the page about it (addresses of all: `data_docs` of the result) | look at `SELECT * FROM {topic.table} VERSION AS OF 'staging'`; if the source is at fault, have it corrected and clear `ingest`; if the expectation is, correct the suite in the contract and clear `validate`. To give the interval up, with its own start and end: `make job ARGS="ingest discard --contract {topic.contract} --table {topic.table} --start 2017-03-01T05:00:00Z --end 2017-04-01T04:00:00Z"` (on a cluster: see `run_job`) |
| `validate`: `event_time` | more than `max_stray_fraction` ({topic.max_stray_fraction}) of the rows, and more than ten, have a message time outside the interval: an outage made records late, or a clock is wrong | if they are sound, the param `max_stray_fraction: 1` |
| `announce` | Airflow's API was out of reach | clear the task. Skipped is no failure: the interval is announced with its backfill |

A param is for one choice that somebody makes by name, of one run or of the runs of one backfill:

    airflow backfill create --dag-id {dag_id} --from-date 2017-03-01T05:00:00Z --to-date 2017-03-01T05:00:00Z --reprocess-behavior completed \\
      --dag-run-conf '{{"max_stray_fraction": 1}}'
"""

for name, topic in settings().ingest.topics.items():
    with DAG(
        f"ingest_{name}",
        schedule=each_interval(topic),
        catchup=False,
        max_active_runs=topic.max_active_runs,
        default_args=default_args(dt.timedelta(hours=2)),
        user_defined_macros=MACROS,
        tags=[Tag.INGEST],
        params={
            "found_less": Param(
                "stop",
                type="string",
                enum=["stop", "take"],
                description="where records are gone that an interval had, or should have had: stop, or take what is there",
            ),
            "max_bad_fraction": Param(topic.max_bad_fraction, type="number", minimum=0, maximum=1),
            "max_stray_fraction": Param(topic.max_stray_fraction, type="number", minimum=0, maximum=1),
        },
        doc_md=DOC.format(name=name, dag_id=f"ingest_{name}", topic=topic),
    ):
        interval = [
            *("--contract", topic.contract, "--table", topic.table),
            *("--start={{ interval_start(dag_run) }}", "--end={{ interval_end(dag_run) }}"),
            *("--unit", topic.unit, "--timezone", settings().ingest.timezone),
        ]

        ingest = PodiumPodOperator(
            task_id="ingest",
            image="ingest",
            arguments=[
                *("python", "-m", "include.jobs.ingest", "interval", "--topic", topic.topic),
                *(*interval, "--value-format", topic.value_format),
                "--run-id={{ run_id }}",
                *("--allowed-lateness", str(topic.allowed_lateness_s)),
                *("--max-ahead", str(topic.max_ahead_s), "--found-less={{ params.found_less }}"),
                "--max-bad-fraction={{ params.max_bad_fraction }}",
                *("--processes", str(topic.processes)),
            ],
            cpu=str(topic.processes),
            memory=f"{512 * (1 + topic.processes)}Mi",
        )
        validate = ValidateIntervalOperator(
            task_id="validate", interval=[*interval, "--max-stray-fraction={{ params.max_stray_fraction }}"]
        )
        announce = AnnounceIntervalOperator(
            task_id="announce",
            asset=events_of(topic.table),
            counted_by="ingest",
            published_by="validate",
            partitions=topic.asset_partitions,
        )

        ingest >> validate >> announce
