"""The statistical tests, by Alibi Detect, with one correction over all features."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from alibi_detect.cd import ChiSquareDrift, KSDrift

from include.jobs.drift.views import Names, View

Codes: TypeAlias = npt.NDArray[np.int64]

#: Categories beyond these, by frequency, are one: a chi-squared test needs counts in every cell.
_MOST_CATEGORIES = 20


@dataclass(frozen=True, slots=True)
class FeatureDrift:
    """One feature's test.

    Attributes:
        name: of the feature.
        view: line, basket or household.
        test: `kolmogorov_smirnov` or `chi_squared`.
        statistic: how far apart, from 0 to 1: the largest difference between the distribution functions, or Cramér's V.
        p_value: of the test.
        threshold: below which a p-value means drift; the significance over the number of features (Bonferroni).
        drifted: p_value < threshold.
        reference_rows: rows of the reference's sample.
        current_rows: rows of the interval's sample.
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
    count = sum(len(view.numeric) + len(view.categorical) for view in reference)
    # One correction over all views: the detectors are given the corrected level and judge by feature.
    threshold = significance / count
    found = []
    for before, now in zip(reference, current, strict=True):
        found += _numeric(before, now, threshold)
        found += _categorical(before, now, threshold)
    return found


def _numeric(before: View, now: View, threshold: float) -> list[FeatureDrift]:
    names = list(before.numeric)
    if not names:
        return []
    detector = KSDrift(np.stack([before.numeric[name] for name in names], axis=1), p_val=threshold)
    found = detector.predict(np.stack([now.numeric[name] for name in names], axis=1), drift_type="feature")["data"]
    return [
        _feature(name, "kolmogorov_smirnov", float(found["distance"][number]), found, number, before, now)
        for number, name in enumerate(names)
    ]


def _categorical(before: View, now: View, threshold: float) -> list[FeatureDrift]:
    names = list(before.categorical)
    if not names:
        return []
    coded = [_codes(before.categorical[name], now.categorical[name]) for name in names]
    detector = ChiSquareDrift(np.stack([codes for codes, _ in coded], axis=1), p_val=threshold)
    found = detector.predict(np.stack([codes for _, codes in coded], axis=1), drift_type="feature")["data"]
    # Of two samples the table's smaller side is 2, so Cramér's V is the root of chi-squared over the rows.
    strengths = np.sqrt(found["distance"] / (before.rows + now.rows))
    return [
        _feature(name, "chi_squared", float(strengths[number]), found, number, before, now)
        for number, name in enumerate(names)
    ]


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


def _feature(
    name: str, test: str, statistic: float, found: dict[str, Any], number: int, before: View, now: View
) -> FeatureDrift:
    return FeatureDrift(
        name=name,
        view=before.name,
        test=test,
        statistic=statistic,
        p_value=float(found["p_val"][number]),
        threshold=float(found["threshold"]),
        drifted=bool(found["is_drift"][number]),
        reference_rows=before.rows,
        current_rows=now.rows,
    )
