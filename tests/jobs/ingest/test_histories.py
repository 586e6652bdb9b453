"""Whatever a topic goes through, its intervals hold together what a plain reader of it gets, each record once.

Drawn histories on a real broker: plain and transactional producers, aborted and hanging transactions, clocks that are
ahead or behind, times that are none, compacted topics, intervals run in any order and again.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from confluent_kafka import Producer
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pyiceberg.catalog.sql import SqlCatalog

from include.jobs.ingest.interval import FoundLessError
from include.jobs.ingest.plan import OpenTransactionError
from include.jobs.lake.ledger import Interval
from tests.jobs.ingest.broker import Broker, at, milliseconds, record
from tests.jobs.ingest.sales import EVENTS, QUARANTINED
from tests.jobs.ingest.test_interval import BROKEN, rows, run
from tests.jobs.ingest.test_offsets import ANY_TIME, COMPACTED

PARTITIONS = 2
INTERVALS = [Interval(at(number * 10), at(number * 10 + 10)) for number in range(4)]
#: All that bears a time from before the others, and all from after them.
BEFORE, REST = Interval.parse("1970-01-01T00:00:00Z", "2017-01-01T00:00:00Z"), Interval(at(40), at(50_000))
#: Microseconds, before the year 1, beyond what tables hold; years ahead of now, so that they have no vote.
NO_TIMES = (1_483_228_800_000_000, -62_135_600_400_000, -5, 2**62, -(2**62), 4_000_000_000_000)
#: By how many hours a clock is wrong.
WRONG = (-400_000, -30, -1, 1, 30)

stamps = st.one_of(
    st.integers(0, 39).map(milliseconds),
    st.integers(0, 39).map(milliseconds),
    st.tuples(st.integers(0, 39), st.sampled_from(WRONG)).map(lambda drawn: max(1, milliseconds(sum(drawn)))),
    st.sampled_from(NO_TIMES),
)
messages = st.lists(st.tuples(st.integers(0, PARTITIONS - 1), stamps, st.booleans()), min_size=1, max_size=8)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), messages),
        st.tuples(st.just("replay"), st.integers(0, PARTITIONS - 1)),
        st.tuples(st.just("transact"), st.tuples(messages, st.sampled_from(["commit", "abort", "hang"]))),
        st.tuples(st.just("end"), st.booleans()),
        st.tuples(st.just("run"), st.integers(0, len(INTERVALS) - 1)),
    ),
    min_size=3,
    max_size=10,
)


class World:
    """A topic, a lake, and the rows that were published so far."""

    def __init__(self, catalog: SqlCatalog, broker: Broker, topic: str, compacted: bool) -> None:
        self.catalog, self.broker, self.topic, self.compacted = catalog, broker, topic, compacted
        self.hanging: Producer | None = None
        self.sent = 0
        self.published: dict[tuple[int, int], Any] = {}

    def _produce(self, producer: Producer, batch: list[tuple[int, int, bool]]) -> None:
        for partition, stamp, good in batch:
            self.sent += 1
            value = record(1, self.sent) if good else BROKEN + str(self.sent).encode()
            producer.produce(self.topic, value, b"900", partition, timestamp=stamp)
        assert producer.flush(60) == 0

    def append(self, batch: list[tuple[int, int, bool]]) -> None:
        self._produce(Producer({"bootstrap.servers": self.broker.servers, "log_level": 0}), batch)

    def replay(self, partition: int) -> None:
        """A well-stamped history."""
        self.append([(partition, milliseconds(hour), True) for hour in range(0, 40, 2)])

    def transact(self, what: tuple[list[tuple[int, int, bool]], str]) -> None:
        batch, outcome = what
        if self.hanging is not None:
            self.append(batch)
            return
        producer = self.broker.transaction(self.topic)
        self._produce(producer, batch)
        if outcome == "hang":
            self.hanging = producer
        elif outcome == "commit":
            producer.commit_transaction(60)
        else:
            producer.abort_transaction(60)

    def end(self, commit: bool) -> None:
        if self.hanging is not None:
            (self.hanging.commit_transaction if commit else self.hanging.abort_transaction)(60)
            self.hanging = None

    def run(self, number: int) -> None:
        if self.hanging is None:
            self.take(INTERVALS[number])
        else:
            with suppress(OpenTransactionError):
                self.take(INTERVALS[number])

    def take(self, interval: Interval) -> None:
        """Run an interval; what was published before is there as it was, or it is told and nothing has changed."""
        if self.compacted:
            with suppress(FoundLessError):
                run(self.catalog, self.broker, self.topic, 0, bounds=interval)
        else:
            run(self.catalog, self.broker, self.topic, 0, bounds=interval)
        held = self.held()
        assert {place: held.get(place) for place in self.published} == self.published
        self.published = held

    def held(self) -> dict[tuple[int, int], Any]:
        """The rows by their place, without what tells one run of an interval from the other."""
        found = [
            ((row["kafka_partition"], row["kafka_offset"]), {key: row[key] for key in row if key != "run_id"})
            for name in (EVENTS, QUARANTINED)
            if self.catalog.table_exists(name)
            for row in rows(self.catalog, name)
        ]
        assert len(dict(found)) == len(found), "each record once"
        return dict(found)


@pytest.fixture
def histories(request: pytest.FixtureRequest) -> int:
    """How many are drawn."""
    return int(request.config.getoption("--histories"))


def test_the_intervals_hold_together_what_a_plain_reader_gets(
    catalog: SqlCatalog, broker: Broker, topic_name: Callable[..., str], histories: int
) -> None:
    broker.clean_at_once()

    @settings(max_examples=histories, deadline=None, suppress_health_check=list(HealthCheck))
    @given(steps, st.booleans(), st.permutations([BEFORE, *INTERVALS, REST]))
    @example(
        [("append", [(1, 2**62, True), (0, milliseconds(3), True)]), ("run", 2)], False, [BEFORE, *INTERVALS, REST]
    )
    def go_through(course: list[tuple[str, Any]], compacted: bool, order: list[Interval]) -> None:
        for name in (EVENTS, QUARANTINED):
            if catalog.table_exists(name):
                catalog.drop_table(name)
        topic = topic_name(PARTITIONS, **ANY_TIME, **(COMPACTED if compacted else {}))
        world = World(catalog, broker, topic, compacted)
        for action, argument in course:
            getattr(world, action)(argument)
        world.end(commit=True)
        for interval in order:
            world.take(interval)
        plain = broker.read(topic, PARTITIONS)
        missing = set(plain) - world.published.keys()
        assert not missing
        # What compaction has taken meanwhile is still published.
        assert compacted or not world.published.keys() - set(plain)
        for interval in order[:2]:
            world.take(interval)
        broker.delete(topic)

    go_through()
