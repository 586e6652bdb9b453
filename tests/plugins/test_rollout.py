import datetime as dt
import math

import pytest
from podium.metrics import Sample
from podium.rollout import Limits, Outcome, State, Step, Verdict, judge

LIMITS = Limits(max_error_rate=0.01, max_p99_ms=50.0, min_requests=100)
STEP = Step(traffic_percent=10, min_seconds=30, max_seconds=120)


def sample(requests: int, failed: int = 0, p99: float = 10.0) -> Sample:
    """Requests that all took up to `p99` ms."""
    return Sample(requests, failed, {p99: float(requests), math.inf: float(requests)})


@pytest.mark.parametrize(
    ("counted", "elapsed", "verdict", "reason"),
    [
        pytest.param(sample(0), 0, Verdict.WAIT, "", id="just begun"),
        pytest.param(sample(500), 10, Verdict.WAIT, "", id="good, but not watched long enough"),
        pytest.param(sample(99), 60, Verdict.WAIT, "", id="one request short of a verdict"),
        pytest.param(sample(100), 30, Verdict.PASS, "100 requests, 0 failed", id="just enough of all"),
        pytest.param(sample(500, failed=5), 30, Verdict.PASS, "5 failed", id="error rate at its limit"),
        pytest.param(sample(500, failed=6), 30, Verdict.FAIL, "6 of 500 requests failed", id="error rate beyond"),
        pytest.param(sample(500, failed=6), 1, Verdict.FAIL, "1.20%", id="errors end a step at once"),
        pytest.param(sample(99, failed=99), 1, Verdict.WAIT, "", id="too few to call it errors"),
        pytest.param(sample(500, p99=200), 30, Verdict.FAIL, "p99 latency is 198.0 ms", id="too slow"),
        pytest.param(sample(500, p99=200), 10, Verdict.WAIT, "", id="slow at first, as when caches are cold"),
        pytest.param(sample(99), 120, Verdict.FAIL, "99 requests in 120 s are too few", id="nobody asked"),
        pytest.param(sample(0), 500, Verdict.FAIL, "too few", id="long over"),
        pytest.param(Sample(500), 60, Verdict.WAIT, "", id="no latency yet"),
        pytest.param(Sample(500), 120, Verdict.FAIL, "no latency", id="never any latency"),
    ],
)
def test_verdict(counted: Sample, elapsed: float, verdict: Verdict, reason: str) -> None:
    found, why = judge(STEP, LIMITS, counted, elapsed)
    assert found is verdict
    assert reason in why


def test_a_wait_never_outlives_the_step() -> None:
    for requests in range(0, 300, 7):
        for failed in range(0, requests + 1, 5):
            verdict, _ = judge(STEP, LIMITS, sample(requests, failed), STEP.max_seconds)
            assert verdict is not Verdict.WAIT


def running() -> State:
    state = State(owner="rollout-1", version="3", canary="v3", stable="v1", first={"v1": sample(1000), "v3": Sample()})
    state.begin_step(0)
    state.started = "2026-01-01T00:00:00+00:00"
    state.baseline = sample(4)
    return state


END = dt.datetime(2026, 1, 1, 0, 0, 30, tzinfo=dt.UTC)


def test_state_survives_a_restart() -> None:
    state = running()
    state.end_step(STEP, Verdict.PASS, "fine", sample(100, 1), END)
    state.begin_step(1)
    assert State.from_json(state.to_json()) == state


def test_record_sums_the_steps_up() -> None:
    state = running()
    state.end_step(STEP, Verdict.PASS, "fine", sample(100, 1), END)
    state.begin_step(1)
    state.end_step(Step(50, 1, 2), Verdict.FAIL, "errors", sample(300, 9), END)
    state.outcome, state.reason = Outcome.ROLLED_BACK, "errors"
    record = state.record()
    assert (record["outcome"], record["requests"], record["failed"]) == ("rolled_back", 400, 10)
    assert record["p99_ms"] == pytest.approx(9.9, abs=0.01)
    assert [(step["traffic"], step["verdict"]) for step in record["steps"]] == [(10, "pass"), (50, "fail")]
    assert record["steps"][0]["started"] < record["steps"][0]["ended"]


def test_record_before_the_first_verdict_is_empty_not_broken() -> None:
    record = running().record()
    assert (record["outcome"], record["requests"], record["p99_ms"], record["steps"]) == (None, 0, None, [])
