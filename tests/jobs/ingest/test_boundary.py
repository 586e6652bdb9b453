"""Where a moment lies among records: the search alone, held against the definition."""

import datetime as dt
from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from include.jobs.ingest.boundary import Boundary, Search, milliseconds, votes_to_confirm

NOW, LATEST = 100, 110
stamps = st.one_of(st.integers(0, 30), st.sampled_from([-(2**63), -1, 111, 2**62, 2**63 - 1]))
logs = st.lists(stamps, max_size=30)


def search(times: Sequence[int], moment: int, *, confirm: int = 1_000, batch: int = 7, stable: int = 1_000) -> Boundary:
    """The offset of a record is twice its place: between two are markers, or what compaction took."""
    found = Search(moment, 0, now=NOW, latest=LATEST, confirm=confirm)
    for begin in range(0, min(len(times), stable), batch):
        part = np.array(times[begin : min(begin + batch, stable)], np.int64)
        if found.feed(2 * np.arange(begin, begin + len(part)), part):
            break
    else:
        if times[stable:]:
            found.feed_unstable(np.array(times[stable:], np.int64))
    return found.result(2 * min(len(times), stable))


def misplaced(times: Sequence[int], moment: int, offset: int) -> int:
    votes = [(2 * place, time) for place, time in enumerate(times) if 0 <= time <= LATEST]
    return sum((time >= moment) == (place < offset) for place, time in votes)


@given(logs, st.integers(0, 31), st.integers(1, 9))
def test_a_boundary_misplaces_the_fewest_however_the_records_are_batched(
    times: list[int], moment: int, batch: int
) -> None:
    found = search(times, moment, batch=batch)
    least = min(misplaced(times, moment, offset) for offset in range(2 * len(times) + 1))
    assert misplaced(times, moment, found.offset) == least
    first = min(o for o in range(2 * len(times) + 1) if misplaced(times, moment, o) == least)
    assert misplaced(times, moment, first) == misplaced(times, moment, found.offset)
    votes_between = [t for place, t in enumerate(times) if first <= 2 * place < found.offset and 0 <= t <= LATEST]
    assert not votes_between, "of several such offsets it is the first, but for records without a vote"


@given(logs, st.lists(st.integers(0, 31), min_size=2, max_size=5))
def test_boundaries_keep_the_order_of_their_moments(times: list[int], moments: list[int]) -> None:
    found = [search(times, moment).offset for moment in sorted(moments)]
    assert found == sorted(found)


@given(logs, logs, st.integers(0, 31))
def test_what_is_told_before_a_transaction_ends_holds_however_it_ends(
    stable: list[int], unstable: list[int], moment: int
) -> None:
    told = search([*stable, *unstable], moment, stable=len(stable))
    for rest in (unstable, [], [time for time in unstable if time < moment]):
        times = [*stable, *rest]
        least = min(misplaced(times, moment, offset) for offset in range(2 * len(times) + 1))
        assert told.held or misplaced(times, moment, told.offset) == least


def test_one_record_far_ahead_moves_no_boundary() -> None:
    minutes = list(range(60))
    minutes.insert(20, 61)
    assert search(minutes, 30).offset == 2 * 30 + 1
    assert search(minutes, 60).offset == 2 * 61


def test_the_search_ends_once_enough_later_records_have_come() -> None:
    times = [1, 2, 3, *([20] * 50), *([1] * 100)]
    assert search(times, 10, confirm=50) == Boundary(5, 50)
    assert search(times, 10, confirm=51).offset == 2 * len(times)


def test_what_is_stamped_ahead_of_the_clock_is_no_evidence() -> None:
    assert search([1, 2, *([NOW + 5] * 20)], 10) == Boundary(3, 0)
    assert search([1, 2, *([LATEST + 1] * 20)], 10) == Boundary(2 * 22, 0)
    assert search([1, 2, *([20] * 20)], 10) == Boundary(3, 20)


def test_moments_are_whole_milliseconds_rounded_up() -> None:
    epoch = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    moments = [epoch + dt.timedelta(microseconds=micros) for micros in (-1, 0, 1, 1000, 1001)]
    assert [milliseconds(moment) for moment in moments] == [0, 0, 1, 1, 2]


def test_more_partitions_need_fewer_votes_each() -> None:
    assert [votes_to_confirm(partitions) for partitions in (1, 100, 300, 5_000)] == [2_000, 1_000, 333, 300]
