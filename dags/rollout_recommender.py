"""From candidate to champion: gate, canary, promotion or the way back."""

import datetime as dt

from airflow.sdk import DAG
from podium.assets import CANDIDATE, CHAMPION
from podium.dag_defaults import Tag, default_args
from podium.operators.gate import GateOperator
from podium.operators.inference_service import InferenceServiceOperator
from podium.operators.rollout import RecordRolloutOperator, RolloutOperator
from podium.platform import settings
from podium.timetables import after

DOC = """
### What
Judges the candidate against named baselines on a later month; then gives it a rising share of the real requests,
as `rollout.steps` in `include/config` say. All the while it is held against the champion at the same time: failed
requests (5xx), refused ones (4xx), and those slower than `rollout.max_p99_ms`. It is taken back as soon as it is surely
worse than the champion and than what is admitted in any case (`rollout.max_error_rate`, and one slow request in 100). One
that is no worse is taken back with a chance of at most `rollout.alpha`, in all steps together. A step is passed with
`rollout.min_requests` and nothing against it. Without data nothing is judged: the share in force stays while the step's
`max_seconds` last, then the candidate is taken back. It promotes the candidate, or takes it back, by itself; the alias `champion` moves with it. Where it stands is kept in the ConfigMap
`<service>-rollout`, so a restart goes on. The event of the new champion says which published features it serves from.

### When
Whenever a candidate was registered, and on `rollout.schedule`. By hand at any time. Events that come while the DAG is
paused start one run when it is switched on again.

### Backfill
    airflow backfill create --dag-id rollout_recommender --from-date 2026-01-01 --to-date 2026-01-31
Only one candidate waits at a time, so a second run finds it serving already. To go back to an earlier version, move the alias
`champion` to it in MLflow and clear `serve` of the last run, without what follows it: it is served at once.

### When a task fails
| task | means | do |
| --- | --- | --- |
| `gate` | the candidate was refused, the reasons are listed; or the pod failed | refused: what serves goes on serving, compare the runs in MLflow; failed: read the reason, mend it, clear the task |
| `serve` | the champion does not become ready | `kubectl describe` its pod; is the model's artifact still there, does the node pool have room; clear the task |
| `rollout` | the rollout could not be carried out, which is not the same as one that rolled back | MLflow or Kubernetes out of reach: mend that and clear the task; it goes on where it was. Metrics out of reach fail nothing: the log says "No data", and until when the share is kept |
| `record` | the rollout took itself back, or MLflow is out of reach | taken back: users are safe; the reason is in the XCom of `rollout`; look at the canary's log; train again. "no data to judge by": mend the metrics first (`endpoints.metrics_url`, `rollout.metrics`) |
"""

recommender = settings().recommender

with DAG(
    "rollout_recommender",
    schedule=after(CANDIDATE, settings().rollout.schedule),
    catchup=False,
    max_active_runs=1,
    default_args=default_args(dt.timedelta(hours=4)),
    tags=[Tag.SERVING, Tag.RECOMMENDER],
    doc_md=DOC,
):
    gate = GateOperator(
        task_id="gate",
        model_name=recommender.model_name,
        image="evaluation",
        arguments=[
            *("python", "-m", "include.jobs.evaluation", "gate"),
            *("--model-name", recommender.model_name),
            *("--cutoff", recommender.evaluation_cutoff.isoformat()),
            *("--timezone", settings().ingest.timezone),
            *("--min-lift", str(recommender.min_lift)),
            *("--required-baselines", ",".join(recommender.required_baselines)),
        ],
        memory="3Gi",
    )
    serve = InferenceServiceOperator(
        task_id="serve",
        service=settings().rollout.inference_service,
        model_name=recommender.model_name,
        version="@champion",
    )
    rollout = RolloutOperator(
        task_id="rollout",
        service=settings().rollout.inference_service,
        model_name=recommender.model_name,
        version="{{ ti.xcom_pull(task_ids='gate')['candidate_version'] }}",
    )
    record = RecordRolloutOperator(
        task_id="record", model_name=recommender.model_name, rollout=rollout.output, outlets=[CHAMPION]
    )

    gate >> serve >> rollout >> record
