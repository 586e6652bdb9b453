"""Fitting: epochs over the workers' shards, validation, checkpoints, early end."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from include.jobs.ranking.features import Matrix
from include.jobs.ranking.lists import Recall, rank, recall_at_k
from include.jobs.ranking.model import Ranker
from include.jobs.recommender.checkpoint import CheckpointStore, Progress
from include.jobs.recommender.dataset import TrainingShard, ValidationShard
from include.jobs.recommender.network import Network
from include.jobs.recommender.plan import LIST_LENGTH, TrainingPlan
from include.jobs.recommender.workers import Workers

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Standardisation:
    """Mean and scale of each input, (F,), over all workers' rows."""

    mean: Matrix
    scale: Matrix

    @classmethod
    def of(cls, shard: TrainingShard, workers: Workers) -> "Standardisation":
        """Add the shards' moments up."""
        total, squares, rows = shard.moments()
        summed = workers.add_up(np.concatenate([total, squares, [float(rows)]]))
        total, squares, count = summed[: len(total)], summed[len(total) : -1], summed[-1]
        mean = total / count
        scale = np.sqrt(np.maximum(squares / count - np.square(mean), 0.0)) + 1e-6
        return cls(mean.astype(np.float32), scale.astype(np.float32))


@dataclass(frozen=True, slots=True)
class Fitted:
    """A trained network at its best epoch."""

    network: Network
    ranker: Ranker
    progress: Progress
    resumed_from: int


class Fitting:
    """One worker's part of a training."""

    def __init__(
        self,
        plan: TrainingPlan,
        workers: Workers,
        training: TrainingShard,
        validation: ValidationShard,
        checkpoints: CheckpointStore,
    ) -> None:
        self._plan, self._workers = plan, workers
        self._training, self._validation = training, validation
        self._checkpoints = checkpoints
        self._standardisation = Standardisation.of(training, workers)
        mean, scale = self._standardisation.mean, self._standardisation.scale
        blank = Network(plan.layers, plan.learning_rate, 1).ranker(mean, scale)
        self._inputs = blank.standardise(training.inputs)
        self._validation_inputs = blank.standardise(validation.inputs)

    def run(self) -> Fitted:
        """Train until the epochs are over or validation stops getting better; continue from a checkpoint."""
        plan, workers, shard = self._plan, self._workers, self._training
        shard = TrainingShard(self._inputs, shard.bought, shard.offsets, shard.all_groups, shard.all_rows)
        per_step = shard.households_per_step(plan.batch_rows, workers.size)
        steps = shard.steps(per_step, workers.size)
        network = Network(plan.layers, plan.learning_rate, plan.epochs * steps)
        progress: Progress = workers.share(self._start(network) if workers.first else None)
        resumed_from = progress.epoch
        network.restore(progress.state)
        step = network.training_step(workers.average)
        while progress.epoch < plan.epochs and progress.epoch - progress.best_epoch < plan.patience:
            started = time.monotonic()
            order = np.random.default_rng([plan.seed, progress.epoch, workers.rank])
            losses = [float(step(b.inputs, b.bought, b.household)) for b in shard.batches(per_step, steps, order)]
            trained = time.monotonic() - started
            self._end_epoch(network, progress, sum(losses) / len(losses), trained)
        network.restore(progress.best_state)
        ranker = network.ranker(self._standardisation.mean, self._standardisation.scale)
        return Fitted(network, ranker, progress, resumed_from)

    def recall(self, scores: Callable[[ValidationShard, Matrix], np.ndarray]) -> float:
        """Recall@20 of the validation month over all workers' households."""
        lists = rank(
            self._validation.rows,
            scores(self._validation, self._validation_inputs).astype(np.float64),
            LIST_LENGTH,
            self._validation.popular,
        )
        mine = recall_at_k(lists, self._validation.purchases)
        total, households = self._workers.add_up(np.array([mine.total, float(mine.households)]))
        return Recall(float(total), int(households)).value

    def largest_difference(self, fitted: Fitted) -> float:
        """The largest difference between the network's scores and those of its export, on this worker's rows."""
        expected = fitted.network.scores(self._validation_inputs)
        exported = fitted.ranker.score(self._validation.inputs)
        return float(np.abs(expected - exported).max(initial=0.0))

    def _start(self, network: Network) -> Progress:
        found = self._checkpoints.load()
        if found is None:
            return Progress(epoch=0, state=network.state())
        _log.info("continue after epoch %d, from s3://%s", found.epoch, self._checkpoints.folder)
        return found

    def _end_epoch(self, network: Network, progress: Progress, loss: float, seconds: float) -> None:
        mean_loss = float(self._workers.add_up(np.array([loss]))[0]) / self._workers.size
        recall = self.recall(lambda _, inputs: network.scores(inputs))
        progress.epoch += 1
        progress.state = network.state()
        if recall > progress.best_recall:
            progress.best_epoch, progress.best_recall, progress.best_state = progress.epoch, recall, progress.state
        rows_per_s = self._training.all_rows / seconds
        progress.history.append({"loss": mean_loss, "validation_recall_at_20": recall, "rows_per_s": rows_per_s})
        if self._workers.first:
            _log.info(
                "epoch %d: loss %.4f, validation recall@20 %.4f, %.1f s, %.0f rows/s",
                *(progress.epoch, mean_loss, recall, seconds, rows_per_s),
            )
            self._checkpoints.save(progress)
