"""The rows that one worker learns from and is validated on.

A worker reads a whole cutoff (products' habits need all households), then keeps the households of its shard.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from include.jobs.ranking.errors import RankingError
from include.jobs.ranking.features import FEATURES, Matrix, ProductHabits, design_matrix
from include.jobs.ranking.interactions import Bools, Floats, Interactions, Ints
from include.jobs.ranking.lists import Purchases, popular_products


class TooFewHouseholdsError(RankingError):
    """There are not enough households with a purchase to give each worker a step."""


@dataclass(frozen=True, slots=True)
class Batch:
    """G whole households: `inputs` (R, F), `bought` (R,) 0 or 1, `household` (R,) 0..G-1 ascending."""

    inputs: Matrix
    bought: npt.NDArray[np.float32]
    household: npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class TrainingShard:
    """One worker's households of all training cutoffs; a household counts once for each cutoff.

    Attributes:
        inputs: (N, F).
        bought: (N,) the labels.
        offsets: (G + 1,) a household's rows are offsets[i]:offsets[i + 1]; each holds at least one purchase.
        all_groups: number of households over all shards.
        all_rows: number of rows over all shards.
    """

    inputs: Matrix
    bought: npt.NDArray[np.float32]
    offsets: Ints
    all_groups: int
    all_rows: int

    def households_per_step(self, batch_rows: int, workers: int) -> int:
        """How many whole households make about `batch_rows` rows; the same number in all workers."""
        wanted = max(1, round(batch_rows * self.all_groups / self.all_rows))
        return min(wanted, self.all_groups // workers)

    def steps(self, per_step: int, workers: int) -> int:
        """Steps of an epoch: what the smallest shard can fill."""
        return (self.all_groups // workers) // per_step

    def batches(self, per_step: int, steps: int, order: np.random.Generator) -> Iterator[Batch]:
        """One epoch in the given generator's order."""
        lengths = np.diff(self.offsets)
        shuffled = order.permutation(len(lengths))
        for step in range(steps):
            groups = shuffled[step * per_step : (step + 1) * per_step]
            sizes = lengths[groups]
            ends = np.cumsum(sizes)
            rows = np.arange(ends[-1]) + np.repeat(self.offsets[groups] - (ends - sizes), sizes)
            yield Batch(self.inputs[rows], self.bought[rows], np.repeat(np.arange(per_step, dtype=np.int32), sizes))

    def moments(self) -> tuple[Floats, Floats, int]:
        """Sum and sum of squares of each input, and the rows, to be added up over workers."""
        total, squares = np.zeros(len(FEATURES)), np.zeros(len(FEATURES))
        for part in np.array_split(self.inputs, max(1, len(self.inputs) // 100_000)):
            wide = part.astype(np.float64)
            total += wide.sum(axis=0)
            squares += np.square(wide).sum(axis=0)
        return total, squares, len(self.inputs)


class ShardBuilder:
    """Collects a worker's shard cutoff by cutoff, so that one cutoff's rows are in memory at a time."""

    def __init__(self, worker: int, workers: int) -> None:
        self._worker, self._workers = worker, workers
        self._inputs: list[Matrix] = []
        self._bought: list[Floats] = []
        self._lengths: list[Ints] = []
        self._groups = self._rows = 0

    def add(self, rows: Interactions) -> None:
        """Take this worker's households of a cutoff; those that bought nothing of their own again teach nothing."""
        if rows.label is None:
            raise TypeError("training rows must come with labels")
        starts, segments = rows.starts, rows.segments
        buyers: Bools = np.add.reduceat(rows.label, starts) > 0
        counts = np.bincount(segments, minlength=len(starts))
        # The turn goes on from cutoff to cutoff, so that shards differ by one household at most.
        shard = (self._groups + np.cumsum(buyers) - 1) % self._workers == self._worker
        self._groups += int(buyers.sum())
        self._rows += int(counts[buyers].sum())
        habits = ProductHabits.of(rows)
        for part in rows.of(rows.households[buyers & shard]).parts():
            self._inputs.append(design_matrix(part, habits))
            self._bought.append(part.label if part.label is not None else np.zeros(0))
            self._lengths.append(np.bincount(part.segments).astype(np.int64))

    def build(self) -> TrainingShard:
        """The shard.

        Raises:
            TooFewHouseholdsError: a worker would have nothing to do.
        """
        if self._groups < self._workers:
            raise TooFewHouseholdsError(
                f"{self._groups} households bought one of their own products again, which is too few for "
                f"{self._workers} workers: use fewer workers, or ingest more months"
            )
        return TrainingShard(
            inputs=np.concatenate(self._inputs),
            bought=np.concatenate(self._bought).astype(np.float32),
            offsets=np.concatenate([[0], np.cumsum(np.concatenate(self._lengths))]).astype(np.int64),
            all_groups=self._groups,
            all_rows=self._rows,
        )


@dataclass(frozen=True, slots=True)
class ValidationShard:
    """One worker's households of the validation month, with their own products' inputs."""

    rows: Interactions
    inputs: Matrix
    popular: Ints
    purchases: Purchases

    @classmethod
    def of(cls, rows: Interactions, purchases: Purchases, worker: int, workers: int, k: int) -> "ValidationShard":
        """Every `workers`-th of the households that have a history and bought something."""
        known = np.intersect1d(rows.households, purchases.household_id)
        mine = known[worker::workers]
        own = rows.of(mine)
        habits = ProductHabits.of(rows)
        matrices = [design_matrix(part, habits) for part in own.parts()]
        empty = np.zeros((0, len(FEATURES)), np.float32)
        return cls(
            rows=own,
            inputs=np.concatenate(matrices) if matrices else empty,
            # Enough to fill a list even if all of a short history is popular.
            popular=popular_products(rows, 2 * k)[0],
            purchases=purchases.of(mine),
        )
