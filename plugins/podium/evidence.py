"""Is the canary worse than the champion? A sequential test that may be looked at after every request.

Each *outcome* (a failed request, a slow one) is a share of an arm's requests. The canary may have a share of at most
the outcome's *floor*, or of at most the champion's at the same time, whichever is more. It is *worse* once both are
refuted:

* **The floor.** At a true share of at most f, and for odds w > 1, `w**x / (1 - f + f*w)**n` after n requests with x
  hits is a supermartingale: a request multiplies it by `(1 - p + p*w) / (1 - f + f*w)` on average, which is at most 1
  for p <= f.
* **The champion.** Requests are compared in blocks. When a block is full depends on how many requests each arm had,
  never on how they ended. If n requests of a block's N hit and the canary had a of the N, then with equal arms the
  hits x among the canary's are a draw without replacement, `h(x) = C(a, x) C(N - a, n - x) / C(N, n)`, whatever the
  shares are and however they move from block to block. So `w**x / sum(h(k) w**k)` has mean 1, and less where the
  canary is better: x is then smaller in the order of likelihood ratios and `w**x` grows. The products over blocks are a
  supermartingale without a share being known or estimated, and with any split of the traffic, as it is conditional on
  the split that was.
* **Alone.** A block without the champion (the last step has all traffic) cannot be compared at the same time. Then the
  champion's share is bounded from above by what it did in this rollout, by the first kind of test turned round, with a
  tenth of alpha. This supposes that its share would not have risen since. If it has had no request at all, the floor
  alone decides.

Evidence is the average over a few odds (Robbins' mixture), and over the steps in which the canary may have turned bad:
for each step the product from its beginning on, 1 before. Averages of nonnegative supermartingales that begin at 1 are
such again; by Ville's inequality one ever reaches 1/a with a chance of at most a. An outcome is refuted wrongly only if
the one of its two tests whose hypothesis is true is; the outcomes share alpha equally. So a canary that is no worse is
taken back with a chance of at most alpha in the whole rollout, however often one looks.

Sources: Robbins, "Statistical methods related to the law of the iterated logarithm", 1970 (the mixture); Lindon and
Malek, "Anytime-valid inference for multinomial count data", 2020, arXiv:2011.03567 (counts of several arms whose rates
move together); Lindon, Sanden and Shirikian, "Rapid regression detection in software deployments through sequential
testing", 2022, arXiv:2205.14762 (canaries); Fisher, "The logic of inductive inference", 1935 (the conditioning).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, NamedTuple

# How much worse a canary may be, as a ratio of odds: from half as much again to nearly always.
ODDS: Final = (1.5, 2.0, 4.0, 8.0, 16.0, 32.0, 128.0, 1024.0)
# A block is compared when each arm has so many requests, or the canary twice as many. Single requests would say little:
# two arms of one request each tell at most two to one.
BLOCK: Final = 4
# What of alpha goes into bounding the champion's share, for requests that it had no part in.
BOUND_PART: Final = 0.1


class Trials(NamedTuple):
    """Requests of one arm, and how many of them had the outcome."""

    requests: int = 0
    hits: int = 0

    def plus(self, other: "Trials") -> "Trials":
        """Both together."""
        return Trials(self.requests + other.requests, self.hits + other.hits)


NONE: Final = Trials()


def mixture(logs: Sequence[float], weights: Sequence[float] | None = None) -> float:
    """The average of exponentials, as its logarithm.

    :param weights: they sum to 1; default: all the same.
    """
    top = max(logs)
    parts = weights or [1 / len(logs)] * len(logs)
    return top + math.log(sum(part * math.exp(log - top) for part, log in zip(parts, logs, strict=True)))


def against_share(trials: Trials, share: float, odds: float) -> float:
    """Log of the likelihood ratio of `odds` times the odds of `share`, against `share`."""
    return trials.hits * math.log(odds) - trials.requests * math.log1p(share * (odds - 1))


def against_arm(canary: Trials, champion: Trials, odds: Sequence[float] = ODDS) -> list[float]:
    """Log of the likelihood ratio of each ratio of odds between the arms, against 1, given all hits of a block."""
    hits = canary.hits + champion.hits
    first, last = max(0, hits - champion.requests), min(hits, canary.requests)
    if first == last:
        return [0.0] * len(odds)
    ways = [_log_choose(canary.requests, k) + _log_choose(champion.requests, hits - k) for k in range(first, last + 1)]
    all_ways = _log_choose(canary.requests + champion.requests, hits)
    found = []
    for ratio in odds:
        log = math.log(ratio)
        terms = [way + k * log for k, way in enumerate(ways, first)]
        top = max(terms)
        norm = top + math.log(sum(math.exp(term - top) for term in terms)) - all_ways
        found.append(canary.hits * log - norm)
    return found


def upper_bound(trials: Trials, alpha: float) -> float:
    """What a share is below at all times, but for a chance of `alpha`; 1 without requests."""

    def refuted(share: float) -> bool:
        return mixture([against_share(trials, share, 1 / odds) for odds in ODDS]) >= -math.log(alpha)

    low, high = (trials.hits / trials.requests if trials.requests else 1.0), 1.0
    if not refuted(high):
        return 1.0
    while high - low > 1e-3 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if refuted(middle) else (middle, high)
    return high


@dataclass
class Process:
    """One test: its logs by odds, those at the beginning of each step, and whether it ever reached its threshold."""

    logs: list[float] = field(default_factory=lambda: [0.0] * len(ODDS))
    marks: list[list[float]] = field(default_factory=list)
    refuted: bool = False

    def multiply(self, logs: Sequence[float], steps: int, threshold: float) -> None:
        """Take new evidence in.

        :param threshold: as a logarithm.
        """
        self.logs = [old + new for old, new in zip(self.logs, logs, strict=True)]
        if self.refuted:
            return
        begun = [[now - then for now, then in zip(self.logs, mark, strict=True)] for mark in self.marks]
        # An average is at most its largest part, which is soon found: most looks end here.
        if max(map(max, begun), default=0.0) >= threshold:
            self.refuted = mixture([*map(mixture, begun), *[0.0] * (steps - len(begun))]) >= threshold


@dataclass
class Outcome:
    """What is known of one outcome.

    :param canary: in the block that is not full yet; `champion` likewise.
    :param canary_all: in all blocks before; `champion_all` likewise.
    """

    floor: Process = field(default_factory=Process)
    arm: Process = field(default_factory=Process)
    canary: Trials = NONE
    champion: Trials = NONE
    champion_all: Trials = NONE
    canary_all: Trials = NONE

    @property
    def worse(self) -> bool:
        """Whether neither the floor nor the champion excuses the canary."""
        return self.floor.refuted and self.arm.refuted

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Outcome":
        """The reverse of `dataclasses.asdict`, also by way of JSON."""
        trials = ("canary", "champion", "champion_all", "canary_all")
        return cls(Process(**data["floor"]), Process(**data["arm"]), **{name: Trials(*data[name]) for name in trials})


class Evidence:
    """The test of a whole rollout.

    :param floors: outcome -> the share that is admitted whatever the champion does, above 0 and below 1. More outcomes
        make each a little slower, and change nothing else.
    :param steps: how many the rollout has.
    :param alpha: chance that a canary which is no worse is taken back, in the whole rollout.
    """

    def __init__(self, floors: Mapping[str, float], steps: int, alpha: float) -> None:
        self.floors, self.steps, self.alpha = dict(floors), steps, alpha
        self.outcomes = {name: Outcome() for name in floors}
        self.threshold = math.log(len(floors) / (alpha * (1 - BOUND_PART)))

    def begin_step(self) -> None:
        """From here on the canary may have turned bad."""
        for outcome in self.outcomes.values():
            for process in (outcome.floor, outcome.arm):
                if len(process.marks) < self.steps:
                    process.marks.append(list(process.logs))

    def add(self, canary: Mapping[str, Trials], champion: Mapping[str, Trials], *, alone: bool = False) -> str | None:
        """Take in what both did since the last time.

        :param canary: by outcome.
        :param champion: by outcome, over the same stretch of time.
        :param alone: the canary has all traffic.
        :returns: the first outcome for which the canary is worse; None while there is none.
        """
        for name, outcome in self.outcomes.items():
            outcome.canary = outcome.canary.plus(canary[name])
            outcome.champion = outcome.champion.plus(NONE if alone else champion[name])
            if alone or _is_full(outcome.canary.requests, outcome.champion.requests):
                self._close(outcome, self.floors[name])
        return self.worse()

    def end_step(self) -> str | None:
        """Compare what has not filled a block, since the split is about to change."""
        for name, outcome in self.outcomes.items():
            if outcome.champion.requests:
                self._close(outcome, self.floors[name])
        return self.worse()

    def worse(self) -> str | None:
        """The first outcome for which the canary is worse."""
        return next((name for name, outcome in self.outcomes.items() if outcome.worse), None)

    def _close(self, outcome: Outcome, floor: float) -> None:
        canary, champion = outcome.canary, outcome.champion
        outcome.canary, outcome.champion = NONE, NONE
        outcome.floor.multiply([against_share(canary, floor, odds) for odds in ODDS], self.steps, self.threshold)
        outcome.canary_all = outcome.canary_all.plus(canary)
        if champion.requests:
            outcome.arm.multiply(against_arm(canary, champion), self.steps, self.threshold)
            outcome.champion_all = outcome.champion_all.plus(champion)
            return
        if outcome.champion_all.requests:
            bound = upper_bound(outcome.champion_all, self.alpha * BOUND_PART / len(self.floors))
        else:
            bound = floor
        outcome.arm.multiply([against_share(canary, bound, odds) for odds in ODDS], self.steps, self.threshold)

    def to_json(self) -> dict[str, Any]:
        """What was learned, as plain JSON; floors, steps and alpha are the settings'."""
        return {name: asdict(outcome) for name, outcome in self.outcomes.items()}

    def learned(self, data: Mapping[str, Any]) -> None:
        """Go on from what `to_json` gave; an outcome that is not in it begins anew."""
        for name in self.outcomes.keys() & data.keys():
            self.outcomes[name] = Outcome.from_json(data[name])


def _is_full(canary: int, champion: int) -> bool:
    return min(canary, champion) >= BLOCK or canary >= 2 * BLOCK


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
