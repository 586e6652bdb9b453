"""Judging an interval as a whole, on a real lake."""

import datetime as dt
import json
from collections.abc import Callable
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table.refs import MAIN_BRANCH

from include.jobs.ingest.contract import ContractError, Field
from include.jobs.ingest.expectations import Suite
from include.jobs.ingest.interval import Request, ingest
from include.jobs.ingest.publish import IntervalNotStagedError, LedgerMismatchError
from include.jobs.ingest.reference import reference_file, write_reference
from include.jobs.ingest.schemas import event_tables
from include.jobs.ingest.topic import Topic
from include.jobs.ingest.validate import explain, validate
from include.jobs.lake.commits import replace_interval
from include.jobs.lake.errors import LakeError
from include.jobs.lake.ledger import Interval
from include.jobs.lake.tables import HOUSEHOLDS, PRODUCTS
from tests.jobs.ingest.broker import Broker, at, record
from tests.jobs.ingest.records import encode
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
    twice = [(number % 2, 11 + number / 10, record(11, 5 + number // 2, sales_value=85)) for number in range(40)]
    broker.send(topic, twice)
    stage(catalog, broker, topic, 0)
    # By a contract that says nothing of duplicates they are taken.
    stage(catalog, broker, topic, 1, contract=replace(CONTRACT, duplicates=None))

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
        assert "expect_column_mean_to_be_between" in page
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


WIDE = 2**53 + 1
POINTS = Field("points", "integer", 0, 2**62, optional=True)
TIER = Field("tier", "integer", 0, 9, optional=True, bits=32)
HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>",
    "javascript:alert(1)",
    "\x1b[2J\u202e'\">",
)


def test_a_quiet_hour_of_a_new_version_is_published_as_it_is(
    catalog: SqlCatalog, broker: Broker, topic_name: Callable[..., str]
) -> None:
    """Few rows, a column that nobody sends yet, one that only some send and that no float holds, hostile texts."""
    contract = replace(
        CONTRACT,
        fields=(*CONTRACT.fields, POINTS, TIER),
        suite={
            "sample_rows": 100,
            "expectations": [
                {"type": "expect_column_mean_to_be_between", "kwargs": {"column": "tier", "min_value": 1}},
                {"type": "expect_column_values_to_be_between", "kwargs": {"column": "tier", "max_value": 5}},
                {"type": "expect_column_mean_to_be_between", "kwargs": {"column": "sales_value", "max_value": 1}},
                {"type": "expect_column_max_to_be_between", "kwargs": {"column": "points", "max_value": 2**62}},
                {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "points"}},
            ],
        },
        references=(),
    )
    topic, tables = topic_name(1), event_tables(contract, EVENTS)
    points = [WIDE, WIDE + 1, None]
    sent = [record(1, number, sales_value=90, points=value) for number, value in enumerate(points)]
    broker.send(topic, [(0, 1, value) for value in sent])
    broker.send(topic, [(0, 11, encode(event_id=text, points=7)) for text in HOSTILE])
    for number in range(2):
        interval = Interval(at(number * 10), at(number * 10 + 10))
        with Topic(broker.servers, topic) as opened:
            ingest(catalog, opened, contract, Request(interval, "run", dt.timedelta(0), 1.0, tables))
    suite = Suite.of(contract)
    quiet = validate(catalog, tables, WANTED, suite)
    assert (quiet["failed_expectations"], quiet["published"]) == ([], True)
    skipped = {(entry["expectation"], entry["column"]): entry["rows"] for entry in quiet["skipped_expectations"]}
    assert skipped == {
        ("expect_column_values_to_be_between", "event_time"): 3,
        ("expect_column_mean_to_be_between", "tier"): 0,
        ("expect_column_values_to_be_between", "tier"): 0,
        ("expect_column_mean_to_be_between", "sales_value"): 3,
    }
    stored = catalog.load_table(EVENTS).scan().to_arrow()["points"].to_pylist()
    assert sorted(stored, key=str) == sorted(points, key=str)

    refused = validate(catalog, tables, Interval(at(10), at(20)), suite)
    assert [entry["column"] for entry in refused["failed_expectations"]] == ["points"]
    assert "\x1b" not in explain(refused)
    io = catalog.load_table(EVENTS).io
    told, page = (io.new_input(one["data_docs"][0]).open().read().decode() for one in (quiet, refused))
    assert "Skipped" in told
    assert "Failed" in page


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
    strange = [record(hour / 10, hour, sales_value=2, product_id=999_999_999) for hour in range(100, 121)]
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
    suite = Suite("s", 10, ({"type": "expect_miracles", "kwargs": {}},))
    with pytest.raises(ContractError, match="expect_miracles"):
        suite.judge(pa.table({"a": [1]}), {})


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
