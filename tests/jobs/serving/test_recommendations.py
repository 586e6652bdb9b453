"""Lists for households that are known, hardly known and unknown."""

from pathlib import Path

import numpy as np
import pytest

from include.jobs.ranking.model import RankerModel
from include.jobs.serving.recommendations import Recommender


@pytest.fixture(scope="module")
def recommender(model_folder: Path) -> Recommender:
    return Recommender(RankerModel.load(model_folder))


def test_own_products_come_first_then_popular_ones_that_are_not_its_own(recommender: Recommender) -> None:
    found = recommender.recommend(3, 6)
    assert found.products == [101, 102, 100, 200, 500, 600]
    assert found.personal == 3
    assert found.scores[3:] == [0.0, 0.0, 0.0]


def test_scores_fall_and_own_products_share_one(recommender: Recommender) -> None:
    found = recommender.recommend(9, 30)
    assert found.personal == 30
    assert found.products == list(range(329, 299, -1))
    assert found.scores == sorted(found.scores, reverse=True)
    assert sum(found.scores) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("household", [0, 5, 10, 2**62])
def test_an_unknown_household_gets_what_is_popular(recommender: Recommender, household: int) -> None:
    found = recommender.recommend(household, 4)
    assert (found.products, found.scores, found.personal) == ([200, 500, 101, 600], [0.0] * 4, 0)


@pytest.mark.parametrize("k", [1, 2, 20, 100])
def test_a_list_is_as_long_as_asked_and_names_nothing_twice(recommender: Recommender, k: int) -> None:
    for household in (3, 7, 9, 11):
        found = recommender.recommend(household, k)
        assert len(found.products) == len(set(found.products)) == len(found.scores) == k


def test_every_known_household_is_found(recommender: Recommender) -> None:
    np.testing.assert_array_equal(recommender.households, [3, 7, 9])
    assert all(recommender.recommend(int(household), 1).personal == 1 for household in recommender.households)
