"""Judging an interval as a whole, on a real lake."""

import json
from collections.abc import Callable
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table.refs import MAIN_BRANCH

from include.jobs.ingest.contract import ContractError
from include.jobs.ingest.expectations import Suite
from include.jobs.ingest.publish import IntervalNotStagedError, LedgerMismatchError
from include.jobs.ingest.reference import reference_file, write_reference
from include.jobs.ingest.validate import explain, validate
from include.jobs.lake.commits import replace_interval
from include.jobs.lake.errors import LakeError
from include.jobs.lake.ledger import Interval
from include.jobs.lake.tables import HOUSEHOLDS, PRODUCTS
from tests.jobs.ingest.broker import Broker, at, record
from tests.jobs.ingest.sales import CONTRACT, EVENTS, SALES, SUITE
from tests.jobs.ingest.test_interval import run, stage

WANTED = Interval(at(0), at(10))


def test_a_sound_interval_passes_and_an_unsound_one_says_why(
    catalog: SqlCatalog, broker: Broker, topic_name: Callable[..., str]
) -> None:
    topic = topic_name(2)
    hours = [number / 20 for number in range(200)]
    broker.send(
        topic,
        [(number % 2, hour, record(hour, number, sales_value=1 + number % 10)) for number, hour in enumerate(hours)],
    )
    broker.send(topic, [(0, 11, record(11, 5, sales_value=90)), (1, 12, record(12, 5, sales_value=80))])
    stage(catalog, broker, topic, 0)
    stage(catalog, broker, topic, 1)

    sound = validate(catalog, SALES, WANTED, SUITE)
    assert (sound["success"], sound["failed_expectations"], sound["rows"]) == (True, [], 200)
    assert sound["evaluated"] == len(SUITE.expectations)
    assert sound["published"]
    events = catalog.load_table(EVENTS)
    assert events.current_snapshot().snapshot_id == sound["snapshot_id"]  # type: ignore[union-attr]
    assert events.scan().count() == 200

    unsound = validate(catalog, SALES, Interval(at(10), at(20)), SUITE)
    assert json.loads(json.dumps(unsound)) == unsound
    failed = {(entry["expectation"], str(entry["column"])) for entry in unsound["failed_expectations"]}
    assert ("expect_column_values_to_be_unique", "event_id") in failed
    assert ("expect_column_mean_to_be_between", "sales_value") in failed
    assert not unsound["published"]
    assert catalog.load_table(EVENTS).scan().count() == 200, "nobody sees what was refused"
    for result, verdict in ((sound, "Succeeded"), (unsound, "Failed")):
        page = events.io.new_input(result["data_docs"][0]).open().read().decode()
        assert "expect_column_mean_to_be_between" in page or "mean must be" in page
        assert verdict in page
    assert explain(sound) == ""
    text = explain(unsound)
    assert "What was not published before stays invisible" in text
    assert "[2017-01-01T10:00:00Z, 2017-01-01T20:00:00Z)" in text
    (line,) = [line for line in text.splitlines() if "expect_column_mean_to_be_between of sales_value" in line]
    assert "'max_value': 25" in line
    assert line.endswith("found {'observed_value': 85.0}")

    sampled = validate(catalog, SALES, WANTED, Suite("s", 50, SUITE.expectations))
    again = validate(catalog, SALES, WANTED, Suite("s", 50, SUITE.expectations))
    assert sampled["success"]
    assert 10 < sampled["judged_rows"] < 120
    assert sampled["judged_rows"] == again["judged_rows"]

    again = validate(catalog, SALES, Interval(at(10), at(20)), Suite("s", 1, SUITE.expectations))
    failed = {(entry["expectation"], str(entry["column"])) for entry in again["failed_expectations"]}
    assert ("expect_column_values_to_be_unique", "event_id") in failed, "no sample is blind to a repetition"

    replace_interval(catalog, EVENTS, WANTED.start, [], branch=MAIN_BRANCH, summary={})
    with pytest.raises(LedgerMismatchError, match=r"sales\.transactions holds 0 rows on branch main, .* records 200"):
        validate(catalog, SALES, WANTED, SUITE)


def test_an_empty_interval_passes_and_an_open_one_is_refused(
    catalog: SqlCatalog, broker: Broker, topic_name: Callable[..., str]
) -> None:
    run(catalog, broker, topic_name(), 0)
    assert validate(catalog, SALES, WANTED, SUITE)["success"]
    with pytest.raises(
        IntervalNotStagedError, match="is neither staged nor closed: run the ingest of these boundaries first"
    ):
        validate(catalog, SALES, Interval(at(10), at(20)), SUITE)


@pytest.mark.filterwarnings("ignore:Delete operation did not match")
def test_values_that_stand_in_no_other_table_are_told(
    catalog: SqlCatalog, broker: Broker, topic_name: Callable[..., str]
) -> None:
    topic, suite = topic_name(1), Suite.of(CONTRACT)
    assert [(reference.field, reference.table) for reference in suite.references] == [
        ("product_id", "reference.products")
    ]
    products = pq.read_table(reference_file("products"), columns=["product_id"])["product_id"].to_pylist()
    known = [record(hour / 10, hour, sales_value=1 + hour % 10, product_id=int(products[hour])) for hour in range(99)]
    strange = [record(hour / 10, hour, sales_value=2, product_id=999_999_999) for hour in range(100, 103)]
    broker.send(topic, [(0, 1, message) for message in (*known, strange[0])])
    broker.send(topic, [(0, 11, message) for message in strange])
    stage(catalog, broker, topic, 0)
    with pytest.raises(
        LakeError, match=r"table reference\.products is not in the lake: run the DAG .*ingest_reference"
    ):
        validate(catalog, SALES, WANTED, suite)
    write_reference(catalog)
    assert validate(catalog, SALES, WANTED, suite)["failed_expectations"] == [], "one in a hundred may be unknown"

    stage(catalog, broker, topic, 1)
    refused = validate(catalog, SALES, Interval(at(10), at(20)), suite)
    assert "product_id in reference.products" in {entry["column"] for entry in refused["failed_expectations"]}
    assert not refused["published"]


def test_a_wrong_suite_is_named() -> None:
    with pytest.raises(ContractError, match=r"suite of contract shop\.transactions cannot be used: KeyError: 'kwargs'"):
        Suite.of(replace(CONTRACT, suite={"sample_rows": 1, "expectations": [{"type": "expect_miracles"}]}))
    import pandas as pd

    suite = Suite("s", 10, ({"type": "expect_miracles", "kwargs": {}},))
    with pytest.raises(ContractError, match="expect_miracles"):
        suite.judge(pd.DataFrame({"a": [1]}), {})


def test_the_suite_looks_only_at_columns_of_the_table() -> None:
    columns = set(SALES.events.schema.column_names)
    assert set(SUITE.columns) <= columns


@pytest.mark.filterwarnings("ignore:Delete operation did not match")
def test_reference_tables_are_replaced_whole(catalog: SqlCatalog) -> None:
    write_reference(catalog)
    result = write_reference(catalog)
    assert result["tables"][PRODUCTS.identifier]["rows"] == 92_331
    assert result["tables"][HOUSEHOLDS.identifier]["rows"] == 801
    products = catalog.load_table(PRODUCTS.identifier).scan().to_arrow()
    assert products.num_rows == len(set(products["product_id"].to_pylist())) == 92_331
