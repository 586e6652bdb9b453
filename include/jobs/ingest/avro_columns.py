"""Avro records of one schema in columns: all records of a batch are walked in step, without an object for any of them.

Field by field, numpy takes the next bytes of every record at once. A record is read when each of its bytes is what the
schema allows and the last one is its end, to the letter of Avro's specification
(https://avro.apache.org/docs/1.12.0/specification/#binary-encoding); all others are left to a reader of single records.
(Polars reads blocks of Avro as fast, but takes what is none: a union's branch that there is not, an int of 64 bits,
bytes that are left over.)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from include.jobs.ingest.alike import between

#: A schema as `fastavro.parse_schema` gives it.
Schema = Any
_SIZES = {"boolean": 1, "float": 4, "double": 8}
#: No value without a length of its own takes more bytes.
_PADDING = 16
_MICROSECONDS = {"timestamp-micros": 1, "timestamp-millis": 1_000, "date": 86_400_000_000}
#: The year 9999, as far as Python's times go.
_LAST = 253_402_300_800_000_000
#: Integers and powers of ten that are exact as floating-point numbers, so that their quotient is rounded once.
_EXACT, _EXACT_SCALE = 2**53, 22


@dataclass(frozen=True, slots=True)
class _Found:
    """Values of some records: integers, texts (large string), or where other values lie in the data."""

    rows: "np.ndarray"
    schema: Schema
    values: Any
    ends: "np.ndarray"


def kind_of(schema: Schema) -> str:
    """What a schema is: its logical type, or its type."""
    if isinstance(schema, list):
        return "union"
    return str(schema.get("logicalType", schema["type"]) if isinstance(schema, dict) else schema)


class Walk:
    """A walk through records (large binary), one step a field. `sound` are those that have been Avro so far."""

    def __init__(self, records: pa.Array, named: Mapping[str, Schema]) -> None:
        _, offsets, data = records.buffers()
        bounds = np.frombuffer(offsets, np.int64)[records.offset : records.offset + len(records) + 1]
        content = np.frombuffer(data or b"", np.uint8)[: bounds[-1]]
        # What lies past the end is read, and found out by its place.
        self._data = np.concatenate([content, np.zeros(_PADDING, np.uint8)])
        self._at, self._ends, self._named = bounds[:-1].copy(), bounds[1:], named
        self.sound = np.ones(len(records), np.bool_)

    def columns(self, record: Schema, types: Mapping[str, pa.DataType]) -> dict[str, pa.Array]:
        """Columns of some fields; after it `sound` is the last word, and what is not so has any value."""
        rows = np.arange(len(self.sound))
        found = {field["name"]: self._read(field["type"], rows) for field in record["fields"]}
        self.sound &= self._at == self._ends
        return {name: self._column(found.get(name), kind) for name, kind in types.items()}

    def _read(self, schema: Schema, rows: "np.ndarray") -> _Found | None:
        """Take the next value of the rows; None where these are no single values."""
        kind = schema["type"] if isinstance(schema, dict) else schema
        if not len(rows) or kind == "null":
            return None
        if isinstance(schema, list):
            return self._union(schema, rows)
        if kind == "record":
            for field in schema["fields"]:
                self._read(field["type"], rows)
            return None
        if kind in ("array", "map"):
            self._blocks(["string", schema["values"]] if kind == "map" else [schema["items"]], rows)
            return None
        if kind in ("int", "long", "enum"):
            return self._whole(schema, kind, rows)
        if kind in self._named:
            return self._read(self._named[kind], rows)
        sizes = self._long(rows) if kind in ("string", "bytes") else self._fixed(schema, kind, rows)
        begin = self._advance(rows, sizes)
        ends = self._at[rows]
        if kind == "string":
            return _Found(rows, schema, self._texts(rows, begin, ends), ends)
        if kind == "boolean":
            self._doubt(rows, self._data[begin] > 1)
        return _Found(rows, schema, begin, ends)

    def _fixed(self, schema: Schema, kind: str, rows: "np.ndarray") -> "np.ndarray":
        return np.full(len(rows), schema["size"] if kind == "fixed" else _SIZES[kind])

    def _whole(self, schema: Schema, kind: str, rows: "np.ndarray") -> _Found:
        values = self._long(rows)
        if kind == "int":
            self._doubt(rows, values != values.astype(np.int32))
        elif kind == "enum":
            self._doubt(rows, (values < 0) | (values >= len(schema["symbols"])))
        return _Found(rows, schema, values, values)

    def _union(self, branches: list[Schema], rows: "np.ndarray") -> _Found | None:
        taken = self._long(rows)
        self._doubt(rows, (taken < 0) | (taken >= len(branches)))
        found = [self._read(branch, rows[taken == number]) for number, branch in enumerate(branches)]
        return next(filter(None, found), None)

    def _blocks(self, items: list[Schema], rows: "np.ndarray") -> None:
        """Pass arrays and maps: blocks of items, the last of which is empty."""
        while len(rows):
            counts = self._long(rows)
            # A negative count is followed by the block's size in bytes.
            self._long(rows[counts < 0])
            counts = np.abs(counts)
            # An item takes a byte at least; one that takes none is an oddity for the reader of single records.
            self._doubt(rows, (counts < 0) | (counts > self._ends[rows] - self._at[rows]))
            going = (counts != 0) & self.sound[rows]
            rows, counts = rows[going], counts[going]
            left = rows
            while len(left):
                for item in items:
                    self._read(item, left)
                counts = counts - 1
                going = (counts > 0) & self.sound[left]
                left, counts = left[going], counts[going]
            rows = rows[self.sound[rows]]

    def _long(self, rows: "np.ndarray") -> "np.ndarray":
        """Take an integer in Avro's form: seven bits a byte, the lowest first, the sign in the lowest of all."""
        values = np.zeros(len(rows), np.uint64)
        going = np.arange(len(rows))
        for shift in range(0, 70, 7):
            places = rows[going]
            byte = self._data[self._at[places]]
            self._at[places] += 1
            values[going] |= (byte & 0x7F).astype(np.uint64) << np.uint64(shift)
            if shift == 63:
                self._doubt(places, byte > 1)
            going = going[byte > 0x7F]
            if not len(going):
                break
        self._advance(rows, np.zeros(len(rows), np.int64))
        return (values >> np.uint64(1)).view(np.int64) ^ -(values & np.uint64(1)).view(np.int64)

    def _advance(self, rows: "np.ndarray", sizes: "np.ndarray") -> "np.ndarray":
        """Where the rows are, before going on by as many bytes; never past the end."""
        begin: np.ndarray = self._at[rows]
        ends = self._ends[rows]
        past = (sizes < 0) | (sizes > ends - begin)
        self._doubt(rows, past)
        self._at[rows] = np.where(past, ends, begin + sizes)
        return begin

    def _doubt(self, rows: "np.ndarray", mask: "np.ndarray") -> None:
        if mask.any():
            self.sound[rows[mask]] = False

    def _column(self, found: _Found | None, kind: pa.DataType) -> pa.Array:
        if found is None:
            return pa.nulls(len(self.sound), kind)
        array = self._array(found, kind)
        if len(array) == len(self.sound):
            return array
        places = np.full(len(self.sound), -1)
        places[found.rows] = np.arange(len(array))
        return array.take(pa.array(places, mask=places < 0))

    def _array(self, found: _Found, kind: pa.DataType) -> pa.Array:
        """The values as a column of a type; those that it is not sure of are no longer sound."""
        what = kind_of(found.schema)
        if what == "enum":
            symbols = pa.array(found.schema["symbols"], pa.string())
            return symbols.take(pa.array(np.clip(found.values, 0, len(symbols) - 1)))
        if what == "string":
            return found.values.cast(kind)
        if what in _MICROSECONDS:
            unit = _MICROSECONDS[what]
            out = (found.values < -(_LAST // unit)) | (found.values >= _LAST // unit)
            self._doubt(found.rows, out)
            return pa.array(np.where(out, 0, found.values) * unit).cast(kind)
        if what == "decimal":
            return pa.array(self._decimals(found))
        if what in ("float", "double"):
            size, form = _SIZES[what], "<f4" if what == "float" else "<f8"
            windows = np.ndarray((len(self._data) - size + 1,), form, self._data, strides=(1,))
            return pa.array(windows[found.values].astype(np.float64))
        return pa.array(found.values).cast(kind, safe=False)

    def _texts(self, rows: "np.ndarray", begin: "np.ndarray", ends: "np.ndarray") -> pa.Array:
        texts = between(pa.py_buffer(self._data), begin, ends)
        try:
            texts.view(pa.large_binary()).cast(pa.large_string())
        except pa.ArrowInvalid:
            # Arrow does not say which of them is not UTF-8: ASCII ones are.
            self._doubt(rows, pc.invert(pc.string_is_ascii(texts)).to_numpy(zero_copy_only=False))
        return texts

    def _decimals(self, found: _Found) -> "np.ndarray":
        """Unscaled integers in as few bytes as they need, the highest first, over a power of ten."""
        sizes, scale = found.ends - found.values, found.schema.get("scale", 0)
        values = np.zeros(len(sizes), np.int64)
        for place in range(min(8, sizes.max(initial=0))):
            byte = self._data[found.values + place].astype(np.int64)
            if place == 0:
                # Its highest bit is the sign.
                byte = byte.astype(np.int8).astype(np.int64)
            values = np.where(place < sizes, values << 8 | byte, values)
        self._doubt(found.rows, (sizes < 1) | (sizes > 8) | (np.abs(values) > _EXACT) | (scale > _EXACT_SCALE))
        quotients: np.ndarray = values / 10.0 ** min(scale, _EXACT_SCALE)
        return quotients
