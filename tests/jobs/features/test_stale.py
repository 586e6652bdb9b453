"""Which partitions a change makes stale."""

import datetime as dt

import pytest

from include.jobs.features.history import Cutoff
from include.jobs.features.stale import Sources, stale

MARCH, APRIL, MAY = (dt.date(2017, month, 1) for month in (3, 4, 5))
CUTOFFS = [Cutoff(MARCH, APRIL, labelled=True), Cutoff(APRIL, MAY, labelled=False)]
MONTHS = [dt.date(2017, 2, 1), MARCH]
DAYS = {dt.date(2017, month, 10): f"{month}" for month in (2, 3, 4)}
SOURCES = Sources(DAYS, "products", "households")


def at_cutoffs(*days: dt.date) -> dict[str, list[dt.date]]:
    """The same days in all tables of cutoffs."""
    return {f"features.{name}": list(days) for name in ("users", "items", "interactions", "preferences")}


def due(changed: Sources, cutoffs: list[Cutoff] = CUTOFFS) -> dict[str, list[dt.date]]:
    """What is stale after a change, without the tables where nothing is."""
    found = stale(changed.digests(cutoffs, MONTHS), SOURCES.digests(CUTOFFS, MONTHS))
    return {table: days for table, days in found.items() if days}


def with_day(day: dt.date) -> Sources:
    return Sources(DAYS | {day: "changed"}, "products", "households")


def test_without_a_change_nothing_is_stale_and_at_first_everything() -> None:
    assert due(SOURCES) == {}
    first = stale(SOURCES.digests(CUTOFFS, MONTHS), {})
    assert first == at_cutoffs(MARCH, APRIL) | {"features.demand": MONTHS}


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        (dt.date(2017, 2, 28), at_cutoffs(MARCH, APRIL) | {"features.demand": MONTHS[:1]}),
        (MARCH, at_cutoffs(APRIL) | {"features.interactions": [MARCH, APRIL], "features.demand": [MARCH]}),
        # The label month of April is not complete: nothing sees it yet.
        (APRIL, {}),
    ],
)
def test_a_day_touches_later_cutoffs_the_label_of_its_month_and_its_demand(
    day: dt.date, expected: dict[str, list[dt.date]]
) -> None:
    assert due(with_day(day)) == expected


def test_a_day_without_purchases_any_more_counts_as_a_change() -> None:
    left = {day: digest for day, digest in DAYS.items() if day.month != 3}
    assert due(Sources(left, "products", "households"))["features.demand"] == [MARCH]


def test_a_month_that_becomes_complete_touches_its_labels_alone() -> None:
    complete = [CUTOFFS[0], Cutoff(APRIL, MAY, labelled=True)]
    assert due(SOURCES, complete) == {"features.interactions": [APRIL]}


def test_reference_data_touches_what_is_joined_with_it() -> None:
    assert due(Sources(DAYS, "others", "households")) == {
        "features.preferences": [MARCH, APRIL],
        "features.demand": MONTHS,
    }
    assert due(Sources(DAYS, "products", "others")) == {"features.users": [MARCH, APRIL]}
