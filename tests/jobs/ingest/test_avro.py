"""Avro values: the same table as the same events give as JSON, and columns that say what single records say."""

import datetime as dt
import io
import json
from collections.abc import Callable
from decimal import Decimal
from random import Random
from typing import Any

import orjson
import pytest
from fastavro import parse_schema, schemaless_writer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from include.jobs.ingest.avro import AvroValues
from include.jobs.ingest.check import Checked, check_batch, check_one_by_one
from include.jobs.ingest.contract import Contract, Reason
from include.jobs.ingest.evolution import dumps, loads
from tests.jobs.ingest.records import GOOD, KEY, columns
from tests.jobs.ingest.sales import CONTRACT
from tests.jobs.ingest.test_framed import assert_same, rows

TIME = "transaction_timestamp"
NUMBERS = ("sales_value", "retail_disc", "coupon_disc", "coupon_match_disc")
TYPES: dict[str, Any] = {
    "schema_version": "int",
    "event_id": "string",
    **dict.fromkeys(("household_id", "store_id", "basket_id", "product_id", "quantity"), "long"),
    **dict.fromkeys(NUMBERS, "double"),
    TIME: {"type": "long", "logicalType": "timestamp-millis"},
}
#: What the contract does not name, of every kind, with values.
POINT = {"type": "record", "name": "Point", "fields": [{"name": "x", "type": "int"}, {"name": "on", "type": "boolean"}]}
OTHERS: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "flag": ("boolean", st.booleans()),
    "blob": ("bytes", st.binary(max_size=9)),
    "mark": ({"type": "fixed", "name": "Mark", "size": 3}, st.binary(min_size=3, max_size=3)),
    "kind": ({"type": "enum", "name": "Kind", "symbols": ["A", "B"]}, st.sampled_from("AB")),
    "nothing": ("null", st.none()),
    "short": ("float", st.floats(width=32)),
    "mixed": (["string", "null", "long"], st.one_of(st.none(), st.text(max_size=3), st.integers(-9, 9))),
    "points": (
        {"type": "array", "items": POINT},
        st.lists(st.fixed_dictionaries({"x": st.integers(-99, 99), "on": st.booleans()}), max_size=4),
    ),
    "names": (
        {"type": "map", "values": ["null", "long"]},
        st.dictionaries(st.text(max_size=3), st.one_of(st.none(), st.integers(-9, 9)), max_size=3),
    ),
}


def schema_of(types: dict[str, Any]) -> dict[str, Any]:
    fields = [{"name": name, "type": kind} for name, kind in types.items()]
    return {"type": "record", "name": "Transaction", "namespace": "shop", "fields": fields}


def encode(schema: Any, event: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    schemaless_writer(stream, parse_schema(schema), event)
    return stream.getvalue()


def moment(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


def event(**changes: Any) -> dict[str, Any]:
    """A good event as Avro takes it."""
    return GOOD | {TIME: moment(GOOD[TIME])} | changes


def opened(types: dict[str, Any], contract: Contract = CONTRACT) -> AvroValues:
    values = AvroValues(contract, json.dumps(schema_of(types)))
    assert list(values.misfits()) == []
    return values


def assert_agreement(avro: AvroValues, messages: list[tuple[bytes | None, bytes | None]]) -> Checked:
    """Columns say what single records say."""
    batch = columns(messages)
    fast, slow = avro.check(*batch), check_one_by_one(CONTRACT, *batch, avro.read)
    assert fast.good.to_pylist() == slow.good.to_pylist()
    assert repr(rows(fast)) == repr(rows(slow))
    assert [(one.index, one.reason) for one in fast.broken] == [(one.index, one.reason) for one in slow.broken]
    return fast


_whole = st.one_of(st.sampled_from([0, 1, 2, 900, -1]), st.integers(-(2**63), 2**63 - 1))
_number = st.one_of(
    st.sampled_from([0.0, -0.0, 0.07, 0.5, 1e5, 100_001.0]), st.floats(allow_nan=False, allow_infinity=False)
)
_cents = st.integers(-(10**17), 10**17).map(lambda cents: Decimal(cents).scaleb(-2))
_text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
_second = st.integers(-(10**9), 6 * 10**9).map(lambda second: dt.datetime.fromtimestamp(second, dt.UTC))
_midnight = _second.map(lambda time: time.replace(hour=0, minute=0, second=0))
_decimal = {"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 2}
_fixed = {"type": "fixed", "name": "Money", "size": 9, "logicalType": "decimal", "precision": 20, "scale": 2}
_int = st.integers(-(2**31), 2**31 - 1)
Way = tuple[Any, Callable[[str], Any], st.SearchStrategy[Any]]
_MILLIS = {"type": "long", "logicalType": "timestamp-millis"}
_MICROS = {"type": "long", "logicalType": "timestamp-micros"}
_DATE = {"type": "int", "logicalType": "date"}
_ID = {"type": "enum", "name": "Id", "symbols": ["a", "basket"]}
#: How a field of a type may be written: its type, a value that keeps the contract, and any others.
WAYS: dict[str, list[Way]] = {
    "integer": [("long", GOOD.get, _whole), ("int", lambda name: min(GOOD[name], 7), _int)],
    "number": [
        ("double", GOOD.get, _number),
        ("float", GOOD.get, st.floats(width=32, allow_nan=False, allow_infinity=False)),
        *((kind, lambda _: 3, values) for kind, values in (("long", _whole), ("int", _int))),
        *((kind, lambda _: Decimal("0.07"), _cents) for kind in (_decimal, _fixed)),
    ],
    "string": [("string", GOOD.get, _text), (_ID, lambda _: "basket", st.just("a"))],
    "timestamp": [
        *((kind, lambda name: moment(GOOD[name]), _second) for kind in (_MILLIS, _MICROS)),
        (_DATE, lambda _: moment("2017-01-01T00:00:00Z"), _midnight),
        ("string", GOOD.get, _second.map(lambda time: f"{time:%Y-%m-%dT%H:%M:%SZ}")),
    ],
}


def _mostly(good: Any, others: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.integers(0, 19).flatmap(lambda number: st.just(good) if number else others)


@st.composite
def batches(draw: st.DrawFn) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Types of the fields, in any order and with others among them, and events of those."""
    chosen: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {}
    for number, field in enumerate(CONTRACT.fields):
        kind, good, others = draw(st.sampled_from(WAYS[field.type]))
        if isinstance(kind, dict) and "name" in kind:
            kind = kind | {"name": f"{kind['name']}{number}"}
        values = _mostly(good(field.name), others)
        if nullable := draw(st.sampled_from([None, None, ["null", kind], [kind, "null"]])):
            kind, values = nullable, _mostly(good(field.name), values | st.none())
        chosen[field.name] = (kind, values)
    for name in draw(st.sets(st.sampled_from(sorted(OTHERS)))):
        chosen[name] = OTHERS[name]
    order = draw(st.permutations(list(chosen)))
    events = st.fixed_dictionaries({name: chosen[name][1] for name in order})
    return {name: chosen[name][0] for name in order}, draw(st.lists(events, min_size=1, max_size=6))


def as_json(event: dict[str, Any]) -> bytes:
    """The same event, written as JSON."""

    def plain(value: Any) -> Any:
        if isinstance(value, dt.datetime):
            return f"{value:%Y-%m-%dT%H:%M:%SZ}"
        return float(value) if isinstance(value, Decimal) else value

    return orjson.dumps({name: plain(event[name]) for name in CONTRACT.names if event[name] is not None})


def key_of(event: dict[str, Any]) -> bytes:
    return str(event["household_id"]).encode()


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(batches())
def test_events_give_the_same_table_as_avro_and_as_json(batch: tuple[dict[str, Any], list[dict[str, Any]]]) -> None:
    types, events = batch
    schema = schema_of(types)
    avro = opened(types)
    # Avro's date is a day, of which fastavro takes a date.
    dates = [name for name, kind in types.items() if "'date'" in str(kind)]
    written = [encode(schema, one | {name: one[name] and one[name].date() for name in dates}) for one in events]
    got = avro.check(*columns([(key_of(one), value) for one, value in zip(events, written, strict=True)]))
    plain = check_batch(CONTRACT, *columns([(key_of(one), as_json(one)) for one in events]))
    assert got.good.to_pylist() == plain.good.to_pylist()
    assert repr(rows(got)) == repr(rows(plain))
    assert [(one.index, one.reason) for one in got.broken] == [(one.index, one.reason) for one in plain.broken]


ALL = TYPES | {name: kind for name, (kind, _) in OTHERS.items()}
WHOLE = {
    "flag": True, "blob": b"\0\1", "mark": b"abc", "kind": "B", "nothing": None, "short": 1.5, "mixed": "x",
    "points": [{"x": 1, "on": True}, {"x": -70, "on": False}], "names": {"a": 1, "b": None},
}  # fmt: skip


def test_ten_thousand_fuzzed_records_are_read_in_columns_as_one_by_one() -> None:
    """Good records with a few bytes changed, cut out, doubled or put in."""
    random, avro, schema = Random(11), opened(ALL), schema_of(ALL)
    records = [encode(schema, event(quantity=number, **WHOLE)) for number in range(2_000)] * 5
    checked = assert_agreement(avro, [(KEY, _mutated(record, random)) for record in records])
    assert 2_000 < len(checked.good) < 9_000
    assert {Reason.NOT_AVRO, Reason.IMPOSSIBLE_VALUE} <= {broken.reason for broken in checked.broken}


def _mutated(value: bytes, random: Random) -> bytes:
    changed = bytearray(value)
    for _ in range(random.randrange(3)):
        begin = random.randrange(len(changed))
        end = begin + random.choice((0, 1, 1, 2, 20))
        changed[begin:end] = random.choice((b"", b"\0", b"\1", b"\xff", b"\x80", random.randbytes(2)))
    return bytes(changed)


def test_a_record_that_is_cut_off_anywhere_is_broken_and_spoils_no_other() -> None:
    whole, avro = encode(schema_of(ALL), event(**WHOLE)), opened(ALL)
    for size in range(len(whole)):
        checked = assert_agreement(avro, [(KEY, whole), (KEY, whole[:size]), (KEY, whole)])
        assert checked.good.to_pylist() == [0, 2]
        assert [broken.reason for broken in checked.broken] == [Reason.NOT_AVRO]


@pytest.mark.parametrize(
    ("types", "value"),
    [
        ({"a": "int"}, b"\x80\x80\x80\x80\x80\x80\1"),
        ({"a": "long"}, b"\xff" * 9 + b"\3"),
        ({"a": "long"}, b"\xff" * 11 + b"\1"),
        ({"a": "boolean"}, b"\7"),
        ({"a": ["null", "long"]}, b"\4\2"),
        ({"a": ["null", "long"]}, b"\1\2"),
        ({"a": "string"}, b"\1"),
        ({"a": "string"}, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\1"),
        ({"a": "string"}, b"\2\xff"),
        ({"a": {"type": "enum", "name": "E", "symbols": ["A"]}}, b"\2"),
        ({"a": {"type": "array", "items": "long"}}, b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\1\2\0"),
        ({"a": {"type": "array", "items": "long"}}, b"\3\4\2\4\0"),
        ({"a": {"type": "map", "values": "null"}}, b"\2\2a\0"),
    ],
)
def test_odd_bytes_are_read_in_columns_as_one_by_one(types: dict[str, Any], value: bytes) -> None:
    avro = opened(types | TYPES)
    good = encode(schema_of(TYPES), event())
    assert_agreement(avro, [(KEY, value + good), (KEY, value)])


def test_what_goes_on_after_the_record_is_broken() -> None:
    checked = opened(TYPES).check(*columns([(KEY, encode(schema_of(TYPES), event()) + b"\0")]))
    (broken,) = checked.broken
    assert (broken.reason, "goes on after the record" in broken.detail) == (Reason.NOT_AVRO, True)


def test_times_keep_their_fractions_and_days_are_midnights() -> None:
    late = moment("2017-01-01T11:53:26.123456Z")
    for name, written, expected in (
        ("timestamp-micros", late, late),
        ("timestamp-millis", late, late.replace(microsecond=123_000)),
        ("date", late.date(), moment("2017-01-01T00:00:00Z")),
    ):
        types = TYPES | {TIME: {"type": "int" if name == "date" else "long", "logicalType": name}}
        checked = opened(types).check(*columns([(KEY, encode(schema_of(types), event(**{TIME: written})))]))
        assert checked.columns[TIME].to_pylist() == [expected]


def test_a_broken_record_names_its_household_for_an_erasure() -> None:
    value = encode(schema_of(TYPES), event(quantity=-1))
    (broken,) = opened(TYPES).check(*columns([(b"901", value)])).broken
    assert broken.detail.endswith("; household_id 900")


def test_fields_that_the_contract_has_for_later_may_be_missing_or_null() -> None:
    """The contract of version 2 has one more field; schemas of before and after it both fit."""
    data = json.loads(dumps(CONTRACT))
    more = {"name": "channel", "type": "string", "minimum": 1, "maximum": 9, "optional": True, "bits": 64}
    contract = loads(json.dumps(data | {"fields": [*data["fields"], more]}))
    old = opened(TYPES, contract).check(*columns([(KEY, encode(schema_of(TYPES), event()))]))
    types = TYPES | {"channel": ["null", "string"]}
    sent = [encode(schema_of(types), event(channel=channel)) for channel in ("web", None, "")]
    new = opened(types, contract).check(*columns([(KEY, value) for value in sent]))
    assert old.columns["channel"].to_pylist() == [None]
    assert new.columns["channel"].to_pylist() == ["web", None]
    assert [broken.reason for broken in new.broken] == [Reason.IMPOSSIBLE_VALUE]
    assert_same(
        opened(types).check(*columns([(KEY, sent[0])])),
        opened(TYPES).check(*columns([(KEY, encode(schema_of(TYPES), event()))])),
    )


@pytest.mark.parametrize(
    ("types", "said"),
    [
        ({"quantity": "string"}, "quantity: is string, must be int or long"),
        ({"quantity": ["null", "double"]}, "quantity: is double or null, must be int or long"),
        ({"quantity": "null"}, "quantity: is null, must be int or long"),
        ({TIME: "long"}, f"{TIME}: is long, must be date or string or timestamp-micros or timestamp-millis"),
        ({"event_id": "bytes"}, "event_id: is bytes, must be enum or string"),
        ({"store_id": None}, "store_id: is missing, the contract has integer (64 bits) 1 to 1000000000"),
    ],
)
def test_a_schema_that_does_not_fit_says_which_field_and_how(types: dict[str, Any], said: str) -> None:
    written = {name: kind for name, kind in (TYPES | types).items() if kind is not None}
    assert list(AvroValues(CONTRACT, json.dumps(schema_of(written))).misfits()) == [said]


def test_only_a_record_can_fit() -> None:
    assert list(AvroValues(CONTRACT, '"string"').misfits()) == ["it is string, must be record"]


def test_unknown_logical_types_are_what_they_are_written_as() -> None:
    types = TYPES | {"event_id": {"type": "string", "logicalType": "uuid"}}
    types |= {"quantity": {"type": "int", "logicalType": "time-millis"}}
    checked = assert_agreement(opened(types), [(KEY, encode(schema_of(types | TYPES), event()))])
    assert checked.columns["event_id"].to_pylist() == [GOOD["event_id"]]


def test_a_field_of_several_types_is_read_one_by_one() -> None:
    types = TYPES | {"basket_id": ["int", "null", "long"]}
    sent = [encode(schema_of(types), event(basket_id=value)) for value in (1, 2**33, None)]
    checked = assert_agreement(opened(types), [(KEY, value) for value in sent])
    assert checked.columns["basket_id"].to_pylist() == [1, 2**33]
    assert [broken.reason for broken in checked.broken] == [Reason.MISSING_FIELD]


def test_a_schema_may_use_the_names_of_others() -> None:
    price = {"type": "record", "name": "Price", "namespace": "shop", "fields": [{"name": "cents", "type": "long"}]}
    types = TYPES | {"price": "shop.Price", "more": ["null", "shop.Price"]}
    avro = AvroValues(CONTRACT, json.dumps(schema_of(types)), [json.dumps(price)])
    inline = encode(
        schema_of(TYPES | {"price": price, "more": ["null", "shop.Price"]}), event(price={"cents": 5}, more=None)
    )
    assert len(assert_agreement(avro, [(KEY, inline)]).good) == 1


@pytest.mark.parametrize("depth", [3, 1_500])
def test_a_record_within_itself_may_be_as_deep_as_it_likes(depth: int) -> None:
    fields = [{"name": "next", "type": ["null", "Node"]}]
    types = TYPES | {"node": {"type": "record", "name": "Node", "fields": fields}}
    # What comes of a few hundred of them, fastavro cannot write.
    value = encode(schema_of(types), event(node={"next": None}))[:-1] + b"\2" * depth + b"\0"
    assert len(assert_agreement(opened(types), [(KEY, value)]).good) == 1


def test_no_values_have_columns() -> None:
    checked = opened(TYPES).check(*columns([]))
    assert (rows(checked), list(checked.columns)) == ([], list(CONTRACT.names))
