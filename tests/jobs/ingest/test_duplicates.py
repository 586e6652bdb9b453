"""Events that a producer sends more than once: each is in the table once, whatever runs first, and none is lost."""

import dataclasses
import datetime as dt
import pickle
import random
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog

from include.jobs.ingest import interval as ingest_module
from include.jobs.ingest.contract import CONTRACTS_DIR, Contract, ContractError, Duplicates
from include.jobs.ingest.duplicates import DuplicatesError
from include.jobs.ingest.helpers import Helpers
from include.jobs.ingest.interval import Request, ingest
from include.jobs.ingest.keys import Keys, numbers_of
from include.jobs.ingest.publish import publish, staged_record
from include.jobs.ingest.replay import replay
from include.jobs.ingest.topic import Topic
from include.jobs.ingest.validate import validate
from include.jobs.lake.ledger import Interval
from include.jobs.lake.pages import closed_intervals
from tests.jobs.ingest.broker import Broker, at, record
from tests.jobs.ingest.sales import CONTRACT, EVENTS, QUARANTINED, SALES, SUITE
from tests.jobs.ingest.test_interval import digest, rows, run, stage

MakeTopic = Callable[..., str]


def ids(catalog: SqlCatalog) -> list[str]:
    return sorted(row["event_id"] for row in rows(catalog))


def event(number: int, hours: float, **changes: Any) -> bytes:
    return record(hours, event_id=f"event-{number}", **changes)


def deciding(take: Literal["first", "refuse"] = "first", look_back: dt.timedelta = dt.timedelta(days=7)) -> Contract:
    return dataclasses.replace(CONTRACT, duplicates=Duplicates(("event_id",), take, look_back))


def run_by(catalog: SqlCatalog, broker: Broker, topic: str, number: int, contract: Contract) -> dict[str, Any]:
    wanted = Interval(at(number * 10), at(number * 10 + 10))
    with Topic(broker.servers, topic) as opened:
        result = ingest(catalog, opened, contract, Request(wanted, "run", dt.timedelta(0), 0.0, SALES))
    found = staged_record(catalog.load_table(EVENTS), wanted)
    assert found is not None
    publish(catalog, SALES, found)
    return result


def counts(result: dict[str, Any]) -> tuple[int, int, int, int]:
    assert result["read"] == result["accepted"] + result["quarantined"] + result["erased"] + result["duplicates"]
    return result["read"], result["accepted"], result["quarantined"], result["duplicates"]


def test_an_event_that_is_sent_twice_is_taken_once_and_the_other_is_kept_aside(
    catalog: SqlCatalog, broker: Broker, topic_name: MakeTopic
) -> None:
    topic = topic_name(1)
    sent = [(0, number / 10, event(number, number / 10, sales_value=1 + number % 10)) for number in range(60)]
    broker.send(topic, [*sent[:30], sent[29], *sent[30:]])
    wanted = Interval(at(0), at(10))
    with Topic(broker.servers, topic) as opened:
        result = ingest(catalog, opened, CONTRACT, Request(wanted, "run", dt.timedelta(0), 0.0, SALES))
    assert counts(result) == (61, 60, 0, 1), "a duplicate is no broken record: max_bad_fraction is 0"
    assert result["events_per_day"] == {"2017-01-01": 60}
    assert validate(catalog, SALES, wanted, SUITE)["published"]
    assert ids(catalog) == sorted(f"event-{number}" for number in range(60))
    assert 29 in [row["kafka_offset"] for row in rows(catalog)]
    (aside,) = rows(catalog, QUARANTINED)
    assert (aside["kafka_offset"], aside["reason"], aside["key"], aside["value"]) == (
        30,
        "duplicate",
        b"900",
        sent[29][2],
    )
    assert aside["detail"] == (
        "the event was taken from partition 0, offset 29 of the interval from 2017-01-01T00:00:00Z, "
        "with the same content"
    )
    (closed,) = closed_intervals(catalog.load_table(EVENTS))
    assert (closed.counts.accepted, closed.counts.quarantined, closed.counts.duplicates) == (60, 0, 1)
    before = digest(catalog)
    assert counts(run(catalog, broker, topic, 0)) == (61, 60, 0, 1)
    assert digest(catalog) == before
    assert len(rows(catalog, QUARANTINED)) == 1


@pytest.mark.parametrize("order", [(0, 1, 4), (4, 1, 0), (1, 4, 0)])
def test_the_same_event_in_several_intervals_and_partitions_is_taken_once(
    catalog: SqlCatalog, broker: Broker, topic_name: MakeTopic, order: tuple[int, ...]
) -> None:
    topic = topic_name(2)
    sent = [(0, 1.0, 1), (0, 9.9, 7), (1, 10.1, 7), (0, 11.0, 2), (1, 41.0, 7), (1, 42.0, 1), (1, 43.0, 3)]
    broker.send(topic, [(partition, hours, event(number, hours)) for partition, hours, number in sent])
    results = [run(catalog, broker, topic, number) for number in order]
    assert [sum(each) for each in zip(*map(counts, results), strict=True)] == [7, 4, 0, 3]
    assert ids(catalog) == ["event-1", "event-2", "event-3", "event-7"]
    taken = next(row for row in rows(catalog) if row["event_id"] == "event-7")
    assert taken["interval_start"] == at(order[0] * 10), "the first that has run"
    assert all("with another content" in row["detail"] for row in rows(catalog, QUARANTINED)), "bought at other times"
    before = digest(catalog)
    for number in (1, 0, 4):
        run(catalog, broker, topic, number)
    assert digest(catalog) == before


def test_whatever_is_sent_and_whatever_runs_first_each_event_is_there_once(
    catalog: SqlCatalog, broker: Broker, topic_name: MakeTopic
) -> None:
    choose, topic = random.Random(11), topic_name(3)
    sent = [
        (choose.randrange(3), hours, event(choose.randrange(70), choose.choice([1.0, hours])))
        for hours in (choose.uniform(0, 40) for _ in range(200))
    ]
    broker.send(topic, sorted(sent, key=lambda one: one[1]))
    order = [2, 0, 3, 1]
    first = [counts(run(catalog, broker, topic, number)) for number in order]
    expected = {one[2].split(b'"event_id":"')[1].split(b'"')[0].decode() for one in sent}
    assert ids(catalog) == sorted(expected)
    assert [sum(each) for each in zip(*first, strict=True)] == [200, len(expected), 0, 200 - len(expected)]
    before, aside = digest(catalog), rows(catalog, QUARANTINED)
    again = [counts(run(catalog, broker, topic, number)) for number in order]
    assert (again, digest(catalog)) == (first, before)
    assert [row["detail"] for row in rows(catalog, QUARANTINED)] == [row["detail"] for row in aside]


def test_what_processes_read_apart_is_put_together(
    catalog: SqlCatalog, broker: Broker, topic_name: MakeTopic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of two shares has an event once."""
    topic = topic_name(1)
    sent = [(0, number / 10, event(number, 1)) for number in range(40)]
    broker.send(topic, [*sent, (0, 5.0, sent[3][2])])
    real = Helpers.write

    def apart(self: Helpers, events: Any, quarantine: Any, opened: Any, share: Any) -> Any:
        parts = [real(self, events, quarantine, opened, part) for part in share.split(2)]
        return type(parts[0]).together(parts)

    monkeypatch.setattr(Helpers, "write", apart)
    assert counts(run(catalog, broker, topic, 0)) == (41, 40, 0, 1)
    assert [row["kafka_offset"] for row in rows(catalog, QUARANTINED)] == [40]
    assert len(set(ids(catalog))) == 40


def test_a_neighbour_that_is_staged_in_between_is_looked_at(
    catalog: SqlCatalog, broker: Broker, topic_name: MakeTopic, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = topic_name(1)
    broker.send(topic, [(0, 1, event(1, 1)), (0, 2, event(2, 2)), (0, 31, event(1, 1)), (0, 32, event(3, 3))])
    real, first = ingest_module.settle, [True]

    def settle(*arguments: Any) -> Any:
        found = real(*arguments)
        if first.pop() if first else False:
            stage(catalog, broker, topic, 3)
        return found

    monkeypatch.setattr(ingest_module, "settle", settle)
    assert counts(run(catalog, broker, topic, 0)) == (2, 1, 0, 1)
    waiting = staged_record(catalog.load_table(EVENTS), Interval(at(30), at(40)))
    assert waiting is not None
    publish(catalog, SALES, waiting)
    assert ids(catalog) == ["event-1", "event-2", "event-3"]


def test_only_intervals_within_the_look_back_count(catalog: SqlCatalog, broker: Broker, topic_name: MakeTopic) -> None:
    topic = topic_name(1)
    broker.send(topic, [(0, hours, event(1, 1)) for hours in (5, 15, 35, 36)])
    none, some = deciding(look_back=dt.timedelta()), deciding(look_back=dt.timedelta(hours=10))
    assert counts(run_by(catalog, broker, topic, 0, none)) == (1, 1, 0, 0)
    assert counts(run_by(catalog, broker, topic, 1, some)) == (1, 0, 0, 1)
    assert counts(run_by(catalog, broker, topic, 3, some)) == (2, 1, 0, 1), "the nearest event is 20 hours off"
    assert counts(run_by(catalog, broker, topic, 3, CONTRACT)) == (2, 0, 0, 2)


def test_a_contract_that_refuses_duplicates_says_how_to_go_on(
    catalog: SqlCatalog, broker: Broker, topic_name: MakeTopic
) -> None:
    topic = topic_name(1)
    broker.send(topic, [(0, 1, event(1, 1)), (0, 2, event(1, 1)), (0, 3, event(2, 2))])
    with pytest.raises(DuplicatesError, match=r"1 records have the event_id of another one.*offset 1:.*`take: first`"):
        run_by(catalog, broker, topic, 0, deciding("refuse"))
    assert not list(closed_intervals(catalog.load_table(EVENTS)))
    assert counts(run_by(catalog, broker, topic, 0, deciding("first"))) == (3, 2, 0, 1)


def test_a_replay_puts_back_no_event_that_was_taken(catalog: SqlCatalog, broker: Broker, topic_name: MakeTopic) -> None:
    topic, wanted = topic_name(1), Interval(at(0), at(10))
    sent = [event(1, 1), event(2, 2, quantity=-1), event(3, 3, quantity=-1), event(1, 1), event(1, 5)]
    broker.send(topic, [(0, 1 + number, value) for number, value in enumerate(sent)])
    assert counts(run(catalog, broker, topic, 0)) == (5, 1, 2, 2)
    mends = {(0, 1): (b"900", event(1, 1)), (0, 2): (b"900", event(3, 3)), (0, 4): (b"900", event(5, 5))}
    result = replay(catalog, SALES, CONTRACT, wanted, "mending", mends)
    assert (result["replayed"], result["accepted"], result["quarantined"], result["duplicates"]) == (2, 3, 0, 2)
    assert result["reasons"] == {"duplicate": 2}
    found = staged_record(catalog.load_table(EVENTS), wanted)
    assert found is not None
    publish(catalog, SALES, found)
    assert ids(catalog) == ["event-1", "event-3", "event-5"]
    assert [row["reason"] for row in rows(catalog, QUARANTINED)] == ["duplicate"] * 2
    # A second ingest keeps what was mended.
    assert counts(run(catalog, broker, topic, 0)) == (5, 3, 1, 1)
    assert ids(catalog) == ["event-1", "event-3", "event-5"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{key: event_id}", "is a list of fields"),
        ("{key: [colour]}", "colour of duplicates must be a field"),
        ("{key: [event_id], take: last}", "is first or refuse, not 'last'"),
        ("{key: [event_id], look_back_s: soon}", "whole number of seconds"),
        ("{key: [event_id], look_back: 5}", "unknown keys: look_back"),
    ],
)
def test_a_decision_that_is_none_is_refused(tmp_path: Path, text: str, why: str) -> None:
    contract = (CONTRACTS_DIR / "transactions.v1.yaml").read_text()
    line = next(line for line in contract.splitlines() if line.startswith("duplicates:"))
    (tmp_path / "transactions.v1.yaml").write_text(contract.replace(line, f"duplicates: {text}"))
    with pytest.raises(ContractError, match=why):
        Contract.load("transactions.v1", tmp_path)


def test_numbers_stand_for_keys() -> None:
    """Equal rows have equal numbers wherever they lie, and others have others."""
    choose = random.Random(3)
    texts = ["".join(choose.choices("abé€", k=choose.randint(0, 20))) for _ in range(2_000)]
    texts += ["\0", "\0\0", "a\0", "abcdefgh", "abcdefgh\0", "abcdefghi"]
    moments = pa.array([choose.randrange(10**15) for _ in texts], pa.timestamp("us", "UTC"))
    rows = pa.table({"text": texts, "number": range(len(texts)), "share": [0.5] * len(texts), "at": moments})
    names = rows.column_names
    whole = numbers_of(rows, names)
    assert len(set(whole.tolist())) == len(texts)
    assert (numbers_of(rows.slice(100, 50), names) == whole[100:150]).all()
    order = np.random.default_rng(1).permutation(len(texts))
    assert (numbers_of(rows.take(pa.array(order)), names) == whole[order]).all()
    by_text: Counter[int] = Counter(numbers_of(rows, ["text"]).tolist())
    assert len(by_text) == len(set(texts))


def test_the_numbers_of_millions_wait_in_files_and_come_back_in_order(tmp_path: Path) -> None:
    """As often as each was given, equal ones in one part; also by way of other processes."""
    generator = np.random.default_rng(1)
    given = [generator.integers(0, 2**64, size, np.uint64) for size in (1_500_000, 10, 2_600_000, 900_000, 0)]
    given.append(given[0][:300_000])
    one, other = Keys(tmp_path), Keys(tmp_path)
    for place, numbers in enumerate(given):
        (one, other)[place % 2].add(numbers)
    whole = Keys.together([one, pickle.loads(pickle.dumps(other))])
    parts = list(whole.parts())
    assert len(parts) > 1
    assert len(list(tmp_path.iterdir())) > 1
    assert all(before[-1] < after[0] for before, after in pairwise(parts))
    assert np.array_equal(np.concatenate(parts), np.sort(np.concatenate(given)))
    assert len(whole) == sum(map(len, given))
