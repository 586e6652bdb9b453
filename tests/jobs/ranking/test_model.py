"""A model's files: what was saved is what is read, and what is damaged is refused with a reason."""

import datetime as dt
import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from include.jobs.ranking.errors import ModelFormatError
from include.jobs.ranking.features import FEATURES, ProductHabits, design_matrix
from include.jobs.ranking.interactions import Interactions
from include.jobs.ranking.model import Candidates, Layer, Ranker, RankerModel, own_frequency
from tests.jobs.shoppers import Shop

CUTOFF, NEXT = dt.date(2017, 5, 1), dt.date(2017, 6, 1)


@pytest.fixture(scope="module")
def rows() -> Interactions:
    return Shop.open(households=30).interactions(CUTOFF, NEXT)


def network(seed: int = 1) -> Ranker:
    draw = np.random.default_rng(seed)
    widths = (len(FEATURES), 16, 8, 1)
    layers = tuple(
        Layer(draw.normal(size=(a, b)).astype(np.float32), draw.normal(size=b).astype(np.float32))
        for a, b in itertools.pairwise(widths)
    )
    return Ranker(FEATURES, np.zeros(widths[0], np.float32), np.ones(widths[0], np.float32), layers)


@pytest.fixture
def saved(rows: Interactions, tmp_path: Path) -> Path:
    ranker = network()
    RankerModel("network", ranker, CUTOFF, Candidates.of(ranker, rows, 10), {"seed": 4}).save(tmp_path)
    return tmp_path


def test_a_saved_model_scores_as_before(saved: Path, rows: Interactions) -> None:
    model = RankerModel.load(saved)
    habits = ProductHabits.of(rows)
    np.testing.assert_array_equal(model.ranker.score_rows(rows, habits), network().score_rows(rows, habits))
    assert (model.name, model.cutoff, model.facts["seed"]) == ("network", CUTOFF, 4)


def test_candidates_are_each_households_best(saved: Path, rows: Interactions) -> None:
    candidates = RankerModel.load(saved).candidates
    scores = network().score_rows(rows, ProductHabits.of(rows))
    for place, household in enumerate(candidates.household_id):
        mine = rows.household_id == household
        best = rows.product_id[mine][np.argsort(-scores[mine], kind="stable")][:10]
        kept = slice(candidates.offsets[place], candidates.offsets[place + 1])
        np.testing.assert_array_equal(candidates.product_id[kept], best)
        # BLAS sums in another order for another number of rows.
        np.testing.assert_allclose(
            network().score(candidates.inputs[kept]), np.sort(scores[mine])[::-1][:10], rtol=1e-5
        )


def test_scores_do_not_depend_on_what_else_is_scored(rows: Interactions) -> None:
    matrix = design_matrix(rows, ProductHabits.of(rows))
    np.testing.assert_allclose(network().score(matrix[5:9]), network().score(matrix)[5:9], rtol=1e-5)


def test_own_frequency_orders_by_purchases(rows: Interactions) -> None:
    scores = own_frequency().score_rows(rows, ProductHabits.of(rows))
    order = np.argsort(scores, kind="stable")
    assert (np.diff(rows.columns["purchases"][order]) >= 0).all()
    assert len(np.unique(scores)) == len(np.unique(rows.columns["purchases"]))


@pytest.mark.parametrize("name", ["model.json", "weights.npz", "candidates.npz"])
@pytest.mark.parametrize("harm", ["remove", "truncate", "garble"])
def test_a_damaged_file_is_refused(saved: Path, name: str, harm: str) -> None:
    path = saved / name
    if harm == "remove":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if harm == "truncate" else b"\0garbled")
    with pytest.raises(ModelFormatError, match="register it again"):
        RankerModel.load(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 99}, "format 99, this code reads 1"),
        ({"features": ["purchases"]}, "must be \\(1,\\)"),
        ({"features": ["luck", *FEATURES[1:]]}, "inputs that this code does not make: luck"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(saved: Path, change: dict[str, object], message: str) -> None:
    description = json.loads((saved / "model.json").read_text())
    (saved / "model.json").write_text(json.dumps(description | change))
    with pytest.raises(ModelFormatError, match=message):
        RankerModel.load(saved)


def test_layers_that_do_not_follow_one_another_are_refused() -> None:
    wrong = Layer(np.ones((3, 1), np.float32), np.zeros(1, np.float32))
    with pytest.raises(ModelFormatError, match="but 1 inputs"):
        Ranker(("purchases",), np.zeros(1, np.float32), np.ones(1, np.float32), (wrong,))
