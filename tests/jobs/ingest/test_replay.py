"""Quarantined records put back: once, whatever crashes and however often it is asked for."""

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest
from pyiceberg.catalog.sql import SqlCatalog

from include.jobs.ingest import publish as publish_module
from include.jobs.ingest.contract import Contract
from include.jobs.ingest.publish import publish
from include.jobs.ingest.replay import MendsError, ReplayError, read_mends, replay
from include.jobs.lake.ledger import Interval
from include.jobs.lake.pages import closed_intervals
from tests.jobs.ingest.broker import Broker, at, record
from tests.jobs.ingest.records import encode
from tests.jobs.ingest.sales import CONTRACT, EVENTS, QUARANTINED, SALES
from tests.jobs.ingest.test_interval import BROKEN, places, rows, run, stage
from tests.jobs.ingest.test_publish import both, staged

WANTED = Interval(at(0), at(10))
MENDED = {(0, 1): (b"900", record(2, 7)), (0, 9): (b"900", record(9))}


def again(catalog: SqlCatalog, contract: Contract = CONTRACT, mends: Any = None) -> dict[str, Any]:
    return replay(catalog, SALES, contract, WANTED, "mending", mends or {})


@pytest.fixture
def topic(catalog: SqlCatalog, broker: Broker, topic_name: Callable[..., str]) -> str:
    """Two good records and three broken ones, ingested and published."""
    name = topic_name(1)
    negative = encode(quantity=-1)
    broker.send(name, [(0, 1, record(1)), (0, 2, BROKEN), (0, 3, negative), (0, 4, record(4, 1)), (0, 5, b"\xff")])
    run(catalog, broker, name, 0)
    return name


def test_mended_records_are_put_back_once(catalog: SqlCatalog, broker: Broker, topic: str) -> None:
    result = again(catalog, mends=MENDED)
    assert (result["replayed"], result["accepted"], result["quarantined"]) == (1, 3, 2)
    assert result["reasons"] == {"bad_encoding": 1, "impossible_value": 1}
    assert result["unknown"] == [(0, 9)]
    assert both(catalog) == ([(0, 0), (0, 3)], [(0, 1), (0, 2), (0, 4)]), "nobody sees it before it is judged"
    publish(catalog, SALES, staged(catalog))
    assert both(catalog) == ([(0, 0), (0, 1), (0, 3)], [(0, 2), (0, 4)])
    mended = rows(catalog)[1]
    assert (mended["event_id"], mended["event_time"], mended["interval_start"]) == ("31198570044-7", at(2), at(0))
    kept = rows(catalog, QUARANTINED)
    assert (kept[1]["value"], kept[1]["reason"], kept[1]["run_id"]) == (b"\xff", "bad_encoding", "run-0")
    (closed,) = closed_intervals(catalog.load_table(EVENTS))
    assert (closed.counts.read, closed.counts.accepted, closed.mended) == (5, 3, {0: (1,)})

    snapshots = len(catalog.load_table(EVENTS).snapshots())
    second = again(catalog, mends=MENDED)
    assert (second["replayed"], second["unknown"]) == (0, [(0, 1), (0, 9)])
    assert len(catalog.load_table(EVENTS).snapshots()) == snapshots


def test_a_second_ingest_keeps_what_was_mended(catalog: SqlCatalog, broker: Broker, topic: str) -> None:
    again(catalog, mends=MENDED)
    publish(catalog, SALES, staged(catalog))
    before = rows(catalog)
    result = run(catalog, broker, topic, 0)
    assert (result["read"], result["accepted"], result["reasons"]) == (5, 3, {"bad_encoding": 1, "impossible_value": 1})
    assert rows(catalog) == before
    assert run(catalog, broker, topic, 0)["accepted"] == 3


def test_what_keeps_a_changed_contract_comes_back_as_it_was(catalog: SqlCatalog, broker: Broker, topic: str) -> None:
    fields = [dataclasses.replace(item, minimum=-10) if item.name == "quantity" else item for item in CONTRACT.fields]
    assert again(catalog, dataclasses.replace(CONTRACT, fields=tuple(fields)))["replayed"] == 1
    publish(catalog, SALES, staged(catalog))
    assert [row["quantity"] for row in rows(catalog)] == [1, -1, 1]


@pytest.mark.parametrize("identifier", [QUARANTINED, EVENTS])
def test_a_crash_in_publishing_is_mended_by_the_next_try(
    catalog: SqlCatalog, broker: Broker, topic: str, monkeypatch: pytest.MonkeyPatch, identifier: str
) -> None:
    mends = MENDED | {(0, 2): (b"900", record(3, 8)), (0, 4): (b"900", record(5, 9))}
    assert again(catalog, mends=mends)["quarantined"] == 0
    commit = publish_module.publish_interval

    def crash(catalog: SqlCatalog, name: str, *rest: Any, **options: Any) -> int:
        if name == identifier:
            raise KeyboardInterrupt
        return commit(catalog, name, *rest, **options)

    monkeypatch.setattr(publish_module, "publish_interval", crash)
    with pytest.raises(KeyboardInterrupt):
        publish(catalog, SALES, staged(catalog))
    monkeypatch.setattr(publish_module, "publish_interval", commit)
    publish(catalog, SALES, staged(catalog))
    assert both(catalog) == ([(0, offset) for offset in range(5)], [])
    assert len(places(catalog)) == 5


def test_what_cannot_be_replayed_says_why(catalog: SqlCatalog, broker: Broker, topic: str) -> None:
    with pytest.raises(ReplayError, match="is not closed: ingest it first"):
        replay(catalog, SALES, CONTRACT, Interval(at(10), at(20)), "r", {})
    stage(catalog, broker, topic, 0)
    with pytest.raises(ReplayError, match="waits to be judged: run `validate` or `discard`"):
        again(catalog, mends=MENDED)


def test_the_file_of_mended_records_is_read_strictly() -> None:
    line = {"partition": 0, "offset": 5, "key": "900", "value": {"quantity": 1}}
    assert read_mends([json.dumps(line), ""]) == {(0, 5): (b"900", b'{"quantity":1}')}
    with pytest.raises(MendsError, match=r"line 2 .* names partition 0, offset 5 again"):
        read_mends([json.dumps(line)] * 2)
    with pytest.raises(MendsError, match="line 1 of the mended records is not like"):
        read_mends(['{"partition": 0}'])
