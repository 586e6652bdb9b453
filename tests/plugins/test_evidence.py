"""The sequential test: its arithmetic against other libraries', its error and its speed by simulation."""

import json
import math
from functools import cache
from statistics import median

import numpy as np
import pytest
import yaml
from podium.evidence import Evidence, Trials, against_arm, against_share, mixture, upper_bound
from podium.rollout import Limits
from scipy import special, stats

from include.config.pipeline import Rollout
from include.config.settings import CONFIG_DIR

ODDS = (1.5, 4.0, 100.0)


@pytest.mark.parametrize(("share", "requests", "hits"), [(0.1, 50, 9), (0.01, 400, 11), (0.5, 20, 10), (0.05, 60, 0)])
def test_the_mixture_is_the_published_one(share: float, requests: int, hits: int) -> None:
    # Lindon and Malek's Bayes factor with a Dirichlet prior around the null, in closed form, for two categories; the
    # same prior as points and weights is a mixture over odds.
    prior = 100 * np.array([share, 1 - share])
    counts = np.array([hits, requests - hits])
    log_beta = [special.betaln(*prior), special.betaln(*(prior + counts))]
    published = log_beta[1] - log_beta[0] - special.xlogy(counts, [share, 1 - share]).sum()
    nodes, weights = special.roots_sh_jacobi(200, sum(prior) - 1, prior[0])
    logs = [against_share(Trials(requests, hits), share, node / (1 - node) * (1 - share) / share) for node in nodes]
    assert mixture(logs, list(weights / weights.sum())) == pytest.approx(published, abs=1e-6)


@pytest.mark.parametrize(
    ("canary", "champion"), [((4, 3), (36, 1)), ((50, 0), (50, 2)), ((8, 8), (1, 0)), ((9, 0), (9, 0))]
)
def test_arms_are_compared_as_fishers_exact_test_does(canary: tuple[int, int], champion: tuple[int, int]) -> None:
    total, hits = canary[0] + champion[0], canary[1] + champion[1]
    null = stats.hypergeom(total, hits, canary[0]).logpmf(canary[1])
    expected = [stats.nchypergeom_fisher(total, hits, canary[0], odds).logpmf(canary[1]) - null for odds in ODDS]
    assert against_arm(Trials(*canary), Trials(*champion), ODDS) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("canary", "champion", "hits"), [(4, 36, 5), (20, 20, 20), (8, 1, 3)])
def test_of_equal_arms_nothing_is_to_be_won(canary: int, champion: int, hits: int) -> None:
    known = stats.hypergeom(canary + champion, hits, canary)
    won = [0.0] * len(ODDS)
    for k in range(max(0, hits - champion), min(hits, canary) + 1):
        logs = against_arm(Trials(canary, k), Trials(champion, hits - k), ODDS)
        won = [sum_ + known.pmf(k) * math.exp(log) for sum_, log in zip(won, logs, strict=True)]
    assert won == pytest.approx([1.0] * len(ODDS))


def test_the_bound_is_above_the_share_at_all_times() -> None:
    wrong = 0
    for seed in range(300):
        hits = np.random.default_rng(seed).binomial(20, 0.02, 40).cumsum()
        wrong += any(upper_bound(Trials(20 * (n + 1), int(x)), 0.1) < 0.02 for n, x in enumerate(hits))
    assert wrong <= 30
    assert upper_bound(Trials(), 0.01) == 1.0
    assert 0 < upper_bound(Trials(10_000, 0), 0.01) < 0.002


ENVIRONMENTS = ("local", "prod")


@cache
def rollout_settings(environment: str) -> Rollout:
    # As the file has them: tests beside this one have others in their environment.
    return Rollout(**yaml.safe_load((CONFIG_DIR / f"{environment}.yaml").read_text())["rollout"])


def rollout_of(environment: str) -> tuple[list[int], Evidence]:
    settings = rollout_settings(environment)
    return [step.traffic_percent for step in settings.steps], limits(settings).evidence(len(settings.steps))


def limits(rollout: Rollout) -> Limits:
    return Limits(rollout.max_error_rate, rollout.max_p99_ms, rollout.min_requests, rollout.alpha)


def simulate(
    environment: str,
    outcome: str,
    canary: float,
    champion: float,
    *,
    seed: int,
    requests: int,
    looks: int,
    shares: list[int] | None = None,
) -> tuple[int | None, Trials]:
    """One rollout.

    :param requests: of both arms, between two looks.
    :param looks: in each step.
    :returns: the share at which the canary was taken back, and what it had done by then.
    """
    steps, evidence = rollout_of(environment)
    rng, done = np.random.default_rng(seed), Trials()
    nothing = dict.fromkeys(evidence.floors, Trials())
    for share in shares or steps:
        evidence.begin_step()
        arm = rng.binomial(requests, share / 100, looks)
        hits, others = rng.binomial(arm, canary), rng.binomial(requests - arm, champion)
        for n, x, y in zip(arm.tolist(), hits.tolist(), others.tolist(), strict=True):
            done = done.plus(Trials(n, x))
            seen = evidence.add(
                nothing | {outcome: Trials(n, x)}, nothing | {outcome: Trials(requests - n, y)}, alone=share == 100
            )
            if seen:
                return share, done
        if evidence.end_step():
            return share, done
    return None, done


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize("rate", [0.0, 0.005, 0.02])
def test_of_equal_canaries_at_most_one_in_a_hundred_is_taken_back(environment: str, rate: float) -> None:
    taken = [simulate(environment, "failed", rate, rate, seed=n, requests=150, looks=6)[0] for n in range(2000)]
    assert sum(share is not None for share in taken) <= 20


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_a_canary_at_half_of_what_is_admitted_is_kept(environment: str) -> None:
    taken = [simulate(environment, "failed", 0.00025, 0.0, seed=n, requests=400, looks=6)[0] for n in range(500)]
    assert sum(share is not None for share in taken) <= 5


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize(("champion", "most"), [(0.0, 200), (0.0002, 250)])
def test_errors_of_two_per_cent_are_found_within_200_requests_and_8_failures(
    environment: str, champion: float, most: int
) -> None:
    found = [simulate(environment, "failed", 0.02, champion, seed=n, requests=20, looks=4000) for n in range(200)]
    steps, _ = rollout_of(environment)
    assert {share for share, _ in found} == {steps[0]}
    assert median(done.requests for _, done in found) <= most
    assert median(done.hits for _, done in found) <= 8


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize(("outcome", "most"), [("failed", 10), ("refused", 10), ("slow", 15)])
def test_a_canary_that_does_all_wrong_is_found_in_the_first_step(environment: str, outcome: str, most: int) -> None:
    for seed in range(200):
        steps, _ = rollout_of(environment)
        share, done = simulate(environment, outcome, 1.0, 0.001, seed=seed, requests=10, looks=400)
        assert share == steps[0]
        # A look of ten requests may hold up to this many of the canary's.
        assert done.requests <= most + 5


def test_a_canary_that_turns_bad_in_a_later_step_is_found_as_soon() -> None:
    _, evidence = rollout_of("prod")
    good, nothing = Trials(20_000, 0), Trials()
    quiet = dict.fromkeys(evidence.floors, nothing)
    for share in (5, 25):
        evidence.begin_step()
        champion = Trials(good.requests * (100 - share) // share, 0)
        assert evidence.add(quiet | {"failed": good}, quiet | {"failed": champion}) is None
    evidence.begin_step()
    looks = 0
    while evidence.add(quiet | {"failed": Trials(1, 1)}, quiet | {"failed": Trials(1, 0)}) is None:
        looks += 1
        assert looks < 20


def test_another_outcome_can_be_added_and_what_was_learned_stays() -> None:
    first = Evidence({"failed": 0.001}, 2, 0.01)
    first.begin_step()
    first.add({"failed": Trials(40, 2)}, {"failed": Trials(400, 0)})
    later = Evidence({"failed": 0.001, "nonsense": 0.001}, 2, 0.01)
    later.learned(json.loads(json.dumps(first.to_json())))
    later.begin_step()
    assert later.outcomes["failed"].canary_all == Trials(40, 2)
    both = {"failed": Trials(10, 0), "nonsense": Trials(10, 10)}
    assert later.add(both, {"failed": Trials(90, 0), "nonsense": Trials(90, 0)}) == "nonsense"
