"""Shards: together they are all rows, alone they are what one worker needs."""

import numpy as np
import pytest

from include.jobs.ranking.features import ProductHabits, design_matrix
from include.jobs.ranking.interactions import Interactions
from include.jobs.ranking.lists import Purchases
from include.jobs.recommender.dataset import ShardBuilder, TooFewHouseholdsError, TrainingShard, ValidationShard


def shards(months: list[Interactions], workers: int) -> list[TrainingShard]:
    builders = [ShardBuilder(worker, workers) for worker in range(workers)]
    for builder in builders:
        for rows in months:
            builder.add(rows)
    return [builder.build() for builder in builders]


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_shards_are_all_households_that_bought_again_each_once(months: list[Interactions], workers: int) -> None:
    found = shards(months, workers)
    expected = []
    for rows in months:
        assert rows.label is not None
        matrix = design_matrix(rows, ProductHabits.of(rows))
        for household in rows.households:
            mine = rows.household_id == household
            if rows.label[mine].any():
                expected.append(matrix[mine].tobytes() + rows.label[mine].astype(np.float32).tobytes())
    got = [
        shard.inputs[low:high].tobytes() + shard.bought[low:high].tobytes()
        for shard in found
        for low, high in zip(shard.offsets, shard.offsets[1:], strict=False)
    ]
    assert sorted(got) == sorted(expected)
    sizes = [len(shard.offsets) - 1 for shard in found]
    assert max(sizes) - min(sizes) <= 1
    assert {(shard.all_groups, shard.all_rows) for shard in found} == {
        (len(expected), sum(len(shard.bought) for shard in found))
    }


@pytest.mark.parametrize("batch_rows", [1, 60, 10**9])
def test_all_workers_take_the_same_number_of_steps(months: list[Interactions], batch_rows: int) -> None:
    found = shards(months, 3)
    per_step = {shard.households_per_step(batch_rows, 3) for shard in found}
    assert len(per_step) == 1
    size = per_step.pop()
    counts = {len(list(shard.batches(size, shard.steps(size, 3), np.random.default_rng(0)))) for shard in found}
    assert len(counts) == 1
    assert counts.pop() >= 1


def test_a_batch_holds_whole_households_of_the_shard(months: list[Interactions]) -> None:
    (shard,) = shards(months, 1)
    whole = {shard.inputs[low:high].tobytes() for low, high in zip(shard.offsets, shard.offsets[1:], strict=False)}
    seen = 0
    for batch in shard.batches(5, shard.steps(5, 1), np.random.default_rng(0)):
        assert batch.household.tolist() == sorted(batch.household.tolist())
        assert set(batch.household.tolist()) == set(range(5))
        for household in range(5):
            mine = batch.household == household
            assert batch.inputs[mine].tobytes() in whole
            assert batch.bought[mine].any()
            seen += 1
    assert seen == shard.all_groups // 5 * 5


def test_the_same_seed_gives_the_same_order_and_another_another(months: list[Interactions]) -> None:
    (shard,) = shards(months, 1)
    first, again, other = (
        b"".join(batch.inputs.tobytes() for batch in shard.batches(4, 6, np.random.default_rng(seed)))
        for seed in (1, 1, 2)
    )
    assert first == again != other


def test_moments_add_up_to_those_of_all_rows(months: list[Interactions]) -> None:
    (whole,) = shards(months, 1)
    parts = [shard.moments() for shard in shards(months, 2)]
    for number in (0, 1):
        np.testing.assert_allclose(parts[0][number] + parts[1][number], whole.moments()[number])  # type: ignore[operator]
    assert parts[0][2] + parts[1][2] == whole.moments()[2] == len(whole.inputs)


def test_more_workers_than_households_is_an_error(months: list[Interactions]) -> None:
    builder = ShardBuilder(0, 1000)
    builder.add(months[0])
    with pytest.raises(TooFewHouseholdsError, match="too few for 1000 workers"):
        builder.build()


def test_validation_shards_are_the_households_that_bought_each_once(june: tuple[Interactions, Purchases]) -> None:
    rows, bought = june
    parts = [ValidationShard.of(rows, bought, worker, 3, 20) for worker in range(3)]
    together = np.concatenate([part.rows.households for part in parts])
    np.testing.assert_array_equal(np.sort(together), np.intersect1d(rows.households, bought.household_id))
    assert sum(len(part.purchases.household_id) for part in parts) == len(bought.of(together).household_id)
    matrix = design_matrix(rows, ProductHabits.of(rows))
    for part in parts:
        np.testing.assert_array_equal(part.inputs, matrix[np.isin(rows.household_id, part.rows.households)])
