"""The rules and the memory of a rollout, free of Airflow and of Kubernetes.

A rollout goes through steps of rising traffic. In all of them one test (`podium.evidence`) asks whether the canary is
worse than the champion at the same time; it is taken back as soon as that is sure. A step is passed when it was watched
for long enough, with enough requests, and nothing speaks against the canary.
"""

import datetime as dt
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any, Final

from podium.evidence import Evidence, Trials
from podium.metrics import Counters, Sample

P99: Final = 0.99
# Of the state, in the ConfigMap. Raise it when a field changes its meaning; one more field needs nothing.
STATE_FORMAT: Final = 2


class Verdict(StrEnum):
    """What to do about a step."""

    WAIT = "wait"
    PASS = "pass"
    FAIL = "fail"


class Outcome(StrEnum):
    """How a rollout ended."""

    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    UNCHANGED = "unchanged"


@dataclass(frozen=True)
class Limits:
    """What a canary must keep to.

    :param max_error_rate: the share of failed requests, and of refused ones, that is admitted whatever the champion
        does; 0 to 1, exclusive.
    :param max_p99_ms: 99 of 100 requests may take at most so long, or as many as of the champion's.
    :param min_requests: how many requests a step needs to be passed. A canary is taken back without.
    :param alpha: chance that a canary which is no worse is taken back, in the whole rollout.
    """

    max_error_rate: float
    max_p99_ms: float
    min_requests: int
    alpha: float

    def evidence(self, steps: int) -> Evidence:
        """The test of a rollout of so many steps."""
        floors = {"failed": self.max_error_rate, "refused": self.max_error_rate, "slow": 1 - P99}
        return Evidence(floors, steps, self.alpha)

    def trials(self, counted: Sample) -> dict[str, Trials]:
        """What the test of each outcome is told of a stretch of time."""
        return {
            "failed": _trials(counted.requests, counted.failed),
            "refused": _trials(counted.requests, counted.refused),
            "slow": _trials(counted.timed, counted.slower_than(self.max_p99_ms)),
        }

    def told(self, outcome: str) -> str:
        """An outcome, in the words of a reason."""
        words = {
            "failed": "requests failed (5xx)",
            "refused": "requests were refused (4xx)",
            "slow": f"requests took longer than {self.max_p99_ms:g} ms",
        }
        return words[outcome]


def _trials(requests: float, hits: float) -> Trials:
    return Trials(round(requests), min(round(requests), round(hits)))


@dataclass(frozen=True)
class Step:
    """One step.

    :param traffic_percent: the canary's share.
    :param min_seconds: watch at least so long.
    :param max_seconds: without a verdict by then, it fails.
    """

    traffic_percent: int
    min_seconds: float
    max_seconds: float

    @property
    def is_last_of_all(self) -> bool:
        """Whether the champion has no traffic left to be compared with."""
        return self.traffic_percent >= 100


@dataclass
class Watch:
    """What was seen of a rollout: the counters at the last look, the present step's tally, and the evidence.

    :param canary: what the canary did in the present step.
    :param champion: what the champion did meanwhile.
    :param seen: "canary" and "champion" -> counters at the last look.
    """

    limits: Limits
    evidence: Evidence
    canary: Sample = field(default_factory=Sample)
    champion: Sample = field(default_factory=Sample)
    seen: dict[str, Counters] = field(default_factory=lambda: {"canary": Counters(), "champion": Counters()})

    def begin(self, canary: Counters, champion: Counters) -> None:
        """A step's traffic comes into force; what was counted before is not of it."""
        self.canary, self.champion = Sample(), Sample()
        self._remember(canary, champion)
        self.evidence.begin_step()

    def look(self, step: Step, canary: Counters, champion: Counters) -> None:
        """Take in what was counted since the last look."""
        new = {"canary": canary.since(self.seen["canary"]), "champion": champion.since(self.seen["champion"])}
        self.canary, self.champion = self.canary.plus(new["canary"]), self.champion.plus(new["champion"])
        self._remember(canary, champion)
        self.evidence.add(
            self.limits.trials(new["canary"]), self.limits.trials(new["champion"]), alone=step.is_last_of_all
        )

    def _remember(self, canary: Counters, champion: Counters) -> None:
        self.seen = {"canary": canary.after(self.seen["canary"]), "champion": champion.after(self.seen["champion"])}

    def judge(self, step: Step, elapsed_s: float) -> tuple[Verdict, str]:
        """Judge the present step by what was seen until now.

        A canary that is worse ends a step at once; success needs the whole of `min_seconds`, and enough requests.

        :param elapsed_s: seconds since the step's traffic was in force.
        :returns: the verdict and, unless it is WAIT, the reason.
        """
        enough = min(self.canary.requests, self.canary.timed) >= self.limits.min_requests
        over = elapsed_s >= step.max_seconds
        if enough and elapsed_s >= step.min_seconds:
            self.evidence.end_step()
        if worse := self.evidence.worse():
            return Verdict.FAIL, self._why(worse)
        if enough and elapsed_s >= step.min_seconds:
            p99 = self.canary.quantile_ms(P99) or 0.0
            return Verdict.PASS, (
                f"{self.canary.requests:.0f} requests, {self.canary.failed:.0f} failed, p99 {p99:.1f} ms "
                f"in {elapsed_s:.0f} s"
            )
        if not over:
            return Verdict.WAIT, ""
        if self.canary.requests >= self.limits.min_requests:
            return Verdict.FAIL, (
                f"{self.canary.requests:.0f} requests were counted, but the latency of {self.canary.timed:.0f}: "
                "check the proxy's histograms"
            )
        return Verdict.FAIL, (
            f"{self.canary.requests:.0f} requests in {elapsed_s:.0f} s are too few to judge by, "
            f"{self.limits.min_requests} are needed"
        )

    def _why(self, outcome: str) -> str:
        canary = self.evidence.outcomes[outcome].canary_all
        champion = self.evidence.outcomes[outcome].champion_all
        return (
            f"{canary.hits} of {canary.requests} {self.limits.told(outcome)}, "
            f"of the champion's {champion.hits} of {champion.requests}; "
            f"{self.evidence.floors[outcome]:.2%} may in any case"
        )

    def to_json(self) -> dict[str, Any]:
        """As plain JSON; the limits are the settings'."""
        return {
            "evidence": self.evidence.to_json(),
            "canary": self.canary.to_json(),
            "champion": self.champion.to_json(),
            "seen": {arm: counters.to_json() for arm, counters in self.seen.items()},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], limits: Limits, steps: int) -> "Watch":
        """The reverse of `to_json`; of no data, a watch that begins."""
        watch = cls(limits, limits.evidence(steps))
        if data:
            watch.evidence.learned(data["evidence"])
            watch.canary, watch.champion = Sample.from_json(data["canary"]), Sample.from_json(data["champion"])
            watch.seen = {arm: Counters.from_json(counters) for arm, counters in data["seen"].items()}
        return watch


@dataclass(frozen=True)
class StepRecord:
    """What happened in one step; times in ISO 8601, UTC."""

    traffic: int
    requests: int
    failed: int
    p99_ms: float | None
    verdict: str
    reason: str
    started: str
    ended: str


@dataclass
class State:
    """All that a restarted rollout needs to go on where it was.

    :param owner: the task that carries it out, by identity.
    :param version: of the model that is rolled out.
    :param canary: name of its predictor.
    :param stable: name of the predictor that it is to replace.
    :param step: index of the present step; -1 while the canary starts; `len(steps)` once all have passed.
    :param started: when the present step's traffic came into force; empty before.
    :param waiting: since when metrics are waited for before the present step may begin; empty unless they are.
    :param watch: what was seen when the present step began, a `Watch` as JSON.
    :param counted: what the canary did in all steps that are over.
    :param champion: what the champion did meanwhile.
    :param closed: nothing is left to do about the outcome.
    :param run: the run of the DAG that began it.
    :param format: of this state.
    """

    owner: str
    version: str
    canary: str
    stable: str
    step: int = -1
    started: str = ""
    waiting: str = ""
    watch: dict[str, Any] = field(default_factory=dict)
    counted: Sample = field(default_factory=Sample)
    champion: Sample = field(default_factory=Sample)
    steps: list[StepRecord] = field(default_factory=list)
    outcome: Outcome | None = None
    reason: str = ""
    closed: bool = False
    run: str = ""
    format: int = STATE_FORMAT

    def begin_step(self, index: int) -> None:
        """Turn to a step whose traffic is not in force yet."""
        self.step, self.started, self.waiting = index, "", ""

    def end_step(self, step: Step, verdict: Verdict, reason: str, watch: Watch, ended: dt.datetime) -> None:
        """Write the present step down."""
        counted, self.watch = watch.canary, watch.to_json()
        p99 = counted.quantile_ms(P99)
        self.steps.append(
            StepRecord(
                traffic=step.traffic_percent,
                requests=int(counted.requests),
                failed=int(counted.failed),
                p99_ms=None if p99 is None else round(p99, 2),
                verdict=verdict.value,
                reason=reason,
                started=self.started,
                ended=ended.isoformat(timespec="milliseconds"),
            )
        )
        self.counted, self.champion = self.counted.plus(counted), self.champion.plus(watch.champion)

    def record(self) -> dict[str, Any]:
        """The rollout's result: what a person, a report or an audit wants to know."""
        p99 = self.counted.quantile_ms(P99)
        service = self.counted.plus(self.champion)
        return {
            "outcome": None if self.outcome is None else self.outcome.value,
            "reason": self.reason,
            "version": self.version,
            "canary": self.canary,
            "replaced": self.stable,
            "requests": int(self.counted.requests),
            "failed": int(self.counted.failed),
            "p99_ms": None if p99 is None else round(p99, 2),
            "service": {"requests": int(service.requests), "failed": int(service.failed)},
            "steps": [asdict(step) for step in self.steps],
        }

    def to_json(self) -> str:
        """For the ConfigMap."""
        data = asdict(self)
        data |= {name: getattr(self, name).to_json() for name in ("counted", "champion")}
        return json.dumps(data)

    @classmethod
    def from_json(cls, text: str) -> "State":
        """The reverse of `to_json`, of another Podium's state too.

        A field that is not known here is left aside, one that is missing has its default. What an older format had
        seen of the present step is lost, so that step is watched from its beginning.
        """
        data: Mapping[str, Any] = json.loads(text)
        known = {item.name: data[item.name] for item in fields(cls) if item.name in data}
        if data.get("format", 1) < STATE_FORMAT:
            known |= {"started": "", "format": STATE_FORMAT}
        return cls(**{**known, **{name: made(known[name]) for name, made in _MADE.items() if name in known}})


def _record(data: Mapping[str, Any]) -> StepRecord:
    return StepRecord(**{item.name: data[item.name] for item in fields(StepRecord)})


_MADE: Final[dict[str, Callable[[Any], Any]]] = {
    "counted": Sample.from_json,
    "champion": Sample.from_json,
    "steps": lambda steps: [_record(step) for step in steps],
    "outcome": lambda outcome: None if outcome is None else Outcome(outcome),
}
