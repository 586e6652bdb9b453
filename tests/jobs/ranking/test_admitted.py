"""Everything that the contract of transactions admits can be learned from, ranked and judged."""

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from hypothesis import given, settings

from include.jobs.ranking.features import ProductHabits, design_matrix
from include.jobs.ranking.lists import EMPTY, Purchases, popular_products, rank, recall_at_k
from include.jobs.ranking.model import Candidates, own_frequency
from tests.jobs.admitted import shops
from tests.jobs.shoppers import Shop

NEW_YORK = ZoneInfo("America/New_York")


def shop_of(rows: list[dict[str, Any]]) -> Shop:
    columns = [np.array([row[name] for row in rows], np.int64) for name in ("household_id", "basket_id", "product_id")]
    days = [row["transaction_timestamp"].astimezone(NEW_YORK).date() for row in rows]
    return Shop(*columns, np.array(days, "datetime64[D]"))


@settings(max_examples=40, deadline=None)
@given(shops)
def test_any_shop_has_finite_inputs_and_lists(rows: list[dict[str, Any]]) -> None:
    shop = shop_of(rows)
    last = shop.day.max().astype(dt.date)
    cutoff = (last.replace(day=1) + dt.timedelta(days=32)).replace(day=1)
    found = shop.interactions(cutoff, cutoff + dt.timedelta(days=31))
    for name, most in (("quantity", 1_000_000), ("spend", 100_000.0)):
        found.columns[name][:] *= most
    matrix = design_matrix(found, ProductHabits.of(found))
    assert np.isfinite(matrix).all()
    ranker = own_frequency()
    scores = ranker.score_rows(found, ProductHabits.of(found))
    assert np.isfinite(scores).all()
    candidates = Candidates.of(ranker, found)
    assert set(candidates.household_id) == set(found.households)
    lists = rank(found, scores, 20, popular_products(found, 40)[0])
    assert ((lists.product_id == EMPTY) | np.isin(lists.product_id, found.product_id)).all()
    recall = recall_at_k(lists, Purchases(found.household_id, found.product_id)).value
    assert 0 <= recall <= 1
