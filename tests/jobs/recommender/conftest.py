"""A made-up shop's training and validation months."""

import datetime as dt
import itertools

import numpy as np
import pytest

from include.jobs.ranking.interactions import Interactions
from include.jobs.ranking.lists import Purchases
from tests.jobs.model_platform import platform
from tests.jobs.shoppers import Shop

__all__ = ["platform"]


@pytest.fixture(scope="session")
def shop() -> Shop:
    return Shop.open(households=40)


@pytest.fixture(scope="session")
def months(shop: Shop) -> list[Interactions]:
    """Cutoffs of April and May, with labels."""
    firsts = [dt.date(2017, month, 1) for month in (4, 5, 6)]
    return [shop.interactions(first, after) for first, after in itertools.pairwise(firsts)]


@pytest.fixture(scope="session")
def june(shop: Shop) -> tuple[Interactions, Purchases]:
    """The cutoff of June, and what was bought in it."""
    first, after = dt.date(2017, 6, 1), dt.date(2017, 7, 1)
    bought = shop.between(first, after)
    pairs = np.unique(np.stack([bought.household, bought.product], axis=1), axis=0)
    return shop.interactions(first, after), Purchases(pairs[:, 0], pairs[:, 1])
