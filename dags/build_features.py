"""Features for the recommender and the demand forecast, from the events in the lake."""

import datetime as dt

from airflow.sdk import DAG
from podium import params
from podium.assets import FEATURES, SALES
from podium.dag_defaults import Tag, default_args
from podium.operators.announce import AnnounceChangeOperator
from podium.operators.spark import PodiumSparkOperator
from podium.platform import settings
from podium.timetables import after

DOC = """
### What
A Spark application makes `features.users` (habits and profile of households), `features.items` (popularity, prices,
promotions), `features.interactions` and `features.preferences` (what a household prefers, weighted by recency), for each
cutoff day in `features.cutoffs` of `include/config`, and `features.demand`. A feature sees only what lies strictly before
its cutoff.

A run makes only what is out of date, partition by partition: a cutoff whose purchases before it, reference data or code
have changed, the labels of a month that has become complete or has changed, the demand of a changed month. Content
counts, not when it was ingested: the same interval ingested again makes nothing stale. Of the events it reads the intervals
whose files have changed (`intervals_read` of the result), and what the stale partitions are made from. A table's partitions
are replaced in one snapshot, and making them again gives the same rows. `partitions` of the result says what was made. To
make all:

    airflow dags trigger build_features --conf '{"partitions": "all"}'

Once all are written, `features.serving` is replaced in one commit: it names the snapshot of each table, and of what they
were made from. Trainings and gates read the tables by it, and so never mix two builds; a model's version names the
snapshot of `features.serving` that it serves from (`podium.feature_view`), and so does each of its answers.

Where no partition was out of date nothing is published. Where the view is the one that was last announced, `announce` is
skipped and no training follows: a backfill that brought the same events again ends here. To train all the same, trigger
`train_recommender`.

Of two builds at once, started outside of this DAG, one is published; the other, or one that an erasure has overtaken, finds
that its tables were changed meanwhile, and publishes nothing.

### When
Whenever `ingest_transactions` announces new intervals, and on `features.schedule`. By hand at any time. What is announced
while the DAG is paused starts one run when it is switched on again.

### Backfill
    airflow backfill create --dag-id build_features --from-date 2026-01-01 --to-date 2026-01-31
One run brings all cutoffs up to date, so trigger the DAG once instead; new cutoffs go under `features.cutoffs` first.

### When a task fails
| task | means | do |
| --- | --- | --- |
| `build` | the application failed: the last lines of the driver's log are in the task's log | out of memory: raise `features.driver_memory`; the lake or the catalog out of reach: mend that; then clear the task. No table is half written, and nothing is published. `was changed since this build began`: another build or an erasure came in between; the retry makes what is out of date then |
| `announce` | Airflow's API was out of reach | clear the task. Skipped is no failure: nothing has changed |
"""

features = settings().features

with DAG(
    "build_features",
    schedule=after(SALES, features.schedule),
    catchup=False,
    max_active_runs=1,
    default_args=default_args(dt.timedelta(hours=2)),
    params={"partitions": params.choice("which to make", "stale", ["stale", "all"])},
    tags=[Tag.FEATURES, Tag.RECOMMENDER],
    doc_md=DOC,
):
    build = PodiumSparkOperator(
        task_id="build",
        image="features",
        main="local:///app/include/jobs/features/main.py",
        arguments=[
            *("--cutoffs", ",".join(day.isoformat() for day in features.cutoffs)),
            *("--timezone", settings().ingest.timezone),
            "--partitions={{ params.partitions }}",
        ],
        driver_cores=features.driver_cores,
        driver_memory=features.driver_memory,
        executors=features.executor_instances,
        core_request=features.core_request,
    )
    announce = AnnounceChangeOperator(task_id="announce", asset=FEATURES, result=build.output)

    build >> announce
