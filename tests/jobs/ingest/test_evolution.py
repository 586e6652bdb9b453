"""Contracts that change: what may, does so in the table, row for row; what may not is told field by field."""

import dataclasses
import datetime as dt
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyiceberg.catalog.sql import SqlCatalog

from include.jobs.ingest.check import check_batch, check_one_by_one
from include.jobs.ingest.contract import CONTRACTS_DIR, Contract, Field
from include.jobs.ingest.evolution import ContractChangedError, bring_up, changes, compare, dumps, loads
from include.jobs.ingest.interval import Request, ingest
from include.jobs.ingest.publish import publish, staged_record
from include.jobs.ingest.schemas import event_tables
from include.jobs.ingest.topic import Topic
from include.jobs.lake.catalog import ensure_table, open_catalog
from include.jobs.lake.connections import Connections
from include.jobs.lake.ledger import Interval
from tests.jobs.ingest.broker import Broker, at, record
from tests.jobs.ingest.records import columns, encode, keys, values
from tests.jobs.ingest.sales import CONTRACT, EVENTS
from tests.jobs.ingest.test_interval import rows

NOTE = Field("note", "string", 1, 20, optional=True)
SEEN = Field(
    "seen_at", "timestamp", dt.datetime(2000, 1, 1, tzinfo=dt.UTC), dt.datetime(2100, 1, 1, tzinfo=dt.UTC), True
)


def changed(contract: Contract = CONTRACT, *added: Field, version: int = 2, **fields: dict[str, Any]) -> Contract:
    """Another version of a contract: fields changed by name, removed (given as empty), added."""
    kept = []
    for field in contract.fields:
        change = fields.get(field.name)
        if change is None:
            kept.append(field)
        elif change:
            kept.append(dataclasses.replace(field, **change))
    newest = dataclasses.replace(kept[0], maximum=version) if kept[0].name == "schema_version" else kept[0]
    return dataclasses.replace(contract, version=version, fields=(newest, *kept[1:], *added))


V2 = changed(
    CONTRACT, NOTE, SEEN, schema_version={"bits": 64}, coupon_disc={"optional": True}, quantity={"maximum": 2e6}
)


def take(catalog: SqlCatalog, broker: Broker, topic: str, number: int, contract: Contract) -> dict[str, Any]:
    """Ingest and publish the number-th ten hours by a contract."""
    interval = Interval(at(number * 10), at(number * 10 + 10))
    tables = bring_up(catalog, contract, EVENTS)
    with Topic(broker.servers, topic) as opened:
        result = ingest(catalog, opened, contract, Request(interval, "run", dt.timedelta(0), 1.0, tables))
    staged = staged_record(catalog.load_table(EVENTS), interval)
    assert staged is not None
    publish(catalog, tables, staged)
    return result


def test_a_compatible_version_is_applied_to_the_table_and_older_rows_stay(
    catalog: SqlCatalog, broker: Broker, topic_name: Callable[..., str]
) -> None:
    topic = topic_name(1)
    newer = {"schema_version": 2, "note": "gift", "seen_at": "2017-01-01T12:00:00Z", "coupon_disc": None}
    broker.send(
        topic, [(0, 1, record(1)), (0, 11, record(11, 1)), (0, 12, record(12, 2, **newer)), (0, 21, record(21, 3))]
    )
    assert take(catalog, broker, topic, 0, CONTRACT)["accepted"] == 1
    before = rows(catalog)

    assert take(catalog, broker, topic, 1, V2)["accepted"] == 2
    table = catalog.load_table(EVENTS)
    assert {field.name: (str(field.field_type), field.required) for field in table.schema().fields[-2:]} == {
        "note": ("string", False),
        "seen_at": ("timestamptz", False),
    }
    assert str(table.schema().find_field("schema_version").field_type) == "long"
    assert not table.schema().find_field("coupon_disc").required
    first, second, third = rows(catalog)
    assert first == {**before[0], "note": None, "seen_at": None}
    assert (second["note"], second["seen_at"], second["coupon_disc"]) == (None, None, 0.0)
    assert (third["note"], third["coupon_disc"], third["schema_version"]) == ("gift", None, 2)
    assert third["seen_at"] == dt.datetime(2017, 1, 1, 12, tzinfo=dt.UTC)

    # Code that was rolled back goes on: what it does not know stays empty. The table keeps what it has.
    assert take(catalog, broker, topic, 2, CONTRACT)["accepted"] == 1
    assert rows(catalog)[-1]["note"] is None
    assert loads(catalog.load_table(EVENTS).properties["podium.contract"]) == V2
    # A re-run by the newer contract of what the older one took gives the same rows.
    before = rows(catalog)
    take(catalog, broker, topic, 0, V2)
    assert rows(catalog) == before


def test_an_incompatible_version_stops_with_a_diff_before_anything_is_read(catalog: SqlCatalog) -> None:
    bring_up(catalog, CONTRACT, EVENTS)
    new = changed(
        CONTRACT,
        dataclasses.replace(NOTE, optional=False),
        quantity={"type": "string", "minimum": 1, "maximum": 9},
        store_id={},
        product_id={"maximum": 500},
        sales_value={"bits": 32},
        retail_disc={"optional": True},
    )
    schema = catalog.load_table(EVENTS).schema()
    with pytest.raises(ContractChangedError) as caught:
        bring_up(catalog, new, EVENTS)
    text = str(caught.value)
    assert "contract shop.transactions v2 does not fit table sales.transactions, which has v1:" in text
    for line in (
        "quantity: was integer (64 bits) 0 to 1000000, is string 1 to 9. Keep integer, and add a field of another name",
        "store_id: was integer (64 bits) 1 to 1000000000, is missing. Keep it",
        "product_id: was integer (64 bits) 1 to 1000000000, is integer (64 bits) 1 to 500. Keep bounds at least as",
        "sales_value: was number (64 bits) 0 to 100000, is number (32 bits) 0 to 100000. Keep 64 bits",
        "note: was missing, is string 1 to 20. Make it optional: what was written does not have it",
    ):
        assert line in text
    assert "retail_disc" not in text
    assert catalog.load_table(EVENTS).schema() == schema


def test_a_version_is_never_changed_in_place(catalog: SqlCatalog) -> None:
    bring_up(catalog, CONTRACT, EVENTS)
    with pytest.raises(ContractChangedError, match=r"Put the change into a file of its own, v2, and name that"):
        bring_up(catalog, changed(CONTRACT, NOTE, version=1), EVENTS)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"key_field": "store_id"}, "key_field: was household_id, is store_id. Keep household_id"),
        ({"max_bytes": 100}, "max_bytes: was 4096, is 100. Allow at least 4096"),
    ],
)
def test_what_concerns_the_whole_record_is_held_too(change: dict[str, Any], text: str) -> None:
    with pytest.raises(ContractChangedError, match=text):
        compare(CONTRACT, dataclasses.replace(V2, **change))


def test_a_table_without_a_recorded_contract_is_taken_over_if_its_columns_fit(catalog: SqlCatalog) -> None:
    ensure_table(catalog, event_tables(CONTRACT, EVENTS).events)
    bring_up(catalog, V2, EVENTS)
    assert loads(catalog.load_table(EVENTS).properties["podium.contract"]) == V2
    catalog.drop_table(EVENTS)
    ensure_table(catalog, event_tables(changed(CONTRACT, dataclasses.replace(NOTE, optional=False)), EVENTS).events)
    with pytest.raises(ContractChangedError, match=r"which was made without a contract:\n  note: was required string"):
        bring_up(catalog, CONTRACT, EVENTS)


def test_runs_that_bring_a_table_up_at_once_agree(catalog: SqlCatalog, connections: Connections) -> None:
    bring_up(catalog, CONTRACT, EVENTS)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: bring_up(open_catalog(connections), V2, EVENTS), range(4)))
    schema = catalog.load_table(EVENTS).schema()
    assert {spec.events.schema.schema_id for spec in found} == {schema.schema_id}
    assert schema.column_names.count("note") == 1


def test_successive_versions_of_every_contract_are_compatible() -> None:
    families: dict[str, list[int]] = {}
    for path in CONTRACTS_DIR.glob("*.yaml"):
        family, _, version = path.stem.rpartition(".v")
        families.setdefault(family, []).append(int(version))
    assert len(families) >= 3
    for family, versions in families.items():
        contracts = [Contract.load(f"{family}.v{version}") for version in sorted(versions)]
        for number, newer in enumerate(contracts):
            for older in contracts[:number]:
                compare(older, newer)


def test_a_contract_survives_being_written_down() -> None:
    assert loads(dumps(V2)) == V2
    assert changes(V2, loads(dumps(V2))) == []


@given(
    st.lists(
        st.tuples(
            keys,
            values
            | st.sampled_from(
                [
                    encode(note="x"),
                    encode(note=""),
                    encode(note=7),
                    encode(note=None),
                    encode(seen_at="2017-02-30T00:00:00Z"),
                    encode(seen_at="2017-01-01T00:00:00Z"),
                    encode(seen_at=""),
                    encode(coupon_disc=-1),
                    encode(schema_version=2),
                    encode(schema_version=3),
                    encode().replace(b'"coupon_disc":0.0', b'"coupon_disc":null'),
                ]
            ),
        ),
        max_size=20,
    )
)
@settings(max_examples=60, deadline=None)
def test_optional_fields_are_checked_alike_in_columns_and_one_by_one(messages: list[tuple[Any, Any]]) -> None:
    batch = columns(messages)
    fast, slow = check_batch(V2, *batch), check_one_by_one(V2, *batch)
    assert fast.good.equals(slow.good)
    assert fast.broken == slow.broken
    assert {name: column.to_pylist() for name, column in fast.columns.items()} == {
        name: column.to_pylist() for name, column in slow.columns.items()
    }
