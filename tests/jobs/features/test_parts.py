"""What is kept of each interval, and what it makes of the days."""

import datetime as dt

from include.jobs.features.parts import Part, mark, of_days

FIRST, SECOND = dt.date(2017, 1, 1), dt.date(2017, 1, 2)


def test_a_day_is_what_all_intervals_have_of_it_however_it_is_cut() -> None:
    whole = Part("a", {FIRST: (3, 30, -3), SECOND: (1, 5, 5)})
    pieces = [Part("b", {FIRST: (2, 10, -1)}), Part("c", {FIRST: (1, 20, -2), SECOND: (1, 5, 5)})]
    assert of_days([whole]) == of_days(pieces) == of_days(reversed(pieces))
    assert of_days([whole])[FIRST] != of_days(pieces[:1])[FIRST]


def test_a_part_survives_being_written_down() -> None:
    part = Part("a", {FIRST: (3, 2**40, -(2**40)), SECOND: (1, 5, 5)})
    assert Part.loads(part.dumps()) == part


def test_a_mark_tells_files_and_zones_apart_not_their_order() -> None:
    assert mark(["x", "y"], "UTC") == mark(["y", "x"], "UTC")
    assert len({mark(["x", "y"], "UTC"), mark(["x"], "UTC"), mark(["x", "y"], "America/New_York")}) == 3
