"""The tests find what has changed and leave alone what has not."""

from dataclasses import replace

import numpy as np
import pytest

from include.jobs.drift.statistics import NOT_TESTED, FeatureDrift, compare
from include.jobs.drift.views import View


def view(seed: int, rows: int = 4000, shift: float = 0.0, share: float = 0.5, new: str = "b") -> View:
    draw = np.random.default_rng(seed)
    return View(
        "line",
        rows,
        {"value": draw.normal(shift, 1, rows), "steady": draw.normal(0, 1, rows)},
        {
            "brand": np.where(draw.random(rows) < share, "a", new),
            "store": draw.integers(0, 60, rows).astype(str),
            "constant": np.full(rows, "same"),
        },
    )


def by_name(found: list[FeatureDrift]) -> dict[str, FeatureDrift]:
    return {feature.name: feature for feature in found}


def test_false_alarms_are_as_rare_as_the_level_says() -> None:
    pairs = [compare([view(seed, 1000)], [view(seed + 1, 1000)], 0.05) for seed in range(0, 200, 2)]
    for name in ("value", "steady", "brand", "store"):
        # At a level of 1 %, 100 comparisons give one on average; seven or more come in one of 14,000 such series.
        assert sum(by_name(found)[name].drifted for found in pairs) < 7


def test_two_samples_of_one_thing_do_not_drift() -> None:
    found = compare([view(1)], [view(2)], 0.01)
    assert [feature.name for feature in found if feature.drifted] == []
    assert [feature.name for feature in found] == ["value", "steady", "brand", "store", "constant"]


@pytest.mark.parametrize(
    ("change", "drifted"),
    [
        ({"shift": 0.3}, {"value"}),
        ({"share": 0.7}, {"brand"}),
        ({"new": "never seen"}, {"brand"}),
        ({"shift": 0.3, "share": 0.7}, {"value", "brand"}),
    ],
)
def test_what_has_changed_and_only_that_drifts(change: dict[str, object], drifted: set[str]) -> None:
    found = compare([view(1)], [view(2, **change)], 0.01)  # type: ignore[arg-type]
    assert {feature.name for feature in found if feature.drifted} == drifted


def test_one_correction_over_all_features_of_all_views() -> None:
    found = compare([view(1), view(3)], [view(2), view(4)], 0.05)
    assert [feature.threshold for feature in found] == [pytest.approx(0.05 / 10)] * 10


def test_statistics_are_effect_sizes_between_zero_and_one() -> None:
    found = by_name(compare([view(1)], [view(2, shift=100.0, share=0.0)], 0.05))
    assert found["value"].statistic == pytest.approx(1.0)
    assert found["steady"].statistic < 0.1
    assert 0.5 < found["brand"].statistic <= 1.0
    assert found["constant"].statistic == 0.0
    assert found["constant"].p_value == 1.0


def test_sizes_may_differ() -> None:
    found = compare([view(1, rows=5000)], [view(2, rows=300)], 0.05)
    assert {(feature.reference_rows, feature.current_rows) for feature in found} == {(5000, 300)}
    assert not any(feature.drifted for feature in found)


def holed(view: View, share: float, seed: int = 9) -> View:
    """The view with a share of its values missing, at random."""
    holes = np.random.default_rng(seed).random(view.rows) < share
    return replace(view, numeric={**view.numeric, "value": np.where(holes, np.nan, view.numeric["value"])})


def test_a_value_is_tested_on_what_is_there() -> None:
    """A few that are missing on both sides hide no change of the others, and are none themselves."""
    found = by_name(compare([holed(view(1), 0.1)], [holed(view(2, shift=0.3), 0.1, seed=8)], 0.01))
    assert found["value"].drifted
    assert found["value"].reference_rows < 4000
    assert not found["value_missing"].drifted
    same = by_name(compare([holed(view(1), 0.1)], [holed(view(2), 0.1, seed=8)], 0.01))
    assert not any(feature.drifted for feature in same.values())


def test_the_share_of_what_is_missing_is_a_feature_of_its_own() -> None:
    found = by_name(compare([view(1)], [holed(view(2), 0.1)], 0.01))
    assert {name for name, feature in found.items() if feature.drifted} == {"value_missing"}
    assert found["value_missing"].test == "chi_squared"
    assert "steady_missing" not in found, "only where something is missing"
    assert len({feature.threshold for feature in found.values()}) == 1


@pytest.mark.parametrize("hole", [np.nan, np.inf, -np.inf])
def test_what_is_not_there_at_all_is_said_to_be_untested(hole: float) -> None:
    empty = replace(view(2), numeric={**view(2).numeric, "value": np.full(4000, hole)})
    found = by_name(compare([view(1)], [empty], 0.01))
    assert (found["value"].test, found["value"].drifted, found["value"].current_rows) == (NOT_TESTED, False, 0)
    assert found["value_missing"].drifted
    both = by_name(compare([empty], [empty], 0.01))
    assert not any(feature.drifted for feature in both.values())


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_windows_of_next_to_nothing_give_numbers(rows: int) -> None:
    for one, other in (([view(1)], [view(2, rows=rows)]), ([view(1, rows=rows)], [view(2)])):
        for feature in compare(one, other, 0.05):
            assert np.isfinite([feature.statistic, feature.p_value, feature.threshold]).all()
            assert not feature.drifted


def test_what_never_changes_is_tested_and_does_not_drift() -> None:
    constant = replace(view(1), numeric={"value": np.full(4000, 3.0)})
    (value,) = [feature for feature in compare([constant], [constant], 0.05) if feature.name == "value"]
    assert (value.p_value, value.statistic, value.drifted) == (1.0, 0.0, False)
    moved = replace(constant, numeric={"value": np.full(4000, 4.0)})
    assert by_name(compare([constant], [moved], 0.05))["value"].drifted
