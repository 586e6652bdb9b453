"""The recommender: distributed training on the GPU pool, a candidate at the end."""

import datetime as dt

from airflow.sdk import DAG
from podium.assets import CANDIDATE, DRIFT, FEATURES
from podium.dag_defaults import Tag, default_args
from podium.operators.mpi import MPIJobOperator
from podium.platform import settings
from podium.templates import FILTERS
from podium.timetables import after

DOC = """
### What
An MPIJob runs Horovod and TensorFlow on the workers of the GPU pool. Rank 0 logs parameters, metrics, the ids of the
snapshots it read, seed and image to MLflow and registers the model with the alias `candidate`. Same inputs, same model.

### When
Whenever features were built, and on `recommender.schedule`; after a drift event too where `drift.retrain` is on. By
hand at any time. Events that come while the DAG is paused start one run when it is switched on again.

### Backfill
    airflow backfill create --dag-id train_recommender --from-date 2026-01-01 --to-date 2026-01-31
Each run trains on the cutoffs of the settings: to train on an earlier period, set `recommender.train_cutoffs`,
`validation_cutoff` and `evaluation_cutoff`, and trigger the DAG once.

### When a task fails
| task | means | do |
| --- | --- | --- |
| `train` | a rank died, or the job could not be placed: reason, events and the launcher's last lines are in the task's log | pending: see the GPU pool's use (Airflow, Admin, Pools; `kubectl describe pod`); a dead rank: clear the task, training goes on from its last checkpoint |
"""

recommender = settings().recommender

with DAG(
    "train_recommender",
    schedule=after(FEATURES | DRIFT if settings().drift.retrain else FEATURES, recommender.schedule),
    catchup=False,
    max_active_runs=1,
    default_args=default_args(dt.timedelta(hours=6)),
    user_defined_filters=FILTERS,
    tags=[Tag.TRAINING, Tag.RECOMMENDER],
    doc_md=DOC,
):
    MPIJobOperator(
        task_id="train",
        image="recommender",
        command=[
            *("python", "-m", "include.jobs.recommender", "train"),
            *("--train-cutoffs", ",".join(day.isoformat() for day in recommender.train_cutoffs)),
            *("--validation-cutoff", recommender.validation_cutoff.isoformat()),
            *("--timezone", settings().ingest.timezone),
            *("--epochs", str(recommender.epochs)),
            *("--batch-size", str(recommender.batch_size)),
            *("--learning-rate", str(recommender.learning_rate)),
            *("--seed", str(recommender.seed)),
            *("--experiment", recommender.experiment),
            *("--model-name", recommender.model_name),
            # The run, not the attempt: a retry goes on from the checkpoints of the attempt before it.
            "--result=s3://lake/results/train/{{ run_id | slug }}.json",
        ],
        workers=recommender.workers,
        node_pool=recommender.node_pool,
        gpus_per_worker=recommender.gpus_per_worker,
        cpu=recommender.worker_cpu,
        memory=recommender.worker_memory,
        outlets=[CANDIDATE],
    )
