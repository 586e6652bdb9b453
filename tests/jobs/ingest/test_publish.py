"""Staged intervals on a real lake: invisible until they are published, repaired by a second run after a crash."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pyiceberg.catalog.sql import SqlCatalog

from include.jobs.ingest import publish as publish_module
from include.jobs.ingest.expectations import Suite
from include.jobs.ingest.publish import (
    IntervalNotStagedError,
    LedgerMismatchError,
    StagedAgainError,
    discard,
    publish,
    staged_record,
)
from include.jobs.ingest.validate import validate
from include.jobs.lake.catalog import open_catalog
from include.jobs.lake.commits import STAGING, replace_interval
from include.jobs.lake.connections import Connections
from include.jobs.lake.ledger import Interval, IntervalRecord
from include.jobs.lake.pages import closed_intervals, staged_intervals
from tests.jobs.ingest.broker import Broker, at, record
from tests.jobs.ingest.sales import EVENTS, QUARANTINED, SALES
from tests.jobs.ingest.test_interval import BROKEN, places, run, stage

MakeTopic = Callable[..., str]
FIRST = Interval(at(0), at(10))
ANYTHING = Suite("anything", 1_000, ({"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}},))
NOTHING = Suite("nothing", 1_000, ({"type": "expect_table_row_count_to_be_between", "kwargs": {"max_value": 0}},))


def staged(catalog: SqlCatalog, interval: Interval = FIRST) -> IntervalRecord:
    found = staged_record(catalog.load_table(EVENTS), interval)
    assert found is not None
    return found


def closed(catalog: SqlCatalog) -> list[IntervalRecord]:
    return list(closed_intervals(catalog.load_table(EVENTS)))


def both(catalog: SqlCatalog) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    return places(catalog), places(catalog, QUARANTINED)


def test_a_refused_interval_is_never_visible_and_a_second_run_replaces_it(
    catalog: SqlCatalog, broker: Broker, topic_name: MakeTopic
) -> None:
    topic = topic_name(1)
    broker.send(topic, [(0, 1, record(1)), (0, 2, BROKEN)])
    for _ in range(2):
        assert stage(catalog, broker, topic, 0)["read"] == 2
        assert not validate(catalog, SALES, FIRST, NOTHING)["success"]
        assert (both(catalog), closed(catalog)) == (([], []), [])
    assert validate(catalog, SALES, FIRST, ANYTHING)["published"]
    assert both(catalog) == ([(0, 0)], [(0, 1)])
    (only,) = closed(catalog)
    assert (only.counts.read, only.interval) == (2, FIRST)
    assert not staged_intervals(catalog.load_table(EVENTS))


def test_a_published_interval_stays_while_its_second_run_is_refused(
    catalog: SqlCatalog, broker: Broker, topic_name: MakeTopic
) -> None:
    topic = topic_name(1)
    broker.send(topic, [(0, 1, record(1)), (0, 2, BROKEN)])
    run(catalog, broker, topic, 0)
    before = both(catalog), closed(catalog)
    assert stage(catalog, broker, topic, 0)["rerun"]
    assert not validate(catalog, SALES, FIRST, NOTHING)["success"]
    assert (both(catalog), closed(catalog)) == before
    validate(catalog, SALES, FIRST, ANYTHING)
    assert both(catalog) == before[0]
    assert len(closed(catalog)) == 1


def test_staged_neighbours_keep_their_offsets(catalog: SqlCatalog, broker: Broker, topic_name: MakeTopic) -> None:
    """While an interval waits for a person, a straggler of its time goes to the next one, and nothing is lost."""
    topic = topic_name(1)
    broker.send(topic, [(0, 1, record(1))])
    assert stage(catalog, broker, topic, 0)["ranges"] == {"0": [0, 1]}
    broker.send(topic, [(0, 2, record(2, 1)), (0, 11, record(11, 2))])
    assert run(catalog, broker, topic, 1)["ranges"] == {"0": [1, 3]}
    assert stage(catalog, broker, topic, 0)["ranges"] == {"0": [0, 1]}
    publish(catalog, SALES, staged(catalog))
    assert places(catalog) == [(0, 0), (0, 1), (0, 2)]


@pytest.mark.parametrize("published_before", [False, True])
@pytest.mark.parametrize("identifier", [QUARANTINED, EVENTS])
def test_a_crash_in_publishing_is_mended_by_the_next_try(
    catalog: SqlCatalog,
    broker: Broker,
    topic_name: MakeTopic,
    monkeypatch: pytest.MonkeyPatch,
    identifier: str,
    published_before: bool,
) -> None:
    topic = topic_name(1)
    broker.send(topic, [(0, 1, record(1)), (0, 2, BROKEN), (0, 3, BROKEN)])
    if published_before:
        run(catalog, broker, topic, 0)
    stage(catalog, broker, topic, 0)
    commit = publish_module.publish_interval

    def crash(catalog: SqlCatalog, name: str, *rest: Any, **options: Any) -> int:
        if name == identifier:
            raise KeyboardInterrupt
        return commit(catalog, name, *rest, **options)

    monkeypatch.setattr(publish_module, "publish_interval", crash)
    with pytest.raises(KeyboardInterrupt):
        validate(catalog, SALES, FIRST, ANYTHING)
    assert len(closed(catalog)) == published_before
    monkeypatch.setattr(publish_module, "publish_interval", commit)
    assert validate(catalog, SALES, FIRST, ANYTHING)["published"]
    assert both(catalog) == ([(0, 0)], [(0, 1), (0, 2)])
    assert "snapshot_id" not in validate(catalog, SALES, FIRST, ANYTHING), "it is judged again, and not published twice"
    assert both(catalog) == ([(0, 0)], [(0, 1), (0, 2)])


def test_a_crash_between_judging_and_a_new_staging_is_noticed(
    catalog: SqlCatalog, broker: Broker, topic_name: MakeTopic
) -> None:
    topic = topic_name(1)
    broker.send(topic, [(0, 1, record(1)), (0, 2, record(2, 1))])
    stage(catalog, broker, topic, 0)
    judged = staged(catalog)
    stage(catalog, broker, topic, 0)
    with pytest.raises(StagedAgainError, match="is no longer what was judged"):
        publish(catalog, SALES, judged)
    assert places(catalog) == []
    replace_interval(catalog, EVENTS, FIRST.start, [], branch=STAGING, summary={})
    with pytest.raises(LedgerMismatchError, match="holds 0 rows on branch staging, the ledger records 2"):
        validate(catalog, SALES, FIRST, ANYTHING)
    stage(catalog, broker, topic, 0)
    assert validate(catalog, SALES, FIRST, ANYTHING)["published"]


def test_a_discarded_interval_frees_its_offsets(catalog: SqlCatalog, broker: Broker, topic_name: MakeTopic) -> None:
    topic = topic_name(1)
    broker.send(topic, [(0, 1, record(1)), (0, 2, BROKEN), (0, 11, record(11, 1))])
    stage(catalog, broker, topic, 0)
    discard(catalog, SALES, FIRST)
    with pytest.raises(IntervalNotStagedError, match="there is nothing to discard"):
        discard(catalog, SALES, FIRST)
    wide = Interval(at(0), at(20))
    assert run(catalog, broker, topic, 0, bounds=wide)["read"] == 3
    assert both(catalog) == ([(0, 0), (0, 2)], [(0, 1)])


def test_intervals_are_staged_judged_and_published_side_by_side(
    catalog: SqlCatalog, connections: Connections, broker: Broker, topic_name: MakeTopic
) -> None:
    topic = topic_name(2)
    broker.send(topic, [(number % 2, number / 4, record(number / 4, number)) for number in range(160)])

    def through(number: int) -> dict[str, Any]:
        mine = open_catalog(connections)
        stage(mine, broker, topic, number)
        return validate(mine, SALES, Interval(at(number * 10), at(number * 10 + 10)), ANYTHING)

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(through, range(4)))
    assert all(result["published"] for result in results)
    assert len(set(places(catalog))) == len(places(catalog)) == 160
    assert [one.counts.accepted for one in closed(catalog)] == [40] * 4
