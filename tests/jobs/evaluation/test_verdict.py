"""The gate's decision."""

import datetime as dt

import pytest

from include.jobs.evaluation.verdict import UnknownBaselineError, judge

DECEMBER = dt.datetime(2017, 12, 1, 5, tzinfo=dt.UTC)
BASELINES = {"popularity": 0.13, "own_frequency": 0.306, "decayed_frequency": 0.327}


def test_better_than_all_required_passes() -> None:
    verdict = judge(0.34, BASELINES, list(BASELINES), 0.0, DECEMBER, DECEMBER)
    assert verdict.passed
    assert verdict.reasons == ()


def test_baselines_that_are_not_required_do_not_matter() -> None:
    assert judge(0.31, BASELINES, ["popularity", "own_frequency"], 0.0, None, DECEMBER).passed


@pytest.mark.parametrize(
    ("recall", "min_lift", "refused_by"),
    [
        (0.327, 0.0, ["decayed_frequency"]),  # as good is not better
        (0.320, 0.0, ["decayed_frequency"]),
        (0.330, 0.01, ["decayed_frequency"]),
        (0.100, 0.0, ["popularity", "own_frequency", "decayed_frequency"]),
    ],
)
def test_every_baseline_that_is_not_beaten_is_a_reason(recall: float, min_lift: float, refused_by: list[str]) -> None:
    verdict = judge(recall, BASELINES, list(BASELINES), min_lift, None, DECEMBER)
    assert not verdict.passed
    assert len(verdict.reasons) == len(refused_by)
    for name, reason in zip(refused_by, verdict.reasons, strict=True):
        assert f"of {name} " in reason
        assert f"{recall:.4f}" in reason


def test_a_model_that_has_seen_the_judged_month_is_refused_however_good() -> None:
    verdict = judge(0.9, BASELINES, ["popularity"], 0.0, DECEMBER + dt.timedelta(seconds=1), DECEMBER)
    assert not verdict.passed
    assert "reach into the judged month" in verdict.reasons[0]


def test_an_unknown_baseline_is_an_error_and_no_refusal() -> None:
    with pytest.raises(UnknownBaselineError, match="no such baseline: luck; known are decayed_frequency, own_freq"):
        judge(0.9, BASELINES, ["luck"], 0.0, None, DECEMBER)
