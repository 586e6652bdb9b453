import datetime as dt
import json
import math
from dataclasses import fields

import pytest
from podium.metrics import Counters, Sample
from podium.rollout import Limits, Outcome, State, Step, Verdict, Watch

LIMITS = Limits(max_error_rate=0.001, max_p99_ms=50.0, min_requests=100, alpha=0.01)
STEP = Step(traffic_percent=10, min_seconds=30, max_seconds=120)
ALL = Step(traffic_percent=100, min_seconds=30, max_seconds=120)


def sample(requests: int, failed: int = 0, p99: float = 10.0, refused: int = 0) -> Sample:
    """Requests that all took up to `p99` ms."""
    return Sample(requests, failed, {50.0: requests if p99 <= 50 else 0.0, math.inf: float(requests)}, refused)


def counters(counted: Sample) -> Counters:
    return Counters({"proxy": counted})


def watched(canary: Sample, champion: Sample | None = None, step: Step = STEP) -> Watch:
    """A step in which both did this, seen at one look."""
    watch = Watch(LIMITS, LIMITS.evidence(3))
    watch.begin(Counters(), Counters())
    champion = sample(9 * int(canary.requests)) if champion is None else champion
    watch.look(step, counters(canary), counters(champion))
    return watch


@pytest.mark.parametrize(
    ("canary", "elapsed", "verdict", "reason"),
    [
        pytest.param(sample(0), 0, Verdict.WAIT, "", id="just begun"),
        pytest.param(sample(500), 10, Verdict.WAIT, "", id="good, but not watched long enough"),
        pytest.param(sample(99), 60, Verdict.WAIT, "", id="one request short"),
        pytest.param(sample(100), 30, Verdict.PASS, "100 requests, 0 failed", id="just enough of all"),
        pytest.param(sample(500, failed=1), 30, Verdict.PASS, "1 failed", id="one failure says little"),
        pytest.param(sample(10, failed=10), 1, Verdict.FAIL, "10 of 10 requests failed", id="too few to promote only"),
        pytest.param(sample(10, refused=10), 1, Verdict.FAIL, "10 of 10 requests were refused", id="answers 404"),
        pytest.param(sample(200, failed=8), 1, Verdict.FAIL, "of the champion's 0 of 1800", id="errors end it at once"),
        pytest.param(sample(15, p99=200), 1, Verdict.FAIL, "15 of 15 requests took longer than 50 ms", id="too slow"),
        pytest.param(sample(99), 120, Verdict.FAIL, "99 requests in 120 s are too few", id="nobody asked"),
        pytest.param(sample(0), 500, Verdict.FAIL, "too few", id="long over"),
        pytest.param(Sample(500), 60, Verdict.WAIT, "", id="no latency yet"),
        pytest.param(Sample(500), 120, Verdict.FAIL, "but the latency of 0", id="never any latency"),
    ],
)
def test_verdict(canary: Sample, elapsed: float, verdict: Verdict, reason: str) -> None:
    found, why = watched(canary).judge(STEP, elapsed)
    assert found is verdict
    assert reason in why


@pytest.mark.parametrize("kind", ["failed", "refused"])
def test_what_the_champion_does_too_is_not_held_against_the_canary(kind: str) -> None:
    canary = sample(500, **{kind: 50})
    assert watched(canary, sample(4500, **{kind: 450})).judge(STEP, 60)[0] is Verdict.PASS
    assert watched(canary, sample(4500)).judge(STEP, 60)[0] is Verdict.FAIL


def test_with_all_traffic_the_canary_is_held_against_what_the_champion_did_before() -> None:
    for failed, verdict in ((60, Verdict.PASS), (1500, Verdict.FAIL)):
        watch = watched(sample(500, failed=10), sample(4500, failed=90))
        watch.judge(STEP, 60)
        watch.begin(*(watch.seen[arm] for arm in ("canary", "champion")))
        watch.look(ALL, counters(sample(3500, failed=10 + failed)), Counters())
        assert watch.judge(ALL, 60)[0] is verdict


def test_a_wait_never_outlives_the_step() -> None:
    for requests in range(0, 300, 7):
        for failed in range(0, requests + 1, 25):
            verdict, _ = watched(sample(requests, failed)).judge(STEP, STEP.max_seconds)
            assert verdict is not Verdict.WAIT


def test_a_watch_goes_on_from_its_json() -> None:
    watch = watched(sample(40, failed=1), sample(360, failed=1))
    again = Watch.from_json(json.loads(json.dumps(watch.to_json())), LIMITS, 3)
    for each in (watch, again):
        each.look(STEP, counters(sample(90, failed=3)), counters(sample(800, failed=1)))
    assert again.to_json() == watch.to_json()
    assert again.canary == sample(90, failed=3)


def running() -> State:
    state = State(owner="rollout-1", version="3", canary="v3", stable="v1", run="run-1")
    state.begin_step(0)
    state.started = "2026-01-01T00:00:00+00:00"
    return state


END = dt.datetime(2026, 1, 1, 0, 0, 30, tzinfo=dt.UTC)


def test_state_survives_a_restart() -> None:
    state = running()
    state.end_step(STEP, Verdict.PASS, "fine", watched(sample(100, 1)), END)
    state.begin_step(1)
    assert State.from_json(state.to_json()).to_json() == state.to_json()


def test_the_state_of_another_podium_is_read() -> None:
    state = running()
    state.end_step(STEP, Verdict.PASS, "fine", watched(sample(100, 1)), END)
    newer = json.loads(state.to_json()) | {"format": 9, "mirror": {"share": 5}}
    newer["steps"][0]["mirrored"] = 7
    assert State.from_json(json.dumps(newer)).steps == state.steps
    older = {"owner": "o", "version": "3", "canary": "v3", "stable": "v1", "step": 1, "started": "2026-01-01T00:00:00Z"}
    older |= {"baseline": {}, "first": {}, "counted": {"requests": 5, "failed": 1, "buckets": {}}, "steps": []}
    older |= {"outcome": None, "reason": "", "closed": False, "service": {}}
    found = State.from_json(json.dumps(older))
    assert (found.step, found.started, found.counted) == (1, "", Sample(5, 1))
    assert set(json.loads(found.to_json())) == {item.name for item in fields(State)}


def test_record_sums_the_steps_up() -> None:
    state = running()
    state.end_step(STEP, Verdict.PASS, "fine", watched(sample(100, 1)), END)
    state.begin_step(1)
    state.end_step(Step(50, 1, 2), Verdict.FAIL, "errors", watched(sample(300, 9)), END)
    state.outcome, state.reason = Outcome.ROLLED_BACK, "errors"
    record = state.record()
    assert (record["outcome"], record["requests"], record["failed"]) == ("rolled_back", 400, 10)
    assert record["p99_ms"] == pytest.approx(49.5, abs=0.01)
    assert record["service"]["requests"] == 4000
    assert [(step["traffic"], step["verdict"]) for step in record["steps"]] == [(10, "pass"), (50, "fail")]
    assert record["steps"][0]["started"] < record["steps"][0]["ended"]


def test_record_before_the_first_verdict_is_empty_not_broken() -> None:
    record = running().record()
    assert (record["outcome"], record["requests"], record["p99_ms"], record["steps"]) == (None, 0, None, [])
