"""The loss by hand, the export, the state."""

import numpy as np
import pytest

from include.jobs.ranking.features import FEATURES
from include.jobs.recommender.network import Network, listwise_loss
from include.jobs.recommender.workers import tf

ZERO, ONE = np.zeros(len(FEATURES), np.float32), np.ones(len(FEATURES), np.float32)


def loss(scores: list[float], bought: list[float], household: list[int]) -> float:
    return float(listwise_loss(tf.constant(scores), tf.constant(bought), tf.constant(household)))


def test_loss_of_one_household_is_the_cross_entropy_of_its_softmax() -> None:
    scores, bought = np.array([1.0, 2.0, 0.5]), np.array([0.0, 1.0, 1.0])
    shares = np.exp(scores) / np.exp(scores).sum()
    expected = -(np.log(shares[1]) + np.log(shares[2])) / 2
    assert loss(scores.tolist(), bought.tolist(), [0, 0, 0]) == pytest.approx(expected, rel=1e-6)


def test_households_count_alike_however_many_products_they_have() -> None:
    one = loss([1.0, 2.0], [0.0, 1.0], [0, 0])
    other = loss([0.1, 0.2, 0.3, 4.0], [1.0, 0.0, 0.0, 1.0], [0, 0, 0, 0])
    both = loss([1.0, 2.0, 0.1, 0.2, 0.3, 4.0], [0.0, 1.0, 1.0, 0.0, 0.0, 1.0], [0, 0, 1, 1, 1, 1])
    assert both == pytest.approx((one + other) / 2, rel=1e-6)


def test_past_twenty_purchases_each_counts_for_a_twentieth() -> None:
    assert loss([0.0] * 40, [1.0] * 40, [0] * 40) == pytest.approx(40 * np.log(40) / 20, rel=1e-6)


def test_loss_does_not_mind_large_scores_or_their_level() -> None:
    assert loss([1e4, 1e4 + 1], [0.0, 1.0], [0, 0]) == pytest.approx(loss([0.0, 1.0], [0.0, 1.0], [0, 0]), rel=1e-3)


def test_the_export_scores_as_the_network_does() -> None:
    network = Network((16, 8), 0.01, 10)
    inputs = np.random.default_rng(0).normal(size=(500, len(FEATURES))).astype(np.float32)
    ranker = network.ranker(ZERO, ONE)
    np.testing.assert_allclose(ranker.score(inputs), network.scores(ranker.standardise(inputs)), atol=1e-5)


def test_training_goes_on_from_a_restored_state_as_if_nothing_had_been() -> None:
    draw = np.random.default_rng(0)
    batches = [
        (draw.normal(size=(40, len(FEATURES))).astype(np.float32), draw.integers(0, 2, 40).astype(np.float32))
        for _ in range(6)
    ]
    household = np.repeat(np.arange(4, dtype=np.int32), 10)

    def train(network: Network, part: list[tuple[np.ndarray, np.ndarray]]) -> list[np.ndarray]:
        step = network.training_step(lambda gradients: gradients)
        for inputs, bought in part:
            step(inputs, bought, household)
        return network.state()

    tf.keras.utils.set_random_seed(1)
    unbroken = Network((8,), 0.05, 6)
    start = unbroken.state()
    expected = train(unbroken, batches)

    first = Network((8,), 0.05, 6)
    first.restore(start)
    half = train(first, batches[:3])
    second = Network((8,), 0.05, 6)
    second.restore(half)
    for value, wanted in zip(train(second, batches[3:]), expected, strict=True):
        np.testing.assert_array_equal(value, wanted)
