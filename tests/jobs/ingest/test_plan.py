"""The planner alone, against a model of Kafka: random topics, orders, lateness, re-runs, retention."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from include.jobs.ingest.boundary import Boundary
from include.jobs.ingest.plan import (
    IntervalOpenError,
    PartitionView,
    RetentionError,
    TopicChangedError,
    TopicView,
    fits,
    plan,
)
from include.jobs.ingest.sources import Sources
from include.jobs.lake.errors import EXIT_TRY_LATER
from include.jobs.lake.ledger import Counts, Interval, IntervalRecord, Ledger, LedgerError, Mark, OffsetRange

EPOCH = dt.datetime(2017, 1, 1, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)
FOREVER = EPOCH + 10_000 * HOUR
NONE = dt.timedelta(0)
NOT_MOVED = Sources()


def at(hours: float) -> dt.datetime:
    return EPOCH + hours * HOUR


def interval(number: int) -> Interval:
    """The number-th interval of ten hours."""
    return Interval(at(number * 10), at(number * 10 + 10))


@dataclass
class Model:
    """A topic as lists of message times, in hours, and a ledger."""

    partitions: list[list[float]]
    lows: list[int] = field(default_factory=list)
    records: dict[Interval, IntervalRecord] = field(default_factory=dict)
    topic_id: str = "a"

    def __post_init__(self) -> None:
        self.lows = self.lows or [0] * len(self.partitions)

    def view(self) -> TopicView:
        parts = enumerate(zip(self.lows, self.partitions, strict=True))
        views = {number: PartitionView(low, len(times), len(times)) for number, (low, times) in parts}
        return TopicView("events", self.topic_id, views)

    def boundaries(
        self, moment: dt.datetime, view: TopicView, floors: Mapping[int, int], now: dt.datetime
    ) -> dict[int, Boundary]:
        """By definition: what misplaces the fewest."""
        found = {}
        for number, floor in floors.items():
            later = [at(time) >= moment for time in self.partitions[number]]
            misplaced = {
                offset: sum(later[floor:offset]) + later[offset:].count(False)
                for offset in range(max(floor, view.partitions[number].low), len(later) + 1)
            }
            best = min(misplaced, key=lambda offset: (misplaced[offset], offset)) if misplaced else floor
            evidence = later[best:].count(True) - later[best:].count(False)
            found[number] = Boundary(best, evidence)
        return found

    def timeless(self, spans: Mapping[int, OffsetRange], now: dt.datetime) -> set[int]:
        return set()

    def cut(self, marks: Mapping[int, Mark]) -> dict[int, int]:
        return {}

    def time_at(self, number: int, span: OffsetRange, *, stable: bool = True) -> dt.datetime | None:
        return at(self.partitions[number][span.start]) if len(span) else None

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.records)

    def run(self, number: int, now: dt.datetime = FOREVER, lateness: dt.timedelta = NONE) -> dict[int, OffsetRange]:
        return self.take(interval(number), now, lateness)

    def take(
        self, wanted: Interval, now: dt.datetime = FOREVER, lateness: dt.timedelta = NONE
    ) -> dict[int, OffsetRange]:
        ranges = dict(plan(wanted, self.ledger, NOT_MOVED, self, now, lateness).ranges)
        read = sum(len(span) for span in ranges.values())
        self.records[wanted] = IntervalRecord(
            wanted, "events", self.topic_id, ranges, Counts(read, read, 0), "run", FOREVER
        )
        return ranges


times = st.integers(-20, 220).map(lambda quarters: quarters / 4)
appended = st.lists(st.tuples(st.integers(0, 2), times), max_size=6)
actions = st.lists(st.one_of(appended, st.integers(0, 4)), max_size=25)


def ranges_keep_the_invariant(model: Model) -> None:
    closed = list(model.ledger)
    for earlier, later in pairwise(closed):
        for number in range(len(model.partitions)):
            end, start = earlier.range_of(number).end, later.range_of(number).start
            assert end <= start
            if earlier.interval.end == later.interval.start:
                assert end == start


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(actions)
def test_every_offset_is_in_exactly_one_closed_interval(steps: list[list[tuple[int, float]] | int]) -> None:
    """Appends (late ones too) and runs in any order, again and again; then everything is closed."""
    model = Model([[], [], []])
    first_taken: dict[Interval, dict[int, OffsetRange]] = {}
    for step in steps:
        if isinstance(step, int):
            ranges = model.run(step)
            assert first_taken.setdefault(interval(step), ranges) == ranges, "a re-run takes what the first run took"
        else:
            for number, time in step:
                model.partitions[number].append(time)
        ranges_keep_the_invariant(model)
    for number in range(5):
        model.run(number)
    model.take(Interval(at(-100), at(0)))
    ranges_keep_the_invariant(model)

    for number in range(len(model.partitions)):
        taken = [offset for record in model.ledger for offset in range(*_bounds(record.range_of(number)))]
        assert taken == list(range(len(taken))), "each once, from the first on"


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.lists(times, max_size=20), min_size=1, max_size=3),
    st.permutations(range(5)),
)
def test_records_in_order_fall_into_the_interval_of_their_time(partitions: list[list[float]], order: list[int]) -> None:
    """Without stragglers, an interval takes exactly the records of its time, whatever the order of the runs."""
    model = Model([sorted(times) for times in partitions])
    for number in order:
        ranges = model.run(number)
        for partition, times in enumerate(model.partitions):
            span = ranges[partition]
            assert times[span.start : span.end] == [t for t in times if number * 10 <= t < number * 10 + 10]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(actions)
def test_a_straggler_goes_to_the_next_open_interval(steps: list[list[tuple[int, float]] | int]) -> None:
    """What arrives for a closed interval is taken by a later one, never by the closed one and never by none."""
    model = Model([[], [], []])
    for step in steps:
        if isinstance(step, list):
            for number, time in step:
                model.partitions[number].append(time)
    model.run(0)
    ends = {number: model.records[interval(0)].range_of(number).end for number in range(3)}
    for times in model.partitions:
        times.append(3.0)
    ranges = model.run(1)
    for number, times in enumerate(model.partitions):
        straggler = len(times) - 1
        assert straggler >= ends[number]
        later_is_there = any(time >= 20 for time in times[ends[number] :])
        assert straggler in range(*_bounds(ranges[number])) or later_is_there


#: Where the intervals of a schedule begin, and how long they are, in hours: days, hours, days of another zone, weeks.
UNITS = [(0, 10), (0, 2), (3, 10), (0, 20)]
of_any_unit = st.tuples(st.sampled_from(UNITS), st.integers(0, 9)).map(
    lambda drawn: Interval(at(drawn[0][0] + drawn[0][1] * drawn[1]), at(drawn[0][0] + drawn[0][1] * (drawn[1] + 1)))
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.one_of(appended, of_any_unit), max_size=25))
def test_a_change_of_unit_or_zone_neither_doubles_nor_loses_a_record(
    steps: list[list[tuple[int, float]] | Interval],
) -> None:
    """Boundaries that cut what is closed are refused; once what lies between is ingested too, nothing is missing."""
    model = Model([[], [], []])
    for step in steps:
        if isinstance(step, Interval):
            cut = [other for other in model.records if other != step and _overlap(other, step)]
            if cut:
                with pytest.raises(LedgerError, match="Was the schedule, its time zone or the unit changed"):
                    model.take(step)
            else:
                model.take(step)
        else:
            for number, time in step:
                model.partitions[number].append(time)
        ranges_keep_the_invariant(model)
    for earlier, later in list(pairwise(model.ledger)):
        if earlier.interval.end < later.interval.start:
            model.take(Interval(earlier.interval.end, later.interval.start))
    for number in range(len(model.partitions)):
        taken = [offset for record in model.ledger for offset in range(*_bounds(record.range_of(number)))]
        assert taken == list(range(taken[0], taken[0] + len(taken))) if taken else True


def _overlap(one: Interval, other: Interval) -> bool:
    return one.start < other.end and other.start < one.end


def test_a_skipped_interval_keeps_its_gap() -> None:
    model = Model([[1, 11, 21]])
    assert model.run(0) == {0: OffsetRange(0, 1)}
    assert model.run(2) == {0: OffsetRange(2, 3)}
    model.partitions[0].append(12)
    assert model.run(1) == {0: OffsetRange(1, 2)}, "the straggler lies past interval 2, which is closed"
    assert model.run(3) == {0: OffsetRange(3, 4)}


def test_intervals_before_the_first_and_after_the_last_record_are_empty() -> None:
    model = Model([[21, 22], []])
    assert model.run(0) == {0: OffsetRange(0, 0), 1: OffsetRange(0, 0)}
    assert model.run(4) == {0: OffsetRange(2, 2), 1: OffsetRange(0, 0)}
    assert model.run(2) == {0: OffsetRange(0, 2), 1: OffsetRange(0, 0)}


def test_an_interval_is_open_until_watermark_or_lateness_has_passed() -> None:
    model = Model([[1] + 10 * [11.0], [2] + 9 * [10.0]])
    with pytest.raises(IntervalOpenError, match=r"partitions \[1\] have not moved past its end by 10 rec") as caught:
        model.run(0, now=at(10.5), lateness=HOUR)
    assert caught.value.exit_code == EXIT_TRY_LATER
    model.partitions[1].append(10)
    with pytest.raises(IntervalOpenError, match="it is not over yet"):
        model.run(0, now=at(9.9), lateness=HOUR)
    assert model.run(0, now=at(10.5), lateness=HOUR) == {0: OffsetRange(0, 1), 1: OffsetRange(0, 1)}
    assert model.run(1, now=at(21), lateness=HOUR) == {0: OffsetRange(1, 11), 1: OffsetRange(1, 11)}


def test_a_rerun_needs_no_watermark() -> None:
    model = Model([[1]])
    model.run(0)
    assert model.run(0, now=EPOCH, lateness=HOUR) == {0: OffsetRange(0, 1)}


def test_dropped_records_are_an_error_that_names_the_dates() -> None:
    model = Model([[1, 2, 13, 14]], lows=[3])
    with pytest.raises(
        RetentionError, match=r"has dropped offsets 0 to 3 of partition 0.*2017-01-01T14:00:00Z"
    ) as caught:
        model.run(0)
    assert "2017-01-01T00:00:00Z to 2017-01-01T10:00:00Z is gone" in str(caught.value)
    with pytest.raises(RetentionError, match="2017-01-01T10:00:00Z to 2017-01-01T14:00:00Z is gone"):
        model.run(1)
    assert model.run(2) == {0: OffsetRange(4, 4)}


def test_dropped_records_of_a_closed_interval_are_an_error_on_its_rerun_only() -> None:
    model = Model([[1, 2, 13, 14]])
    model.run(0)
    model.lows = [2]
    assert model.run(1) == {0: OffsetRange(2, 4)}, "the neighbour's end is recorded, so nothing of this one is missing"
    with pytest.raises(RetentionError, match="offsets 0 to 2"):
        model.run(0)


def test_everything_dropped_is_an_error() -> None:
    with pytest.raises(RetentionError, match="nothing is kept"):
        Model([[1, 2]], lows=[2]).run(0)


def test_records_from_before_the_interval_prove_its_beginning() -> None:
    assert Model([[1, 2, 13]], lows=[1]).run(1) == {0: OffsetRange(2, 3)}


def test_another_topic_is_refused() -> None:
    model = Model([[1, 11]])
    model.run(0)
    model.topic_id = "b"
    for number in (0, 1):
        with pytest.raises(TopicChangedError, match="offsets of one say nothing of the other"):
            model.run(number)


def test_a_topic_that_lost_its_end_is_refused() -> None:
    model = Model([[1, 2]])
    model.run(0)
    model.partitions = [[1]]
    with pytest.raises(TopicChangedError, match=r"needs offsets 0 to 2 .*ends at offset 1"):
        model.run(0)
    with pytest.raises(TopicChangedError, match="ends at offset 1, but closed intervals have read it up to 2"):
        model.run(1)


def test_a_partition_added_later_starts_at_its_beginning() -> None:
    model = Model([[1, 11]])
    model.run(0)
    model.partitions.append([4, 12, 23])
    model.lows.append(0)
    assert model.run(1) == {0: OffsetRange(1, 2), 1: OffsetRange(0, 2)}
    assert model.run(0) == {0: OffsetRange(0, 1)}


def test_overlapping_intervals_are_refused() -> None:
    model = Model([[1]])
    model.run(0)
    other = Interval(at(5), at(15))
    with pytest.raises(LedgerError, match="overlaps the closed interval"):
        plan(other, model.ledger, NOT_MOVED, model, FOREVER, NONE)


def test_ranges_planned_at_once_fit_only_until_a_neighbour_closes_otherwise() -> None:
    """Two first runs of neighbours plan at the same time, and a record arrives between the two plans."""
    model = Model([[1]])
    first = plan(interval(0), model.ledger, NOT_MOVED, model, FOREVER, NONE).ranges
    model.partitions[0].append(2)
    model.run(1)
    assert not fits(interval(0), model.ledger, NOT_MOVED, first)
    assert fits(interval(0), model.ledger, NOT_MOVED, {0: OffsetRange(0, 2)})
    assert fits(interval(3), model.ledger, NOT_MOVED, {0: OffsetRange(2, 2)})
    assert not fits(interval(1), model.ledger, NOT_MOVED, {0: OffsetRange(0, 1)})


def _bounds(span: OffsetRange) -> tuple[int, int]:
    return span.start, span.end
