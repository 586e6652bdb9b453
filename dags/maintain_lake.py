"""Upkeep of the lake's tables: few large files, no old snapshots, no orphans, fresh statistics."""

import datetime as dt

from airflow.sdk import DAG
from podium import params
from podium.dag_defaults import Tag, default_args
from podium.operators.spark import PodiumSparkOperator
from podium.platform import settings

DOC = """
### What
A Spark application goes through every table of the lake with Iceberg's own procedures:

1. It tags the snapshots that registered models were made from (`model.<name>.<version>`) and those of the published
   features (`view.features.serving`): nothing that is tagged, or on a branch, is ever expired. Deleting a version in
   MLflow frees its snapshots.
2. It rewrites small files of `main` into large ones, at most `upkeep.max_files` of a table; the next run goes on.
3. It expires snapshots older than `upkeep.keep_snapshots_s` (the last `upkeep.keep_snapshots` stay) and deletes what
   only they named.
4. It deletes files that no snapshot names and that are older than `upkeep.orphan_age_s`: left by writers that were
   killed, or staged again.
5. It renews the statistics (distinct values of each column) that engines plan joins by.

Content never changes. It is safe beside writers: a commit that lost against theirs is made again. An as-of reader has
`upkeep.keep_snapshots_s` to finish. The offsets that intervals have taken are properties of the tables, which no expiry
touches.

### When
On `upkeep.schedule`, best when few write; by hand at any time, also for some tables only:

    airflow dags trigger maintain_lake --conf '{"tables": "sales.transactions"}'

### Backfill
There is nothing to backfill: a run looks at the tables as they are.

### When a task fails
| task | means | do |
| --- | --- | --- |
| `maintain` | MLflow could not say which snapshots models need, and nothing was expired; or the named tables failed, each with its reason, the others are done | mend MLflow or what the reason names; clear the task. A conflict each time: run it when fewer writers are at work. A missing file: a table that is damaged, restore it from the bucket's versions. Out of memory: raise `upkeep.driver_memory` |

`protected.missing` of the result lists snapshots that models name and that are gone: those models can no longer be
rebuilt from the same rows.
"""

upkeep = settings().upkeep

with DAG(
    "maintain_lake",
    schedule=upkeep.schedule,
    catchup=False,
    max_active_runs=1,
    default_args=default_args(dt.timedelta(hours=4)),
    params={"tables": params.tables("namespace.table,…; none: all of them")},
    tags=[Tag.UPKEEP],
    doc_md=DOC,
):
    PodiumSparkOperator(
        task_id="maintain",
        image="upkeep",
        main="local:///app/include/jobs/upkeep/main.py",
        arguments=[
            "--tables={{ params.tables }}",
            *("--keep-snapshots-s", str(upkeep.keep_snapshots_s)),
            *("--keep-snapshots", str(upkeep.keep_snapshots)),
            *("--orphan-age-s", str(upkeep.orphan_age_s)),
            *("--target-file-bytes", str(upkeep.target_file_bytes)),
            *("--min-input-files", str(upkeep.min_input_files)),
            *("--max-files", str(upkeep.max_files)),
        ],
        driver_memory=upkeep.driver_memory,
        executors=upkeep.executor_instances,
        core_request=upkeep.core_request,
    )
