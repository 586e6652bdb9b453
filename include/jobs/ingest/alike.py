"""Records that are written alike: the same fields in the same order, in ASCII, without a blank or an escape.

That is how one producer writes all of its records. In such a record the quotation marks tell where every value lies,
so that Arrow can take the values column by column, without a JSON parser: several times faster. Each accepted record
is, byte for byte, the texts that stand between values and, between these, values of the form that `_value` asks for;
all else is left to others.
"""

from dataclasses import dataclass
from functools import reduce
from itertools import accumulate
from typing import Self

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from include.jobs.ingest.contract import Contract, Field

#: Printable ASCII without a quotation mark and a backslash.
_TEXT = r"^[ !#-\[\]-~]*$"
#: A decimal number as JSON writes it, without a sign and an exponent.
_NUMBER = r"^(0|[1-9][0-9]*)(\.[0-9]+)?$"
#: Digits that fit 64 bits in any case.
_DIGITS = 18


@dataclass(frozen=True)
class Layout:
    """How records are written: the fields in their order, and the texts before each of them and after the last."""

    fields: tuple[Field, ...]
    texts: tuple[bytes, ...]

    @classmethod
    def of(cls, contract: Contract, record: bytes) -> Self | None:
        """That of a record; None where it does not have the contract's fields and no others."""
        try:
            data = orjson.loads(record)
        except orjson.JSONDecodeError:
            return None
        if not isinstance(data, dict) or set(data) != set(contract.names):
            return None
        fields = tuple(contract.fields[contract.names.index(name)] for name in data)
        marks = [b"", *(b'"' if field.type in ("string", "timestamp") else b"" for field in fields)]
        before = [b"{", *(mark + b"," for mark in marks[1:-1])]
        texts = [
            start + orjson.dumps(field.name) + b":" + mark
            for start, field, mark in zip(before, fields, marks[1:], strict=True)
        ]
        return cls(fields, (*texts, marks[-1] + b"}"))

    def read(self, records: pa.Array) -> tuple[dict[str, pa.Array], "np.ndarray"]:
        """Columns of those records (large binary) that are written so, and which of all they are.

        Timestamps are left as text; no value is null.
        """
        _, offsets, data = records.buffers()
        bounds = np.frombuffer(offsets, np.int64)[records.offset : records.offset + len(records) + 1]
        data = pa.py_buffer(data or b"").slice(bounds[0], bounds[-1] - bounds[0])
        places, alike = self._places(np.frombuffer(data, np.uint8), bounds - bounds[0])
        columns = {
            field.name: _value(field, between(data, begin + len(text), end))
            for field, text, begin, end in zip(self.fields, self.texts, places, places[1:], strict=False)
        }
        if not any(column.null_count for column in columns.values()):
            return columns, alike
        plain = reduce(pc.and_, (column.is_valid() for column in columns.values()))
        alike[alike] = plain.to_numpy(zero_copy_only=False)
        return {name: column.filter(plain) for name, column in columns.items()}, alike

    def _places(self, content: "np.ndarray", bounds: "np.ndarray") -> tuple[list["np.ndarray"], "np.ndarray"]:
        """Where the texts begin, text by text, in the records that have them, and which these are."""
        marks = np.flatnonzero(content == ord('"'))
        first = np.searchsorted(marks, bounds)
        counts = [text.count(b'"') for text in self.texts]
        alike = np.diff(first) == sum(counts)
        first, ends = first[:-1][alike], bounds[1:][alike]
        places = [
            marks[first + before] - text.index(b'"')
            for text, before in zip(self.texts[:-1], accumulate(counts, initial=0), strict=False)
        ]
        places.append(ends - len(self.texts[-1]))
        same = places[0] == bounds[:-1][alike]
        for text, begin, end in zip(self.texts, places, places[1:], strict=False):
            same &= begin + len(text) <= end
        places, alike = _kept(same, places, alike)
        same = np.ones(len(places[0]), np.bool_)
        for text, begin in zip(self.texts, places, strict=True):
            same &= _windows(content, len(text))[begin] == text
        return _kept(same, places, alike)


def _kept(
    same: "np.ndarray", places: list["np.ndarray"], alike: "np.ndarray"
) -> tuple[list["np.ndarray"], "np.ndarray"]:
    """Without the records that turned out not to be the same."""
    if same.all():
        return places, alike
    left = alike.copy()
    left[alike] = same
    return [place[same] for place in places], left


def _windows(content: "np.ndarray", size: int) -> "np.ndarray":
    """The `size` bytes that begin at each place, without a copy."""
    return np.ndarray((max(0, len(content) - size + 1),), f"S{size}", content, strides=(1,))


def between(data: pa.Buffer, begin: "np.ndarray", end: "np.ndarray") -> pa.Array:
    """The texts (large string, unproven) from `begin` to `end` (ascending, apart)."""
    bounds = np.column_stack([begin, end]).ravel()
    if not len(bounds):
        return pa.array([], pa.large_string())
    # Every other one is what lies between two of them.
    every = pa.Array.from_buffers(pa.large_string(), len(bounds) - 1, [None, pa.py_buffer(bounds), data])
    return every.take(pa.array(np.arange(0, len(bounds), 2)))


def _value(field: Field, texts: pa.Array) -> pa.Array:
    """The values as the field's type; null where the text is not of a plain form."""
    if field.type in ("string", "timestamp"):
        return _where(pc.match_substring_regex(texts, _TEXT), texts).cast(pa.string())
    if field.type == "number":
        return _where(pc.match_substring_regex(texts, _NUMBER), texts).cast(pa.float64())
    length = pc.binary_length(texts)
    plain = pc.and_(pc.ascii_is_decimal(texts), pc.less_equal(length, _DIGITS))
    plain = pc.and_(plain, pc.or_(pc.equal(length, 1), pc.invert(pc.starts_with(texts, "0"))))
    return _where(plain, texts).cast(pa.int64())


def _where(mask: pa.Array, texts: pa.Array) -> pa.Array:
    return texts if pc.all(mask, min_count=0).as_py() else pc.if_else(mask, texts, None)
