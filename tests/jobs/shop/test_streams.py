"""Promotions and stock as the shop publishes them: from the data set, in order, and coherent."""

import datetime as dt
import json
from collections import defaultdict

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from include.jobs.shop.events import BROKEN_KINDS, events
from include.jobs.shop.promotions import week_start
from include.jobs.shop.source import SourceError, most_sold, read, transactions
from include.jobs.shop.streams import STREAMS, Slice

PRODUCTS = 20


@pytest.fixture(scope="module")
def stock() -> pa.Table:
    return STREAMS["inventory"].read(Slice(products=PRODUCTS))


@pytest.fixture(scope="module")
def promoted() -> pa.Table:
    return STREAMS["promotions"].read(Slice(products=PRODUCTS))


def test_the_most_sold_products_come_first() -> None:
    first, *_ = most_sold(PRODUCTS).to_pylist()
    assert first == 1_082_185
    assert most_sold(5).equals(most_sold(PRODUCTS).slice(0, 5))


def test_weeks_begin_as_the_transactions_say() -> None:
    """Every transaction lies in the week that the package gives it."""
    table = read("transactions", ("week", "transaction_timestamp"))
    times = table["transaction_timestamp"].cast(pa.timestamp("us")).cast(pa.timestamp("us", "UTC"))
    spans = pa.table({"week": table["week"], "time": times}).group_by("week").aggregate([("time", "min_max")])
    for row in spans.to_pylist():
        week = row["week"]
        assert week_start(week) <= row["time_min_max"]["min"] <= row["time_min_max"]["max"] < week_start(week + 1)


def test_promotions_are_those_of_the_data_set(promoted: pa.Table) -> None:
    columns = ("store_id", "product_id", "week", "display_location", "mailer_location")
    source = read("promotions", columns, most_sold(PRODUCTS))
    wanted = {tuple(row.values()) for row in source.to_pylist()}
    found = [tuple(row.values()) for row in promoted.select(source.column_names).to_pylist()]
    assert len(found) == len(wanted)
    assert set(found) == wanted
    assert promoted["valid_from"].to_pylist() == sorted(promoted["valid_from"].to_pylist())


def test_stock_adds_up_to_the_piece(stock: pa.Table) -> None:
    history = defaultdict(list)
    for row in stock.to_pylist():
        history[row["store_id"], row["product_id"]].append(row)
    for counts in history.values():
        before = 0
        for row in counts:
            assert row["on_hand"] == before + row["received"] - row["sold"]
            assert row["on_hand"] >= 0
            before = row["on_hand"]
        # The level is the least that never runs out.
        assert min(row["on_hand"] for row in counts) == 0


def test_what_is_sold_from_stock_is_what_the_transactions_say(stock: pa.Table) -> None:
    sales = transactions()
    sales = sales.filter(pc.is_in(sales["product_id"], value_set=most_sold(PRODUCTS)))
    assert pc.sum(stock["sold"]) == pc.sum(sales["quantity"])
    last = dt.datetime(2018, 1, 1, 5, tzinfo=dt.UTC) - dt.timedelta(seconds=1)
    assert pc.max(stock["counted_at"]).as_py() == last


def test_a_slice_of_stock_has_the_levels_of_the_whole_year(stock: pa.Table) -> None:
    january = STREAMS["inventory"].read(Slice(products=PRODUCTS, months=1))
    assert stock.slice(0, january.num_rows).equals(january)
    assert str(pc.max(january["counted_at"]).as_py()) == "2017-02-01 04:59:59+00:00"


@pytest.mark.parametrize("name", ["promotions", "inventory"])
def test_events_are_complete_unique_and_in_order(name: str, stock: pa.Table, promoted: pa.Table) -> None:
    rows = {"promotions": promoted, "inventory": stock}[name]
    stream = STREAMS[name]
    found = list(events(stream, rows, 0, seed=7))
    records = [json.loads(event.value) for event in found]
    assert len({record["event_id"] for record in records}) == len(records) == rows.num_rows
    assert [event.key for event in found] == [str(record[stream.key_field]).encode() for record in records]
    assert [event.time for event in found] == sorted(event.time for event in found)
    broken = list(events(stream, rows.slice(0, 3), len(BROKEN_KINDS), seed=7))
    assert len(broken) == 3 + len(BROKEN_KINDS)


@pytest.mark.parametrize("name", ["promotions", "inventory"])
@pytest.mark.parametrize("part", [Slice(products=0), Slice(products=10**6), Slice(products=1, months=13)])
def test_a_slice_that_is_none_is_refused(name: str, part: Slice) -> None:
    with pytest.raises(SourceError, match="is out of range: the data has 1 to"):
        STREAMS[name].read(part)
