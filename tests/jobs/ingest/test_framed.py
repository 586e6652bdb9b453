"""Values that name a schema of a registry: what is good, what is broken and why, and what stops a run."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from include.jobs.ingest.check import Checked, check_batch
from include.jobs.ingest.framed import Framed, SchemaMismatchError
from include.jobs.ingest.schemas import json_schema
from tests.jobs.ingest.records import KEY, columns, encode, keys, values
from tests.jobs.ingest.sales import CONTRACT
from tests.jobs.ingest.schemas import Served, framed

OBJECT = {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object"}
Messages = list[tuple[bytes | None, bytes | None]]


def rows(checked: Checked) -> list[dict[str, Any]]:
    columns: dict[str, list[Any]] = {name: column.to_pylist() for name, column in checked.columns.items()}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def check(served: Served, kind: str, messages: Messages) -> Checked:
    return Framed(CONTRACT, served.open(kind)).check(*columns(messages))


@pytest.fixture(scope="session")
def number(served: Served) -> int:
    """The id of the contract as JSON Schema."""
    return served.register(json_schema(CONTRACT), "JSON")


def test_each_break_has_its_reason_and_spoils_no_other(served: Served, number: int) -> None:
    messages: Messages = [
        (KEY, framed(number, encode())),
        (KEY, encode()),
        (KEY, framed(987_654, encode())),
        (KEY, framed(number, encode(quantity=-1))),
        (KEY, None),
        (KEY, b"\0\0\0"),
        (KEY, b""),
        (KEY, framed(number, b"")),
        (KEY, framed(number, encode(note="x" * 5_000))),
        (b"901", framed(number, encode())),
        (KEY, framed(number, encode(quantity=7))),
    ]
    checked = check(served, "JSON", messages)
    assert checked.good.to_pylist() == [0, 10]
    assert checked.columns["quantity"].to_pylist() == [1, 7]
    assert [(broken.index, broken.reason) for broken in checked.broken] == [
        (1, "no_schema_id"),
        (2, "unknown_schema"),
        (3, "impossible_value"),
        (4, "not_json"),
        (5, "no_schema_id"),
        (6, "no_schema_id"),
        (7, "not_json"),
        (8, "oversized"),
        (9, "wrong_key"),
    ]
    assert f"schema 987654 is not in {served.url}" in checked.broken[1].detail


def test_no_messages_have_columns_all_the_same(served: Served) -> None:
    checked = check(served, "JSON", [])
    assert (rows(checked), checked.broken) == ([], [])
    assert list(checked.columns) == list(CONTRACT.names)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(keys, values), max_size=12))
def test_json_behind_an_id_is_read_as_plain_json(served: Served, number: int, messages: Messages) -> None:
    behind: Messages = [(key, None if value is None else framed(number, value)) for key, value in messages]
    assert_same(check(served, "JSON", behind), check_batch(CONTRACT, *columns(messages)))


def assert_same(one: Checked, other: Checked) -> None:
    assert one.good.to_pylist() == other.good.to_pylist()
    assert repr(rows(one)) == repr(rows(other))
    assert one.broken == other.broken


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"properties": {"quantity": {"type": "string"}}}, "quantity: is string, the contract has integer"),
        (
            {"properties": {"event_id": {"type": ["null", "integer"]}, "quantity": True}},
            "event_id: is integer or null, the contract has string",
        ),
        ({"properties": {}, "additionalProperties": False}, "store_id: is missing, the contract has integer"),
    ],
)
def test_a_schema_by_which_no_record_can_be_good_stops_the_run(
    served: Served, change: dict[str, Any], said: str
) -> None:
    wrong = served.register(OBJECT | change, "JSON")
    with pytest.raises(SchemaMismatchError, match=rf"schema {wrong} of {served.url}") as caught:
        check(served, "JSON", [(KEY, framed(wrong, encode()))])
    assert said in str(caught.value)
    assert "contract shop.transactions v1" in str(caught.value)
    assert "name it under ingest.topics in the settings" in str(caught.value)


@pytest.mark.parametrize("properties", [{}, {"quantity": {"type": "number"}, "more": {}}])
def test_a_schema_that_says_less_or_more_than_the_contract_is_none_of_its_business(
    served: Served, properties: dict[str, Any]
) -> None:
    loose = served.register(OBJECT | {"properties": properties}, "JSON")
    assert check(served, "JSON", [(KEY, framed(loose, encode()))]).good.to_pylist() == [0]


def test_a_schema_of_another_type_stops_the_run(served: Served, number: int) -> None:
    with pytest.raises(SchemaMismatchError, match="it is of type JSON, must be AVRO"):
        check(served, "AVRO", [(KEY, framed(number, encode()))])
