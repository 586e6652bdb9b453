"""Whether the latest sales still look like what the champion was trained on."""

import datetime as dt

from airflow.sdk import DAG
from podium.assets import CHAMPION, SALES
from podium.dag_defaults import Tag, default_args
from podium.operators.drift import SignalDriftOperator
from podium.operators.pod import PodiumPodOperator
from podium.platform import settings
from podium.templates import MACROS
from podium.timetables import after

DOC = """
### What
Compares the latest ingested interval with the snapshot that the champion was trained on, feature by feature (Alibi
Detect). Each outcome goes to `monitoring.drift`. Drift raises an event of the asset `recommender.drift`, which starts
training where `drift.retrain` in `include/config` is on.

### When
Whenever there is a new champion, and on `drift.schedule`. By hand at any time. Events that come while the DAG is
paused start one run when it is switched on again.

### Backfill
    airflow backfill create --dag-id check_drift --from-date 2026-01-01 --to-date 2026-01-31
A check always looks at the latest interval; outcomes of the same interval replace each other.

### When a task fails
| task | means | do |
| --- | --- | --- |
| `check` | the lake or MLflow is out of reach, or the champion's training snapshot has expired | read the reason; mend it; clear the task |
| `signal` | Airflow's API was out of reach | clear the task. Skipped is no failure: there was no drift |
"""

drift, recommender = settings().drift, settings().recommender

with DAG(
    "check_drift",
    schedule=after(CHAMPION, drift.schedule),
    catchup=False,
    max_active_runs=1,
    default_args=default_args(dt.timedelta(hours=1)),
    user_defined_macros=MACROS,
    tags=[Tag.MONITORING, Tag.RECOMMENDER],
    doc_md=DOC,
):
    check = PodiumPodOperator(
        task_id="check",
        image="drift",
        arguments=[
            *("python", "-m", "include.jobs.drift", "check"),
            *("--model-name", recommender.model_name),
            "--start={{ latest_interval(inlet_events).start }}",
            "--end={{ latest_interval(inlet_events).end }}",
            *("--p-value", str(drift.p_value)),
            *("--min-drifted-fraction", str(drift.min_drifted_fraction)),
            *("--sample-size", str(drift.sample_size)),
        ],
        memory="3Gi",
        inlets=[SALES],
    )
    SignalDriftOperator(task_id="signal", check=check.output)
