"""The rules and the memory of a rollout, free of Airflow and of Kubernetes.

A rollout goes through steps of rising traffic. Each step is judged on the requests that the canary answered in it:
enough of them, few enough failures, fast enough. The first step that fails ends the rollout.
"""

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final

from podium.metrics import Sample

P99: Final = 0.99


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
    """What a canary must keep to, in each step.

    :param max_error_rate: failed requests per request, 0 to 1.
    :param max_p99_ms: 99th percentile of the latency.
    :param min_requests: how many requests a verdict needs.
    """

    max_error_rate: float
    max_p99_ms: float
    min_requests: int


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


def judge(step: Step, limits: Limits, counted: Sample, elapsed_s: float) -> tuple[Verdict, str]:
    """Judge a step by what the canary did in it.

    Failures end a step as soon as they are certain; success needs the whole of `min_seconds`.

    :param counted: since the step's traffic was in force.
    :param elapsed_s: seconds since then.
    :returns: the verdict and, unless it is WAIT, the reason.
    """
    enough = counted.requests >= limits.min_requests
    if enough and counted.error_rate > limits.max_error_rate:
        return Verdict.FAIL, (
            f"{counted.failed:.0f} of {counted.requests:.0f} requests failed ({counted.error_rate:.2%}), "
            f"at most {limits.max_error_rate:.2%} may"
        )
    over = elapsed_s >= step.max_seconds
    if not enough:
        if not over:
            return Verdict.WAIT, ""
        return Verdict.FAIL, (
            f"{counted.requests:.0f} requests in {elapsed_s:.0f} s are too few to judge by, "
            f"{limits.min_requests} are needed"
        )
    p99 = counted.quantile_ms(P99)
    if p99 is None:
        if not over:
            return Verdict.WAIT, ""
        return Verdict.FAIL, "requests were counted, but no latency: check the proxy's histograms"
    if elapsed_s < step.min_seconds:
        return Verdict.WAIT, ""
    if p99 > limits.max_p99_ms:
        return Verdict.FAIL, f"p99 latency is {p99:.1f} ms, at most {limits.max_p99_ms:.1f} ms may be"
    return Verdict.PASS, (
        f"{counted.requests:.0f} requests, {counted.failed:.0f} failed, p99 {p99:.1f} ms in {elapsed_s:.0f} s"
    )


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
    :param baseline: the canary's counters at that moment.
    :param first: counters of canary and stable when the rollout began, by predictor name.
    :param counted: what the canary did in all steps that are over.
    :param closed: nothing is left to do about the outcome.
    :param service: what canary and stable together did in the whole rollout, known at its end.
    """

    owner: str
    version: str
    canary: str
    stable: str
    step: int = -1
    started: str = ""
    baseline: Sample = field(default_factory=Sample)
    first: dict[str, Sample] = field(default_factory=dict)
    counted: Sample = field(default_factory=Sample)
    service: Sample = field(default_factory=Sample)
    steps: list[StepRecord] = field(default_factory=list)
    outcome: Outcome | None = None
    reason: str = ""
    closed: bool = False

    def begin_step(self, index: int) -> None:
        """Turn to a step whose traffic is not in force yet."""
        self.step, self.started, self.baseline = index, "", Sample()

    def end_step(self, step: Step, verdict: Verdict, reason: str, counted: Sample, ended: dt.datetime) -> None:
        """Write the present step down."""
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
        self.counted = self.counted.plus(counted)

    def record(self) -> dict[str, Any]:
        """The rollout's result: what a person, a report or an audit wants to know."""
        p99 = self.counted.quantile_ms(P99)
        return {
            "outcome": None if self.outcome is None else self.outcome.value,
            "reason": self.reason,
            "version": self.version,
            "canary": self.canary,
            "replaced": self.stable,
            "requests": int(self.counted.requests),
            "failed": int(self.counted.failed),
            "p99_ms": None if p99 is None else round(p99, 2),
            "service": {"requests": int(self.service.requests), "failed": int(self.service.failed)},
            "steps": [asdict(step) for step in self.steps],
        }

    def to_json(self) -> str:
        """For the ConfigMap."""
        data = asdict(self)
        data |= {name: getattr(self, name).to_json() for name in ("baseline", "counted", "service")}
        data["first"] = {name: sample.to_json() for name, sample in self.first.items()}
        return json.dumps(data)

    @classmethod
    def from_json(cls, text: str) -> "State":
        """The reverse of `to_json`."""
        data: Mapping[str, Any] = json.loads(text)
        return cls(
            **{
                **data,
                "baseline": Sample.from_json(data["baseline"]),
                "counted": Sample.from_json(data["counted"]),
                "service": Sample.from_json(data["service"]),
                "first": {name: Sample.from_json(sample) for name, sample in data["first"].items()},
                "steps": [StepRecord(**step) for step in data["steps"]],
                "outcome": None if data["outcome"] is None else Outcome(data["outcome"]),
            }
        )
