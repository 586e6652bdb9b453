"""The right to be forgotten: one household erased from tables, snapshots, models and what is ingested from now on."""

import datetime as dt

from airflow.sdk import DAG
from podium import params
from podium.dag_defaults import Tag, default_args
from podium.operators.pod import PodiumPodOperator
from podium.operators.spark import PodiumSparkOperator
from podium.platform import settings

DOC = """
### What
1. `erase` puts the household on the erasure list (as a keyed hash), so that no ingest brings it back from a topic. It
   flags the registered models that saw its rows (`podium.erasure.<pseudonym>` on the version). It deletes its rows from
   every table and branch, quarantined raw records included, keeps the ledger's counts right, and lets tags of models and
   the published features name the same content without it. It writes the files that models serve from anew, and removes the pages of Data Docs.
2. `expire` expires every snapshot of these tables but what branches and tags name now, and deletes their files.
3. `prove` reads every object of the lake's bucket, every file, parameter and tag of every run in MLflow and every record of
   the topics, whether a snapshot names it or not, and fails while the household is in a file. It shares nothing with what
   erases: it looks for the digits of the id in the bytes themselves, however they are written or packed. Its `verdict` is
   `found` (also where only a topic still holds records), `not understood`, or `nothing left`, which it says only when it has
   read and understood everything. The report, `erasures/<pseudonym>.json` in the bucket, names what was searched, what was
   found, where the digits stand by chance perhaps (`chance`), and what nobody could read (`not_understood`).

Sums over many households (`features.items`, `features.demand`, weights of networks) stay: nobody can be told from them.
Manifests of the tables hold the smallest and largest id of each file only.

**Topics.** Of a compacted topic `erase` removes the household by tombstones. From any other topic single records cannot be
taken: they go with retention, and the report says when (`gone_by`; null: never). Deleting all records before an offset is
for the broker's owner to decide. Until then the erasure list keeps them out. A topic that the broker no longer has holds
nothing (`there` is false).
Where values are Avro, a topic's records show their household by the key alone; so do quarantined ones that do not decode. Of
quarantined ones that do, `detail` names it. The proof names such values, by schema, among what it does not understand.

### When
By hand, with the household's pseudonym. First leave the request, which makes it, with the id on standard input:

    echo 900 | make erase

on a laptop; elsewhere `request` of the upkeep job does it, in a pod made as those of the tasks are, whose standard input is
the id (`kubectl run -i`). The id stands in one object of the
bucket, `erasures/requests/<pseudonym>.json`, until `prove` has succeeded. Airflow, the cluster's objects, logs, the audit
trail and OpenLineage get to know the pseudonym only, so nothing is to be deleted there. Then, with the pseudonym that it printed:

    airflow dags trigger erase_household --conf '{"household": "0123456789abcdef0123456789abcdef"}'

Afterwards:
- predictors take their model's files anew by themselves within some 15 seconds, and answer all the while; train again
  where a flagged model must no longer be used;
- models that nobody here can read are in the result of `erase` (`models_not_read`): whoever made them knows what to do;
- a training or another reader of an expired snapshot that was running fails: clear it;
- where the bucket keeps versions of objects, or backups are made, the household is in those until they lapse.

### Backfill
There is nothing to backfill. Running it again for the same household (leave the request again) is safe, and does what is left to do.

### When a task fails
| task | means | do |
| --- | --- | --- |
| `erase` | there is no request (`RequestError`); the lake, MLflow or the broker is out of reach; or an interval does not hold what its ledger records | leave the request; mend what the reason names; clear the task: it goes on where it was |
| `expire` | as `maintain` of `maintain_lake` | see there; clear the task |
| `prove` | the household is still in the named files | files that no snapshot names: a writer had begun before the erasure. They go with `maintain_lake` once older than `upkeep.orphan_age_s`: clear `prove` then. Files of a table: clear `erase` with all that follows. Others (mended records in the bucket, …): remove them by hand |
"""

upkeep = settings().upkeep

with DAG(
    "erase_household",
    schedule=None,
    catchup=False,
    max_active_runs=1,
    default_args=default_args(dt.timedelta(hours=6)),
    params={"household": params.pseudonym("the household, as `make erase` printed it")},
    tags=[Tag.UPKEEP, Tag.AUDIT],
    doc_md=DOC,
):
    command = ["python", "-m", "include.jobs.upkeep"]
    household = ["--household={{ params.household }}"]

    erase = PodiumPodOperator(
        task_id="erase", image="upkeep", arguments=[*command, "erase", *household], cpu="1", memory="4Gi"
    )
    expire = PodiumSparkOperator(
        task_id="expire",
        image="upkeep",
        main="local:///app/include/jobs/upkeep/main.py",
        arguments=[
            # Tables that hold households, also those whose rows an earlier try has erased.
            "--tables={{ ti.xcom_pull(task_ids='erase')['rows'] | join(',') }}",
            *("--expire-only", "--keep-snapshots-s", "0", "--keep-snapshots", "1"),
            *("--orphan-age-s", str(upkeep.orphan_age_s)),
        ],
        driver_memory=upkeep.driver_memory,
        executors=upkeep.executor_instances,
    )
    prove = PodiumPodOperator(
        task_id="prove", image="upkeep", arguments=[*command, "prove", *household], cpu="1", memory="4Gi"
    )

    erase >> expire >> prove
