"""What a training is asked to do, and the key under which it resumes."""

import dataclasses
import datetime as dt
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from include.jobs.ranking.errors import RankingError
from include.jobs.ranking.source import next_month

#: Length of the lists that training is validated on and the gate judges.
LIST_LENGTH = 20


class PlanError(RankingError):
    """The training is asked for something that cannot be."""


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """Settings of one training.

    Attributes:
        train_cutoffs: first days of the months whose purchases are learned.
        validation_cutoff: first day of the month on which the best epoch is chosen.
        serving_cutoff: the candidates that go into the model are from before this day; no label is read there.
        timezone: of the shops, for the validation month.
        epochs: at most; training ends earlier when validation stops getting better.
        patience: epochs without a better validation before it ends.
        batch_rows: rows a worker and step, rounded to whole households.
        learning_rate: at the start; it falls to 0 along a cosine over `epochs`.
        layers: widths of the hidden layers.
        seed: of weights and order.
    """

    train_cutoffs: tuple[dt.date, ...]
    validation_cutoff: dt.date
    serving_cutoff: dt.date
    timezone: str
    epochs: int
    patience: int
    batch_rows: int
    learning_rate: float
    layers: tuple[int, ...]
    seed: int

    def __post_init__(self) -> None:
        self._check_months()
        for name in ("epochs", "patience", "batch_rows"):
            if getattr(self, name) < 1:
                raise PlanError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not self.learning_rate > 0:
            raise PlanError(f"learning rate must be above 0, not {self.learning_rate}")
        if any(width < 1 for width in self.layers):
            raise PlanError(f"layers {self.layers} must be positive widths")
        try:
            ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise PlanError(f"unknown time zone {self.timezone!r}: give for instance America/New_York") from error

    def _check_months(self) -> None:
        if not self.train_cutoffs or len(set(self.train_cutoffs)) != len(self.train_cutoffs):
            raise PlanError("--train-cutoffs must name at least one cutoff, each once")
        for cutoff in (*self.train_cutoffs, self.validation_cutoff, self.serving_cutoff):
            if cutoff.day != 1:
                raise PlanError(f"cutoff {cutoff} is no first day of a month: labels cover whole months")
        learned_to = next_month(max(self.train_cutoffs))
        if learned_to > self.validation_cutoff:
            raise PlanError(
                f"training cutoff {max(self.train_cutoffs)} has labels up to {learned_to}, which reach past the "
                f"validation cutoff {self.validation_cutoff}: choose earlier ones"
            )
        if next_month(self.validation_cutoff) > self.serving_cutoff:
            raise PlanError(
                f"serving cutoff {self.serving_cutoff} lies within the validation month from {self.validation_cutoff}: "
                "choose the month after it or a later one"
            )

    def parameters(self) -> dict[str, str]:
        """All settings as text, for MLflow."""
        values = {name: getattr(self, name) for name in (field.name for field in dataclasses.fields(self))}
        return {
            name: ",".join(str(item) for item in value) if isinstance(value, tuple) else str(value)
            for name, value in values.items()
        }

    def run_key(self, snapshots: Mapping[str, int], workers: int, identity: Mapping[str, str]) -> str:
        """Names what determines the result: settings, data, workers, and the code and run that ask for it.

        A repeated try of one run finds its checkpoints by it; another run starts afresh.
        """
        facts = {
            "plan": self.parameters(),
            "snapshots": dict(snapshots),
            "workers": workers,
            "identity": dict(identity),
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:20]
