"""Everything that the contract of transactions admits can be compared."""

import math
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
from hypothesis import given, settings

from include.jobs.drift.statistics import compare
from include.jobs.drift.views import LINE_COLUMNS, views_of
from tests.jobs.admitted import shops

NEW_YORK = ZoneInfo("America/New_York")
PRODUCTS = pa.table({"product_id": [1, 2, 3], "department": ["GROCERY", None, "FUEL"], "brand": ["a", "b", None]})


@settings(max_examples=25, deadline=None)
@given(shops, shops)
def test_any_two_windows_give_finite_numbers(before: list[dict[str, Any]], now: list[dict[str, Any]]) -> None:
    views = [
        views_of(pa.Table.from_pylist(rows).select(LINE_COLUMNS), PRODUCTS, NEW_YORK, 100, 1) for rows in (before, now)
    ]
    found = compare(*views, 0.05)
    assert len({feature.name for feature in found}) == len(found) > 12
    for feature in found:
        assert all(map(math.isfinite, (feature.statistic, feature.p_value))), feature
        assert 0 <= feature.statistic <= 1 + 1e-9
        assert not feature.name.endswith("_missing"), "nothing is"
