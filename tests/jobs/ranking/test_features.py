"""The inputs depend on a household's own history and on all households' habits, and on nothing else."""

import datetime as dt
import itertools

import numpy as np
import pytest

from include.jobs.ranking.errors import RankingError
from include.jobs.ranking.features import FEATURES, ProductHabits, design_matrix
from include.jobs.ranking.interactions import COLUMNS, Interactions
from tests.jobs.shoppers import Shop

CUTOFF, NEXT = dt.date(2017, 5, 1), dt.date(2017, 6, 1)


@pytest.fixture(scope="module")
def rows() -> Interactions:
    return Shop.open().interactions(CUTOFF, NEXT)


def test_every_input_of_every_row_is_a_finite_number(rows: Interactions) -> None:
    matrix = design_matrix(rows, ProductHabits.of(rows))
    assert matrix.shape == (len(rows), len(FEATURES))
    assert np.isfinite(matrix).all()


def test_no_input_is_the_same_for_all(rows: Interactions) -> None:
    spread = design_matrix(rows, ProductHabits.of(rows)).std(axis=0)
    assert [name for name, value in zip(FEATURES, spread, strict=True) if value == 0] == []


def test_some_households_get_the_inputs_that_they_get_among_all(rows: Interactions) -> None:
    habits = ProductHabits.of(rows)
    some = rows.households[5:20]
    alone = design_matrix(rows.of(some), habits)
    np.testing.assert_array_equal(alone, design_matrix(rows, habits)[np.isin(rows.household_id, some)])


def test_the_order_of_a_tables_rows_does_not_matter(rows: Interactions) -> None:
    order = np.random.default_rng(1).permutation(len(rows))
    assert rows.label is not None
    shuffled = Interactions.sorted(
        CUTOFF,
        rows.household_id[order],
        rows.product_id[order],
        {name: values[order] for name, values in rows.columns.items()},
        rows.label[order],
    )
    np.testing.assert_array_equal(shuffled.product_id, rows.product_id)
    expected = design_matrix(rows, ProductHabits.of(rows))
    np.testing.assert_array_equal(design_matrix(shuffled, ProductHabits.of(shuffled)), expected)


def test_ranks_count_from_the_largest_within_a_household(rows: Interactions) -> None:
    matrix = design_matrix(rows, ProductHabits.of(rows))
    places = np.round(np.expm1(matrix[:, FEATURES.index("rank_decay_90")])).astype(int)
    for household in rows.households:
        mine = rows.household_id == household
        by_place = rows.columns["decay_90"][mine][np.argsort(places[mine])]
        assert sorted(places[mine]) == list(range(mine.sum()))
        assert (np.diff(by_place) <= 0).all()


def test_no_households_no_inputs(rows: Interactions) -> None:
    nobody = rows.of(np.zeros(0, np.int64))
    assert design_matrix(nobody, ProductHabits.of(rows)).shape == (0, len(FEATURES))


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_parts_are_the_rows_in_order_with_households_whole(rows: Interactions, size: int) -> None:
    parts = list(rows.parts(size))
    np.testing.assert_array_equal(np.concatenate([part.product_id for part in parts]), rows.product_id)
    ends = [(int(part.household_id[0]), int(part.household_id[-1])) for part in parts]
    assert all(before[1] < after[0] for before, after in itertools.pairwise(ends))


def test_a_pair_that_occurs_twice_is_refused() -> None:
    columns = {name: np.ones(2) for name in COLUMNS}
    with pytest.raises(RankingError, match="household 4, product 9 twice"):
        Interactions.sorted(CUTOFF, np.array([4, 4]), np.array([9, 9]), columns, None)


def test_a_missing_column_is_named() -> None:
    columns = {name: np.ones(1) for name in COLUMNS if name != "decay_90"}
    with pytest.raises(RankingError, match="lack the columns decay_90"):
        Interactions.sorted(CUTOFF, np.array([4]), np.array([9]), columns, None)
