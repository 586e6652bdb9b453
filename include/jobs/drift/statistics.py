"""The statistical tests, by Alibi Detect, with one correction over all features.

A test is of the values that are there. Where some are missing, how many is a feature of its own, `<feature>_missing`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from alibi_detect.cd import ChiSquareDrift, KSDrift

from include.jobs.drift.views import Names, View

Codes: TypeAlias = npt.NDArray[np.int64]
#: Reference and interval, of one feature.
Sides: TypeAlias = tuple[npt.NDArray[Any], npt.NDArray[Any]]

#: The test of a feature that one side has no value of.
NOT_TESTED = "none"
#: Categories beyond these, by frequency, are one: a chi-squared test needs counts in every cell.
_MOST_CATEGORIES = 20


@dataclass(frozen=True, slots=True)
class FeatureDrift:
    """One feature's test.

    Attributes:
        name: of the feature.
        view: line, basket or household.
        test: `kolmogorov_smirnov` or `chi_squared`; `none` where one side has no value of it, which then cannot drift:
            that they are missing is told by `<feature>_missing`.
        statistic: how far apart, from 0 to 1: the largest difference between the distribution functions, or Cramér's V.
        p_value: of the test.
        threshold: below which a p-value means drift; the significance over the number of features (Bonferroni).
        drifted: p_value < threshold.
        reference_rows: rows of the reference's sample that have a value.
        current_rows: rows of the interval's sample that have a value.
    """

    name: str
    view: str
    test: str
    statistic: float
    p_value: float
    threshold: float
    drifted: bool
    reference_rows: int
    current_rows: int


def compare(reference: Sequence[View], current: Sequence[View], significance: float) -> list[FeatureDrift]:
    """Test every feature of every view; both sequences hold the same views in the same order."""
    pairs = [
        (_with_missing(before, now), _with_missing(now, before)) for before, now in zip(reference, current, strict=True)
    ]
    count = sum(len(view.numeric) + len(view.categorical) for view, _ in pairs)
    # One correction over all views: the detectors are given the corrected level and judge by feature.
    threshold = significance / count
    return [feature for before, now in pairs for feature in _compared(before, now, threshold)]


def _with_missing(view: View, other: View) -> View:
    """The view with what is missing in it, or in the other one, as features of their own."""
    missing = {
        f"{name}_missing": np.where(np.isfinite(values), "no", "yes")
        for name, values in view.numeric.items()
        if not (np.isfinite(values).all() and np.isfinite(other.numeric[name]).all())
    }
    return replace(view, categorical={**view.categorical, **missing})


def _compared(before: View, now: View, threshold: float) -> Iterator[FeatureDrift]:
    for name, values in before.numeric.items():
        sides = values[np.isfinite(values)], now.numeric[name][np.isfinite(now.numeric[name])]
        if not all(map(len, sides)):
            yield _untested(name, before.name, sides, threshold)
            continue
        found = _tested(KSDrift, sides, threshold)
        yield _feature(name, before.name, "kolmogorov_smirnov", float(found["distance"][0]), found, sides)
    for name, names in before.categorical.items():
        both = names, now.categorical[name]
        if not all(map(len, both)):
            yield _untested(name, before.name, both, threshold)
            continue
        codes = _codes(*both)
        found = _tested(ChiSquareDrift, codes, threshold)
        # Of two samples the table's smaller side is 2, so Cramér's V is the root of chi-squared over the rows.
        strength = float(np.sqrt(found["distance"][0] / sum(map(len, codes))))
        yield _feature(name, before.name, "chi_squared", strength, found, codes)


def _tested(detector: Any, sides: Sides, threshold: float) -> dict[str, Any]:
    before, now = (side[:, None] for side in sides)
    found: dict[str, Any] = detector(before, p_val=threshold).predict(now, drift_type="feature")["data"]
    return found


def _codes(before: Names, now: Names) -> tuple[Codes, Codes]:
    """Both samples as numbers of categories; rare ones share the last one.

    What is rare is decided over both samples together: the reference's own favourites are partly its luck, which would
    pass for drift.
    """
    names, counts = np.unique(np.concatenate([before, now]), return_counts=True)
    common = np.sort(names[np.lexsort((names, -counts))[: _MOST_CATEGORIES - 1]])
    return _coded(before, common), _coded(now, common)


def _coded(values: Names, common: Names) -> Codes:
    at = np.minimum(np.searchsorted(common, values), len(common) - 1)
    return np.where(common[at] == values, at, len(common)).astype(np.int64)


def _untested(name: str, view: str, sides: Sides, threshold: float) -> FeatureDrift:
    before, now = map(len, sides)
    return FeatureDrift(name, view, NOT_TESTED, 0.0, 1.0, threshold, False, before, now)


def _feature(name: str, view: str, test: str, statistic: float, found: dict[str, Any], sides: Sides) -> FeatureDrift:
    return FeatureDrift(
        name=name,
        view=view,
        test=test,
        statistic=statistic,
        # Of one row against one SciPy gives none: they prove nothing.
        p_value=float(np.nan_to_num(found["p_val"][0], nan=1.0)),
        threshold=float(found["threshold"]),
        drifted=bool(found["is_drift"][0]),
        reference_rows=len(sides[0]),
        current_rows=len(sides[1]),
    )
