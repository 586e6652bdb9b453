"""Rows as messages, and broken ones among them. Deterministic: the same slice and seed, the same bytes."""

import random
from collections.abc import Iterator
from typing import Any, NamedTuple

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from include.jobs.shop.streams import Stream

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


def events(stream: Stream, rows: pa.Table, broken: int, seed: int) -> Iterator[Event]:
    """One event per row in the order given, with `broken` broken ones after seeded ones of them.

    A broken event is made from the row before it and has its time. The kinds take turns.
    """
    count = rows.num_rows
    # Choice with replacement, so that a small slice can hold any number of broken ones.
    followers: dict[int, list[str]] = {}
    kinds = list(BROKEN_KINDS)
    for number, row in enumerate(random.Random(seed).choices(range(count), k=broken)):
        followers.setdefault(row, []).append(kinds[number % len(kinds)])
    names, identify, key_field = rows.column_names, stream.identify, stream.key_field
    for begin in range(0, count, _SLICE):
        part = rows.slice(begin, _SLICE)
        times = part[stream.time_field].cast(pa.int64()).to_pylist()
        columns = [_plain(column).to_pylist() for column in part.columns]
        for row, (micros, *values) in enumerate(zip(times, *columns, strict=True), start=begin):
            fields = dict(zip(names, values, strict=True))
            record = {"schema_version": 1, "event_id": identify(fields), **fields}
            key = b"%d" % fields[key_field]
            yield Event(key, orjson.dumps(record), micros // 1000)
            for kind in followers.get(row, ()):
                yield _broken(stream, kind, record, key, micros // 1000)


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Times as text, as JSON has them."""
    if not pa.types.is_timestamp(column.type):
        return column
    return pc.strftime(column.cast(pa.timestamp("s", "UTC")), format="%Y-%m-%dT%H:%M:%SZ")


def _broken(stream: Stream, kind: str, record: dict[str, Any], key: bytes, time: int) -> Event:
    if kind == "wrong_key":
        return Event(b"%d" % (record[stream.key_field] + 1), orjson.dumps(record), time)
    return Event(key, _spoil_text(kind, record) or orjson.dumps(_spoil_fields(stream, kind, record)), time)


def _spoil_text(kind: str, record: dict[str, Any]) -> bytes | None:
    """The value of a kind that is broken as text; None for another kind."""
    value: bytes = orjson.dumps(record)
    match kind:
        case "not_json":
            return f"this is event {record['event_id']}".encode()
        case "truncated":
            return value[: len(value) // 2]
        case "not_an_object":
            return b"[" + value + b"]"
        case "bad_encoding":
            return value.replace(b'"event_id":"', b'"event_id":"\xff\xfe')
    return None


def _spoil_fields(stream: Stream, kind: str, record: dict[str, Any]) -> dict[str, Any]:
    """The record of a kind whose fields are broken."""
    match kind:
        case "missing_field":
            return {name: item for name, item in record.items() if name != "product_id"}
        case "wrong_type":
            return record | {stream.typed: str(record[stream.typed])}
        case "impossible_value":
            return record | {stream.bounded: -1 - record[stream.bounded]}
        case "impossible_time":
            return record | {stream.time_field: "2017-02-30T25:61:00Z"}
        case "unknown_version":
            return record | {"schema_version": 99}
        case "oversized":
            return record | {"note": "x" * _OVERSIZED_BYTES}
    raise ValueError(f"no kind of broken record is called {kind!r}: add it here")
