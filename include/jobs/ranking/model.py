"""A ranker's files and its forward pass, in NumPy: shared by trained networks and baselines.

A folder with three files:
- `model.json`: kind, format, name, inputs, cutoff of the candidates, anything about its making;
- `weights.npz`: `mean`, `scale` (F,) and, per layer i, `kernel_i` (in, out) and `bias_i` (out,);
- `candidates.npz`: per household its own best products at the cutoff with their inputs, and the popular products.
"""

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from zipfile import BadZipFile

import numpy as np

from include.jobs.ranking.errors import ModelFormatError
from include.jobs.ranking.features import FEATURES, Matrix, ProductHabits, design_matrix
from include.jobs.ranking.interactions import Floats, Interactions, Ints
from include.jobs.ranking.lists import popular_products

#: What `model.json` calls a model like this one.
KIND = "ranker"
FORMAT = 1
#: Standardised inputs are clipped to this many standard deviations: no household is that unlike the others.
CLIP = 5.0
#: Products of its own that are kept for a household; far more than anybody asks for.
CANDIDATES_PER_HOUSEHOLD = 100
#: Length of the list of popular products.
POPULAR = 200


@dataclass(frozen=True, slots=True)
class Layer:
    """A dense layer: `kernel` (in, out), `bias` (out,)."""

    kernel: Matrix
    bias: Matrix


@dataclass(frozen=True, slots=True)
class Ranker:
    """Scores products: standardise, dense layers with ReLU between them, one output.

    Attributes:
        features: (F,) names of inputs, a part of `FEATURES`.
        mean, scale: (F,) standardisation.
        layers: the last one has a single output.
    """

    features: tuple[str, ...]
    mean: Matrix
    scale: Matrix
    layers: tuple[Layer, ...]

    def __post_init__(self) -> None:
        width = len(self.features)
        if unknown := [name for name in self.features if name not in FEATURES]:
            raise ModelFormatError(f"the model wants inputs that this code does not make: {', '.join(unknown)}")
        if self.mean.shape != (width,) or self.scale.shape != (width,):
            raise ModelFormatError(f"mean {self.mean.shape} and scale {self.scale.shape} must be ({width},)")
        for number, layer in enumerate(self.layers):
            if layer.kernel.ndim != 2 or layer.kernel.shape[0] != width or layer.bias.shape != layer.kernel.shape[1:]:
                raise ModelFormatError(
                    f"layer {number} has kernel {layer.kernel.shape} and bias {layer.bias.shape}, but {width} inputs"
                )
            width = layer.kernel.shape[1]
        if not self.layers or width != 1:
            raise ModelFormatError(f"the last layer must have one output, not {width}")

    def select(self, matrix: Matrix) -> Matrix:
        """The model's own columns of a design matrix, (N, F)."""
        if self.features == FEATURES:
            return matrix
        return matrix[:, [FEATURES.index(name) for name in self.features]]

    def standardise(self, inputs: Matrix) -> Matrix:
        """Inputs (N, F) as the first layer sees them."""
        standardised: Matrix = np.clip((inputs - self.mean) / self.scale, -CLIP, CLIP).astype(np.float32)
        return standardised

    def score(self, inputs: Matrix) -> Matrix:
        """(N,) scores of inputs (N, F); only their order within a household means something."""
        values = self.standardise(inputs)
        for layer in self.layers[:-1]:
            values = np.maximum(values @ layer.kernel + layer.bias, 0.0)
        scores: Matrix = (values @ self.layers[-1].kernel + self.layers[-1].bias)[:, 0]
        return scores

    def score_rows(self, rows: Interactions, habits: ProductHabits) -> Floats:
        """(N,) scores of rows of a cutoff; the habits come from all rows of that cutoff."""
        scores = [self.score(self.select(design_matrix(part, habits))) for part in rows.parts()]
        return np.concatenate(scores).astype(np.float64) if scores else np.zeros(0)


def own_frequency() -> Ranker:
    """The baseline "what a household bought most often", as a linear layer on `purchases`."""
    return Ranker(
        features=("purchases",),
        mean=np.zeros(1, np.float32),
        # Wide enough that no count of purchases reaches the clip.
        scale=np.full(1, 100.0, np.float32),
        layers=(Layer(np.ones((1, 1), np.float32), np.zeros(1, np.float32)),),
    )


@dataclass(frozen=True, slots=True)
class Candidates:
    """What may be recommended to H known households (C products in all), and to anybody.

    Attributes:
        household_id: (H,), ascending.
        offsets: (H + 1,); household i owns rows offsets[i]:offsets[i + 1].
        product_id: (C,) the household's own products.
        inputs: (C, F) the model's inputs, not standardised.
        popular_product_id: (P,) by falling purchases.
        popular_purchases: (P,) purchases in the 90 days before the cutoff.
    """

    household_id: Ints
    offsets: Ints
    product_id: Ints
    inputs: Matrix
    popular_product_id: Ints
    popular_purchases: Floats

    @classmethod
    def of(cls, ranker: Ranker, rows: Interactions, per_household: int = CANDIDATES_PER_HOUSEHOLD) -> Self:
        """The best products of each household by the ranker's score, with their inputs."""
        habits = ProductHabits.of(rows)
        households: list[Ints] = []
        counts: list[Ints] = []
        products: list[Ints] = []
        inputs: list[Matrix] = []
        for mine in rows.parts():
            matrix = ranker.select(design_matrix(mine, habits))
            order = np.lexsort((mine.product_id, -ranker.score(matrix), mine.household_id))
            kept = order[np.arange(len(mine)) - mine.starts[mine.segments] < per_household]
            households.append(mine.households)
            counts.append(np.minimum(np.bincount(mine.segments, minlength=len(mine.starts)), per_household))
            products.append(mine.product_id[kept])
            inputs.append(matrix[kept])
        popular, purchases = popular_products(rows, POPULAR)
        return cls(
            household_id=np.concatenate(households),
            offsets=np.concatenate([[0], np.cumsum(np.concatenate(counts))]).astype(np.int64),
            product_id=np.concatenate(products),
            inputs=np.concatenate(inputs),
            popular_product_id=popular,
            popular_purchases=purchases,
        )


@dataclass(frozen=True, slots=True)
class RankerModel:
    """A ranker, its candidates at a cutoff, and facts about its making."""

    name: str
    ranker: Ranker
    cutoff: dt.date
    candidates: Candidates
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def feature_view(self) -> str | None:
        """The published view of the features that the candidates are from; None of a model that does not tell."""
        return self.facts.get("feature_view")

    def save(self, folder: Path) -> None:
        """Write the three files into an existing folder."""
        weights: dict[str, Any] = {"mean": self.ranker.mean, "scale": self.ranker.scale}
        for number, layer in enumerate(self.ranker.layers):
            weights |= {f"kernel_{number}": layer.kernel, f"bias_{number}": layer.bias}
        np.savez(folder / "weights.npz", **weights)
        candidates = self.candidates
        np.savez(
            folder / "candidates.npz",
            household_id=candidates.household_id,
            offsets=candidates.offsets,
            product_id=candidates.product_id,
            inputs=candidates.inputs,
            popular_product_id=candidates.popular_product_id,
            popular_purchases=candidates.popular_purchases,
        )
        description = {
            "kind": KIND,
            "format": FORMAT,
            "name": self.name,
            "features": list(self.ranker.features),
            "layers": [list(layer.kernel.shape) for layer in self.ranker.layers],
            "cutoff": self.cutoff.isoformat(),
            "households": len(candidates.household_id),
            "facts": dict(self.facts),
        }
        (folder / "model.json").write_text(json.dumps(description, indent=2, sort_keys=True) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read and check the three files.

        Raises:
            ModelFormatError: a file is missing or damaged, or they do not fit together.
        """
        try:
            description = json.loads((folder / "model.json").read_text(encoding="utf-8"))
            if description.get("format") != FORMAT:
                raise ModelFormatError(
                    f"model in {folder} has format {description.get('format')!r}, this code reads {FORMAT}: "
                    "use the image that the model was made with"
                )
            weights = _arrays(folder / "weights.npz")
            stored = _arrays(folder / "candidates.npz")
            ranker = Ranker(
                features=tuple(description["features"]),
                mean=weights["mean"],
                scale=weights["scale"],
                layers=tuple(
                    Layer(weights[f"kernel_{number}"], weights[f"bias_{number}"])
                    for number in range(len(description["layers"]))
                ),
            )
            candidates = Candidates(**stored)
            model = cls(
                name=description["name"],
                ranker=ranker,
                cutoff=dt.date.fromisoformat(description["cutoff"]),
                candidates=candidates,
                facts=description["facts"],
            )
        except (OSError, KeyError, TypeError, ValueError, BadZipFile) as error:
            raise ModelFormatError(
                f"model in {folder} cannot be read ({type(error).__name__}: {error}): train and register it again"
            ) from error
        model._check(folder)
        return model

    def _check(self, folder: Path) -> None:
        candidates = self.candidates
        rows = len(candidates.product_id)
        if (
            candidates.inputs.shape != (rows, len(self.ranker.features))
            or len(candidates.offsets) != len(candidates.household_id) + 1
            or candidates.offsets[-1] != rows
        ):
            raise ModelFormatError(f"candidates of the model in {folder} do not fit together: register it again")


def _arrays(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}
