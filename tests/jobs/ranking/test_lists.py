"""Lists and recall, against the plainest way to compute them."""

import datetime as dt

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from include.jobs.ranking.interactions import COLUMNS, Interactions
from include.jobs.ranking.lists import (
    EMPTY,
    Purchases,
    RankedLists,
    Recall,
    popular_products,
    rank,
    recall_at_k,
)

CUTOFF = dt.date(2017, 5, 1)
PAIRS = st.sets(st.tuples(st.integers(1, 6), st.integers(1, 12)), min_size=1, max_size=40)


def interactions(pairs: set[tuple[int, int]], **columns: list[float]) -> Interactions:
    ordered = sorted(pairs)
    values = {name: np.ones(len(ordered)) for name in COLUMNS} | {k: np.array(v, float) for k, v in columns.items()}
    households, products = (np.array(ids, np.int64) for ids in zip(*ordered, strict=True))
    return Interactions.sorted(CUTOFF, households, products, values, None)


def purchases(pairs: set[tuple[int, int]]) -> Purchases:
    ordered = sorted(pairs)
    return Purchases(np.array([h for h, _ in ordered], np.int64), np.array([p for _, p in ordered], np.int64))


@given(history=PAIRS, bought=PAIRS, k=st.integers(1, 6), seed=st.integers(0, 99))
def test_recall_is_what_counting_gives(
    history: set[tuple[int, int]], bought: set[tuple[int, int]], k: int, seed: int
) -> None:
    rows = interactions(history)
    scores = np.random.default_rng(seed).integers(0, 3, len(rows)).astype(float)
    popular = np.array([3, 1, 8, 40], np.int64)
    lists = rank(rows, scores, k, popular)

    total, households = 0.0, 0
    for place, household in enumerate(sorted({h for h, _ in history})):
        own = [(-score, p) for (h, p), score in zip(sorted(history), scores, strict=True) if h == household]
        expected = [p for _, p in sorted(own)][:k]
        expected += [p for p in popular.tolist() if p not in {q for _, q in own}][: k - len(expected)]
        assert lists.product_id[place].tolist() == expected + [EMPTY] * (k - len(expected))
        truth = {p for h, p in bought if h == household}
        if truth:
            total += len(truth & set(expected)) / min(k, len(truth))
            households += 1
    found = recall_at_k(lists, purchases(bought))
    assert found.households == households
    np.testing.assert_allclose(found.total, total)


def test_the_denominator_is_what_a_list_can_hold() -> None:
    lists = RankedLists(np.array([1]), np.array([[10, 11]]))
    assert recall_at_k(lists, purchases({(1, 10), (1, 11), (1, 12), (1, 13)})).value == 1.0


def test_a_household_without_history_is_not_counted() -> None:
    lists = RankedLists(np.array([1]), np.array([[10, 11]]))
    assert recall_at_k(lists, purchases({(1, 10), (2, 10)})) == Recall(1.0, 1)


def test_nobody_bought_anything() -> None:
    lists = RankedLists(np.array([1]), np.array([[10, 11]]))
    nothing = Purchases(np.zeros(0, np.int64), np.zeros(0, np.int64))
    assert recall_at_k(lists, nothing) == Recall(0.0, 0)
    assert Recall(0.0, 0).value == 0.0


def test_popular_products_are_those_of_the_last_90_days_and_ties_are_settled() -> None:
    rows = interactions({(1, 5), (1, 6), (1, 7), (1, 8)}, item_purchases_90=[2, 9, 2, 2], item_households=[1, 1, 3, 1])
    products, counts = popular_products(rows, 3)
    assert products.tolist() == [6, 7, 5]
    assert counts.tolist() == [9.0, 2.0, 2.0]
