"""Whatever happens in whatever order, on a real topic and a real lake: every offset is in exactly one interval.

Records arrive late and broken, partitions are added, runs come first, again and in any order, processes die between
the commits of the two tables, and snapshots expire. What the intervals hold together is always the topic.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import NoSuchTableError

from include.jobs.ingest import publish as publish_module
from include.jobs.lake.commits import STAGING
from include.jobs.lake.ledger import Interval
from tests.jobs.ingest.broker import Broker, at, record
from tests.jobs.ingest.sales import EVENTS, QUARANTINED
from tests.jobs.ingest.test_interval import BROKEN, rows, run

TABLES = (EVENTS, QUARANTINED)
INTERVALS = 4
#: All that comes after the others, stragglers too.
REST = Interval(at(INTERVALS * 10), at(20_000))
Row = dict[str, Any]

appended = st.lists(
    st.tuples(
        st.integers(0, 2), st.integers(0, 4 * INTERVALS * 10 - 1).map(lambda quarters: quarters / 4), st.booleans()
    ),
    min_size=1,
    max_size=8,
)
numbers = st.integers(0, INTERVALS - 1)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), appended),
        st.tuples(st.just("run"), numbers),
        st.tuples(st.just("crash"), st.tuples(numbers, st.sampled_from(["replace_interval", "publish_interval"]))),
        st.tuples(st.just("grow"), st.none()),
        st.tuples(st.just("expire"), st.none()),
    ),
    min_size=4,
    max_size=12,
)


class Crash(BaseException):
    """The process dies here."""


@contextmanager
def dying_before_the_events_commit(commit: str) -> Iterator[None]:
    """Die after the commit of the quarantine and before that of the events, while staging or while publishing."""
    real = getattr(publish_module, commit)

    def die(catalog: SqlCatalog, name: str, *rest: Any, **options: Any) -> int:
        if name == EVENTS:
            raise Crash
        return int(real(catalog, name, *rest, **options))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publish_module, commit, die)
        yield


class World:
    """A topic, a lake, and what each interval held when it was first published."""

    def __init__(self, catalog: SqlCatalog, broker: Broker, topic: str) -> None:
        self.catalog, self.broker, self.topic = catalog, broker, topic
        self.partitions = 1
        self.sent: list[tuple[int, bytes]] = []
        self.first: dict[int, list[Row]] = {}

    def append(self, messages: list[tuple[int, float, bool]]) -> None:
        batch = []
        for partition, hours, good in messages:
            number = len(self.sent)
            value = record(hours, number) if good else BROKEN + str(number).encode()
            self.sent.append((partition % self.partitions, value))
            batch.append((partition % self.partitions, hours, value))
        self.broker.send(self.topic, batch)

    def run(self, number: int) -> None:
        run(self.catalog, self.broker, self.topic, number)
        held = self.held(number)
        assert self.first.setdefault(number, held) == held, "a re-run reproduces the interval"

    def crash(self, what: tuple[int, str]) -> None:
        number, commit = what
        with pytest.raises(Crash), dying_before_the_events_commit(commit):
            run(self.catalog, self.broker, self.topic, number)
        if number in self.first:
            assert self.held(number, EVENTS) == [row for row in self.first[number] if "reason" not in row]

    def grow(self, _: None) -> None:
        if self.partitions < 3:
            self.partitions += 1
            self.broker.widen(self.topic, self.partitions)

    def expire(self, _: None) -> None:
        """All snapshots but those that the branches are at."""
        for name in TABLES:
            try:
                table = self.catalog.load_table(name)
            except NoSuchTableError:
                continue
            kept = {table.snapshot_by_name(branch) for branch in ("main", STAGING)}
            if gone := [one.snapshot_id for one in table.snapshots() if one not in kept]:
                table.maintenance.expire_snapshots().by_ids(gone).commit()

    def held(self, number: int, *names: str) -> list[Row]:
        """The rows of an interval, without what tells one run of it from the other."""
        start = at(number * 10)
        found = [row for name in names or TABLES for row in rows(self.catalog, name) if row["interval_start"] == start]
        return [{key: value for key, value in row.items() if key != "run_id"} for row in found]


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps)
def test_what_the_intervals_hold_together_is_the_topic(
    catalog: SqlCatalog, broker: Broker, topic_name: Callable[..., str], course: list[tuple[str, Any]]
) -> None:
    for name in TABLES:
        if catalog.table_exists(name):
            catalog.drop_table(name)
    world = World(catalog, broker, topic_name(1))
    for action, argument in course:
        getattr(world, action)(argument)
    for number in range(INTERVALS):
        world.run(number)
    run(catalog, broker, world.topic, 0, bounds=REST)

    offsets = [0] * world.partitions
    expected = []
    for partition, value in world.sent:
        expected.append((partition, offsets[partition], value.startswith(BROKEN)))
        offsets[partition] += 1
    found = [
        (row["kafka_partition"], row["kafka_offset"], name == QUARANTINED)
        for name in TABLES
        for row in rows(catalog, name)
    ]
    assert sorted(found) == sorted(expected)
    for number in range(INTERVALS):
        world.run(number)
