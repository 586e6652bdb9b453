"""Transactions as messages, and broken ones among them. Deterministic: the same slice and seed, the same bytes."""

import random
from collections.abc import Iterator
from typing import Any, NamedTuple

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from include.jobs.shop.source import COLUMNS

_SLICE = 50_000
_OVERSIZED_BYTES = 8_192

#: Kinds of broken records, and the reason that the contract's check gives each.
BROKEN_KINDS = {
    "not_json": "not_json",
    "truncated": "not_json",
    "not_an_object": "not_an_object",
    "missing_field": "missing_field",
    "wrong_type": "wrong_type",
    "impossible_value": "impossible_value",
    "impossible_time": "impossible_value",
    "unknown_version": "unknown_version",
    "wrong_key": "wrong_key",
    "oversized": "oversized",
    "bad_encoding": "bad_encoding",
}


class Event(NamedTuple):
    """A message: key, value, and message time in milliseconds since 1970."""

    key: bytes
    value: bytes
    time: int


def events(transactions: pa.Table, broken: int, seed: int) -> Iterator[Event]:
    """One event per transaction in the order given, with `broken` broken ones after seeded ones of them.

    A broken event is made from the transaction before it and has its time. The kinds take turns.
    """
    rows = transactions.num_rows
    # Choice with replacement, so that a small slice can hold any number of broken ones.
    followers: dict[int, list[str]] = {}
    kinds = list(BROKEN_KINDS)
    for number, row in enumerate(random.Random(seed).choices(range(rows), k=broken)):
        followers.setdefault(row, []).append(kinds[number % len(kinds)])
    for begin in range(0, rows, _SLICE):
        part = transactions.slice(begin, _SLICE)
        times = part["transaction_timestamp"].cast(pa.int64()).to_pylist()
        whole_seconds = part["transaction_timestamp"].cast(pa.timestamp("s", "UTC"))
        texts = pc.strftime(whole_seconds, format="%Y-%m-%dT%H:%M:%SZ").to_pylist()
        columns = [part[name].to_pylist() for name in COLUMNS[:-1]]
        for row, (micros, text, *values) in enumerate(zip(times, texts, *columns, strict=True), start=begin):
            record = _record(values, text)
            key = b"%d" % record["household_id"]
            yield Event(key, orjson.dumps(record), micros // 1000)
            for kind in followers.get(row, ()):
                yield _broken(kind, record, key, micros // 1000)


def _record(values: list[Any], time: str) -> dict[str, Any]:
    record: dict[str, Any] = dict(zip(COLUMNS, values, strict=False))
    # A basket holds a product once in this data, so the number after them is always 0.
    event_id = f"{record['basket_id']}-{record['product_id']}-0"
    return {
        "schema_version": 1,
        "event_id": event_id,
        **record,
        "transaction_timestamp": time,
    }


def _broken(kind: str, record: dict[str, Any], key: bytes, time: int) -> Event:
    if kind == "wrong_key":
        return Event(b"%d" % (record["household_id"] + 1), orjson.dumps(record), time)
    return Event(key, _spoil_text(kind, record) or orjson.dumps(_spoil_fields(kind, record)), time)


def _spoil_text(kind: str, record: dict[str, Any]) -> bytes | None:
    """The value of a kind that is broken as text; None for another kind."""
    value: bytes = orjson.dumps(record)
    match kind:
        case "not_json":
            return b"basket %d was sold" % record["basket_id"]
        case "truncated":
            return value[: len(value) // 2]
        case "not_an_object":
            return b"[" + value + b"]"
        case "bad_encoding":
            return value.replace(b'"event_id":"', b'"event_id":"\xff\xfe')
    return None


def _spoil_fields(kind: str, record: dict[str, Any]) -> dict[str, Any]:
    """The record of a kind whose fields are broken."""
    match kind:
        case "missing_field":
            return {name: item for name, item in record.items() if name != "product_id"}
        case "wrong_type":
            return record | {"quantity": str(record["quantity"])}
        case "impossible_value":
            return record | {"sales_value": -1.0 - record["sales_value"]}
        case "impossible_time":
            return record | {"transaction_timestamp": "2017-02-30T25:61:00Z"}
        case "unknown_version":
            return record | {"schema_version": 99}
        case "oversized":
            return record | {"note": "x" * _OVERSIZED_BYTES}
    raise ValueError(f"no kind of broken record is called {kind!r}: add it here")
