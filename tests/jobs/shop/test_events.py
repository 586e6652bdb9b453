"""The year of sales as messages: complete, in order, the same bytes every time."""

import json
from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from include.jobs.shop.events import BROKEN_KINDS, events
from include.jobs.shop.source import SourceError, household_ids, transactions
from include.jobs.shop.streams import STREAMS

TRANSACTIONS = STREAMS["transactions"]


@pytest.fixture(scope="module")
def january() -> pa.Table:
    return transactions(households=200, months=1)


def test_the_whole_year_is_there() -> None:
    table = transactions()
    assert table.num_rows == 1_469_307
    times = table["transaction_timestamp"]
    assert str(pc.min(times).as_py()) == "2017-01-01 11:53:26+00:00"
    assert str(pc.max(times).as_py()) == "2018-01-01 04:01:20+00:00"
    assert times.cast(pa.int64()).to_pylist() == sorted(times.cast(pa.int64()).to_pylist())


def test_a_slice_is_the_first_households_and_local_months(january: pa.Table) -> None:
    assert set(january["household_id"].to_pylist()) <= set(household_ids(200))
    # The end of January in New York.
    assert str(pc.max(january["transaction_timestamp"]).as_py()) < "2017-02-01 05:00:00+00:00"
    assert transactions(households=200, months=2).slice(0, january.num_rows).equals(january)


@pytest.mark.parametrize(("households", "months"), [(0, None), (10**6, None), (None, 0), (None, 13)])
def test_a_slice_that_is_none_is_refused(households: int | None, months: int | None) -> None:
    with pytest.raises(SourceError, match="is out of range: the data has 1 to"):
        transactions(households, months)


def test_events_are_the_same_every_time(january: pa.Table) -> None:
    first = list(events(TRANSACTIONS, january, 50, seed=7))
    assert first == list(events(TRANSACTIONS, january, 50, seed=7))
    assert first != list(events(TRANSACTIONS, january, 50, seed=8))
    assert len(first) == january.num_rows + 50
    assert [event.time for event in first] == sorted(event.time for event in first)


def test_a_good_event_carries_its_transaction(january: pa.Table) -> None:
    event = next(events(TRANSACTIONS, january, 0, seed=7))
    value, row = json.loads(event.value), january.slice(0, 1).to_pylist()[0]
    assert event.key == str(row["household_id"]).encode()
    assert event.time == int(row["transaction_timestamp"].timestamp() * 1000)
    assert value.pop("schema_version") == 1
    assert value.pop("event_id") == f"{row['basket_id']}-{row['product_id']}-0"
    assert value.pop("transaction_timestamp") == row["transaction_timestamp"].strftime("%Y-%m-%dT%H:%M:%SZ")
    assert value == {name: row[name] for name in value}
    assert len(value) == len(row) - 1


def test_all_kinds_take_turns(january: pa.Table) -> None:
    """Eight kinds at least, so many of each, more than rows if asked; the good ones stay all there."""
    assert len(set(BROKEN_KINDS.values())) >= 8
    small = january.slice(0, 5)
    good = [event.value for event in events(TRANSACTIONS, small, 0, seed=1)]
    mixed = list(events(TRANSACTIONS, small, 3 * len(BROKEN_KINDS), seed=1))
    assert len(mixed) == len(good) + 3 * len(BROKEN_KINDS)
    assert not Counter(good) - Counter(event.value for event in mixed)
    sizes = [len(event.value) for event in mixed]
    assert sum(size > 4096 for size in sizes) == 3
