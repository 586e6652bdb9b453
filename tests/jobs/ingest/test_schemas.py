"""Contracts as files, and what follows from them: JSON Schema, columns, suites."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import orjson
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from pyiceberg.catalog.sql import SqlCatalog

from include.jobs.ingest.contract import CONTRACTS_DIR, BrokenRecordError, Contract, ContractError
from include.jobs.ingest.expectations import Suite
from include.jobs.ingest.interval import Request, ingest
from include.jobs.ingest.reference import write_reference
from include.jobs.ingest.schemas import event_tables, json_schema
from include.jobs.ingest.topic import Topic
from include.jobs.ingest.validate import validate
from include.jobs.lake.ledger import Interval
from include.jobs.shop.events import BROKEN_KINDS, events
from include.jobs.shop.produce import produce
from include.jobs.shop.streams import STREAMS, Slice
from tests.jobs.ingest.broker import Broker
from tests.jobs.ingest.records import KEY, encode, values
from tests.jobs.ingest.sales import CONTRACT

NAMES = sorted(path.stem for path in CONTRACTS_DIR.glob("*.yaml"))
FORMATS = jsonschema.FormatChecker(formats=[])
SCHEMA = json_schema(CONTRACT)


@pytest.mark.parametrize("name", NAMES)
def test_every_contract_gives_a_json_schema_columns_and_a_suite(name: str) -> None:
    contract = Contract.load(name)
    jsonschema.Draft202012Validator.check_schema(json_schema(contract))
    columns = event_tables(contract, "x.y").events.schema.column_names
    assert columns[4:] == list(contract.names)
    assert set(Suite.of(contract).columns) <= set(columns)


def test_the_columns_of_transactions_are_those_that_features_are_made_of() -> None:
    schema = event_tables(CONTRACT, "x.y").events.schema
    assert str(schema.find_field("schema_version").field_type) == "int"
    assert str(schema.find_field("household_id").field_type) == "long"
    assert str(schema.find_field("sales_value").field_type) == "double"
    assert all(field.required for field in schema.fields)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(values)
def test_what_the_contract_accepts_the_json_schema_accepts(value: bytes | None) -> None:
    try:
        CONTRACT.check(KEY, value)
    except BrokenRecordError:
        return
    assert value is not None
    jsonschema.validate(orjson.loads(value), SCHEMA, jsonschema.Draft202012Validator)


@pytest.mark.parametrize(
    "changes",
    [
        {"product_id": None},
        {"quantity": "1"},
        {"sales_value": -1},
        {"schema_version": 2},
        {"event_id": "abc"},
        {"transaction_timestamp": "2017-01-01 11:53:26"},
    ],
)
def test_what_the_json_schema_refuses_the_contract_refuses(changes: dict[str, Any]) -> None:
    value = encode(**changes)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(orjson.loads(value), SCHEMA, jsonschema.Draft202012Validator)
    with pytest.raises(BrokenRecordError):
        CONTRACT.check(KEY, value)


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"version": 2}, "version 2 stands in a file that is not called"),
    ({"keyfield": "x"}, "the contract has unknown keys: keyfield"),
    ({"key_field": "nobody"}, "nobody must be a field, and not an optional one"),
    ({"duplicates": {"key": ["nobody"]}}, "nobody of duplicates must be a field"),
    ({"references": [{"field": "x", "table": "a.b", "column": "c", "mostly": 1}]}, "references names no field: x"),
    ({"references": [{"field": "x", "table": "a.b", "column": "c", "mostly": 2}]}, "mostly of the reference of x"),
    ({"fields": "+{name: a, type: integer, minimum: 0, maximum: 9999999999, bits: 32}"}, "do not fit 32 bits"),
    ({"fields": "+{name: a, type: integer, minimum: 0, max: 1}"}, "field a has unknown keys: max"),
    ({"fields": "+{name: a, type: json, minimum: 0, maximum: 1}"}, "unknown keys|is not integer, number"),
    ({"fields": "+{name: event_id, type: integer, minimum: 0, maximum: 1}"}, "a field is named twice"),
]


@pytest.mark.parametrize(("changes", "text"), MISTAKES)
def test_a_mistake_in_a_contract_is_named(tmp_path: Path, changes: dict[str, Any], text: str) -> None:
    data = yaml.safe_load((CONTRACTS_DIR / "transactions.v1.yaml").read_text())
    for key, value in changes.items():
        added = [*data["fields"], yaml.safe_load(value[1:])] if key == "fields" else value
        data[key] = added
    (tmp_path / "transactions.v1.yaml").write_text(yaml.safe_dump(data))
    with pytest.raises(ContractError, match=text):
        Contract.load("transactions.v1", tmp_path)


@pytest.mark.parametrize("name", ["promotions", "inventory"])
def test_a_stream_of_the_shop_is_ingested_and_published(
    catalog: SqlCatalog, broker: Broker, topic_name: Callable[..., str], name: str
) -> None:
    """The month of January from the shop's events to the published table, broken ones of every kind among them."""
    import datetime as dt

    topic, stream, contract = topic_name(2), STREAMS[name], Contract.load(f"{name}.v1")
    rows = stream.read(Slice(products=20, months=1))
    tables, broken = event_tables(contract, f"shop.{name}"), 2 * len(BROKEN_KINDS)
    produce({"bootstrap.servers": broker.servers}, topic, 2, lambda: events(stream, rows, broken, seed=3))
    interval = Interval.parse("2017-01-01T00:00:00-05:00", "2017-02-01T00:00:00-05:00")
    with Topic(broker.servers, topic) as opened:
        request = Request(interval, "run", dt.timedelta(0), 0.5, tables)
        result = ingest(catalog, opened, contract, request)
    assert (result["accepted"], result["quarantined"]) == (rows.num_rows, broken)
    reasons: dict[str, int] = {}
    for reason in BROKEN_KINDS.values():
        reasons[reason] = reasons.get(reason, 0) + 2
    assert result["reasons"] == dict(sorted(reasons.items()))
    write_reference(catalog)
    judged = validate(catalog, tables, interval, Suite.of(contract))
    assert judged["failed_expectations"] == []
    table = catalog.load_table(tables.events.identifier).scan().to_arrow()
    assert table.select(rows.column_names).cast(rows.schema).sort_by("store_id").num_rows == rows.num_rows
