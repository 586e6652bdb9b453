"""What a backfill would do is told before it does it, and it then does that."""

import datetime as dt
from collections.abc import Callable
from typing import Any

from pyiceberg.catalog.sql import SqlCatalog

from include.jobs.ingest.contract import Contract
from include.jobs.ingest.preflight import explain, preflight, summary
from include.jobs.ingest.topic import Topic
from include.jobs.lake.ledger import Interval
from tests.jobs.ingest.broker import Broker, at, record
from tests.jobs.ingest.sales import CONTRACT, EVENTS, SALES
from tests.jobs.ingest.test_evolution import V2, changed
from tests.jobs.ingest.test_interval import rows, run

MakeTopic = Callable[..., str]
NEVER = dt.timedelta(days=36_500)


def look(
    catalog: SqlCatalog,
    broker: Broker,
    topic: str,
    numbers: range,
    *,
    contract: Contract = CONTRACT,
    reprocess: bool = True,
    lateness: dt.timedelta = dt.timedelta(0),
) -> dict[str, Any]:
    """The outlook of intervals of ten hours."""
    intervals = [Interval(at(number * 10), at(number * 10 + 10)) for number in numbers]
    with Topic(broker.servers, topic) as opened:
        return preflight(catalog, opened, contract, SALES.events, intervals, lateness, reprocess=reprocess)


def changes_of(result: dict[str, Any]) -> list[str]:
    return [entry["change"] for entry in result["intervals"]]


def test_it_tells_what_would_be_new_replaced_and_unchanged_and_that_comes_true(
    catalog: SqlCatalog, broker: Broker, topic_name: MakeTopic
) -> None:
    topic = topic_name(2)
    hours = [1, 2, 11, 12, 13, 24, 31]
    good = [(number % 2, hour, record(hour, number)) for number, hour in enumerate(hours)]
    broker.send(topic, [*good[:-1], (0, 14, b"broken"), good[-1]])
    assert changes_of(look(catalog, broker, topic, range(3))) == ["new"] * 3, "before there is a table"
    run(catalog, broker, topic, 1)
    before = rows(catalog)
    found = look(catalog, broker, topic, range(4))
    assert changes_of(found) == ["new", "replaced", "new", "new"]
    entry = found["intervals"][1]
    assert (entry["offsets"], entry["rows_before"], entry["quarantined_before"]) == (4, 3, 1)
    assert found["problems"] == []
    current = str(catalog.load_table(EVENTS).metadata.current_snapshot_id)
    assert found["datasets"]["inputs"] == [
        {"kind": "topic", "name": topic},
        {"kind": "table", "name": EVENTS, "snapshot_id": current, "rows": 3},
    ]
    assert changes_of(look(catalog, broker, topic, range(4), reprocess=False)) == ["new", "unchanged", "new", "new"]
    assert rows(catalog) == before, "looking changes nothing"

    read = [run(catalog, broker, topic, number)["read"] for number in range(4)]
    assert read == [entry["offsets"] for entry in found["intervals"]]
    assert found["offsets"] == sum(read)
    text = summary(found)
    assert "3 new, 1 replaced; 8 offsets to read, 3 rows there before" in text
    assert "2017-01-01T10:00:00Z to 2017-01-01T20:00:00Z: replaced, 4 offsets, 3 rows before" in text


def test_what_retention_has_dropped_is_told_with_the_dates(
    catalog: SqlCatalog, broker: Broker, topic_name: MakeTopic
) -> None:
    topic = topic_name(1)
    broker.send(topic, [(0, hour, record(hour, hour)) for hour in range(40)])
    broker.drop_before(topic, 0, 15)
    found = look(catalog, broker, topic, range(4))
    assert changes_of(found) == ["refused", "refused", "new", "new"]
    assert found["offsets"] == 20
    text = str(explain(found))
    assert "a backfill of 4 intervals of sales.transactions would fail; nothing was started" in text
    assert "so 2017-01-01T00:00:00Z to 2017-01-01T10:00:00Z is gone" in text
    assert "so 2017-01-01T10:00:00Z to 2017-01-01T15:00:00Z is gone" in text


def test_what_is_not_over_yet_is_open_and_no_problem(
    catalog: SqlCatalog, broker: Broker, topic_name: MakeTopic
) -> None:
    topic = topic_name(1)
    broker.send(topic, [(0, hour, record(hour, hour)) for hour in range(25)])
    found = look(catalog, broker, topic, range(2), lateness=NEVER)
    assert changes_of(found) == ["new", "open"]
    assert found["problems"] == []


def test_other_boundaries_than_those_that_are_closed_are_refused_with_the_mend(
    catalog: SqlCatalog, broker: Broker, topic_name: MakeTopic
) -> None:
    """A monthly table, and the days of its months."""
    topic = topic_name(1)
    broker.send(topic, [(0, hour, record(hour, hour)) for hour in range(40)])
    run(catalog, broker, topic, 0, bounds=Interval(at(0), at(30)))
    found = look(catalog, broker, topic, range(4))
    assert changes_of(found) == ["refused"] * 3 + ["new"]
    (problem,) = {entry["problem"].partition("overlaps")[2] for entry in found["intervals"] if "problem" in entry}
    assert "Was the schedule, its time zone or the unit changed?" in problem
    assert "go on with the new ones from 2017-01-02T06:00:00Z on" in problem


def test_what_the_contract_would_change_is_told_and_what_it_must_not_is_a_problem(
    catalog: SqlCatalog, broker: Broker, topic_name: MakeTopic
) -> None:
    from include.jobs.ingest.evolution import bring_up

    topic = topic_name(1)
    bring_up(catalog, CONTRACT, EVENTS)
    found = look(catalog, broker, topic, range(1), contract=V2)
    assert "note: was missing, is optional string 1 to 20" in found["contract_changes"]
    assert "the table's columns would change: note" in summary(found)
    refused = look(catalog, broker, topic, range(1), contract=changed(CONTRACT, store_id={}))
    assert "store_id: was integer (64 bits) 1 to 1000000000, is missing" in refused["problems"][0]
