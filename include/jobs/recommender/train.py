"""A training from the lake to the model registry."""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from include.jobs.lake import lineage
from include.jobs.lake.catalog import open_catalog
from include.jobs.lake.connections import Connections
from include.jobs.lake.tables import FEATURES_INTERACTIONS, FEATURES_SERVING
from include.jobs.ranking.errors import RankingError
from include.jobs.ranking.fingerprints import WEIGHTS_TAG, of_weights
from include.jobs.ranking.interactions import Interactions
from include.jobs.ranking.model import Candidates, RankerModel
from include.jobs.ranking.registry import CANDIDATE, Registry, RunRecord
from include.jobs.ranking.source import month_bounds, next_month, read_interactions, read_purchases, snapshot_ids
from include.jobs.recommender.checkpoint import CheckpointStore
from include.jobs.recommender.dataset import ShardBuilder, ValidationShard
from include.jobs.recommender.fit import Fitted, Fitting
from include.jobs.recommender.plan import LIST_LENGTH, TrainingPlan
from include.jobs.recommender.workers import Workers

#: Single precision over some dozens of products; more means that the two passes differ.
_TOLERANCE = 1e-3

_log = logging.getLogger(__name__)


class ExportMismatchError(RankingError):
    """The exported model does not score as the trained network does."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where the model goes: experiment, registered model, and who asks for it (run id, image, …)."""

    experiment: str
    model_name: str
    identity: Mapping[str, str]


def train(plan: TrainingPlan, destination: Destination) -> dict[str, Any] | None:
    """Train in this worker; the first one registers the candidate and returns the job's result, others None.

    Raises:
        RankingError: data, checkpoint, export or registry are not as they must be.
    """
    started = time.monotonic()
    workers = Workers(plan.seed)
    connections = Connections.from_environment()
    catalog = open_catalog(connections)
    # All workers must read the same rows, whatever is committed meanwhile.
    snapshots: dict[str, int] = workers.share(snapshot_ids(catalog) if workers.first else None)
    features, sales = snapshots["features.interactions"], snapshots["sales.transactions"]
    run_key = plan.run_key(snapshots, workers.size, destination.identity)

    builder = ShardBuilder(workers.rank, workers.size)
    for cutoff in plan.train_cutoffs:
        builder.add(read_interactions(catalog, cutoff, features, labels=True))
    history = read_interactions(catalog, plan.validation_cutoff, features)
    bought = read_purchases(catalog, plan.validation_cutoff, ZoneInfo(plan.timezone), sales)
    validation = ValidationShard.of(history, bought, workers.rank, workers.size, LIST_LENGTH)
    del history
    shard = builder.build()
    _log.info("worker %d of %d: %d rows in %.1f s", *(workers.rank, workers.size), len(shard.bought), _since(started))

    checkpoints = CheckpointStore(connections.filesystem(), urlsplit(connections.warehouse).netloc, run_key)
    fitting = Fitting(plan, workers, shard, validation, checkpoints)
    fitted = fitting.run()
    baselines = {
        "own_frequency": fitting.recall(lambda part, _: part.rows.columns["purchases"]),
        "decayed_frequency": fitting.recall(lambda part, _: part.rows.columns["decay_90"]),
    }
    difference = fitting.largest_difference(fitted)
    if difference > _TOLERANCE:
        raise ExportMismatchError(
            f"exported scores differ from the network's by up to {difference:.2g} (at most {_TOLERANCE} is rounding): "
            "`Ranker.score` and `Network` no longer compute the same"
        )
    result = None
    if workers.first:
        facts: dict[str, Any] = {
            "run_key": run_key,
            "workers": workers.size,
            "rows": shard.all_rows,
            "epochs": fitted.progress.epoch,
            "best_epoch": fitted.progress.best_epoch,
            "resumed_from_epoch": fitted.resumed_from,
            "validation_recall_at_20": fitted.progress.best_recall,
            "validation_baselines": baselines,
            "weights_sha256": of_weights(fitted.ranker),
            "largest_export_difference": difference,
            "snapshots": {name: str(number) for name, number in snapshots.items()},
            "feature_view": str(snapshots[FEATURES_SERVING]),
        }
        serving = read_interactions(catalog, plan.serving_cutoff, features)
        result = _register(plan, destination, fitted, serving, facts, started)
        checkpoints.clear()
    # Waits for the registration too: a worker that leaves early would be taken for a failed one.
    workers.share(None)
    workers.close()
    return result


def _register(
    plan: TrainingPlan,
    destination: Destination,
    fitted: Fitted,
    serving: Interactions,
    facts: dict[str, Any],
    started: float,
) -> dict[str, Any]:
    model = RankerModel(
        name="network",
        ranker=fitted.ranker,
        cutoff=plan.serving_cutoff,
        candidates=Candidates.of(fitted.ranker, serving),
        facts=facts | {"parameters": plan.parameters()},
    )
    history = fitted.progress.history
    learned_from, _ = month_bounds(min(plan.train_cutoffs), ZoneInfo(plan.timezone))
    learned_to, _ = month_bounds(next_month(plan.validation_cutoff), ZoneInfo(plan.timezone))
    known_until, _ = month_bounds(plan.serving_cutoff, ZoneInfo(plan.timezone))
    seconds = _since(started)
    record = RunRecord(
        name=f"train-{facts['run_key'][:8]}",
        parameters=plan.parameters() | {"workers": str(facts["workers"])},
        metrics={
            **{name: [(epoch, row[name]) for epoch, row in enumerate(history, 1)] for name in history[0]},
            **{f"validation_{name}": [(0, value)] for name, value in facts["validation_baselines"].items()},
            "best_epoch": [(0, facts["best_epoch"])],
            "seconds": [(0, seconds)],
            "rows": [(0, facts["rows"])],
        },
        tags={
            **destination.identity,
            "seed": str(plan.seed),
            WEIGHTS_TAG: facts["weights_sha256"],
            "labels_from": learned_from.isoformat(),
            "labels_to": learned_to.isoformat(),
            "known_until": known_until.isoformat(),
            **{f"snapshot.{name}": number for name, number in facts["snapshots"].items()},
        },
    )
    registry = Registry.connect(destination.model_name)
    version = registry.register(destination.experiment, facts["run_key"], record, model, alias=CANDIDATE)
    _log.info("registered version %s of %s", version.version, destination.model_name)
    learned = {FEATURES_INTERACTIONS: facts["rows"]}
    return facts | {
        "model_name": destination.model_name,
        "model_version": str(version.version),
        "mlflow_run_id": version.run_id,
        "seconds": round(_since(started), 2),
        **lineage.datasets(
            [lineage.table(name, number, learned.get(name)) for name, number in facts["snapshots"].items()],
            [lineage.model(destination.model_name, str(version.version))],
        ),
    }


def _since(started: float) -> float:
    return time.monotonic() - started
