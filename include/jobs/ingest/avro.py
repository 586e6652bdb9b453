"""Avro values of one schema: what it has for a contract, and its records in columns or one by one."""

import datetime as dt
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
from fastavro import parse_schema, schemaless_reader

from include.jobs.ingest.avro_columns import Walk, kind_of
from include.jobs.ingest.check import COLUMN_TYPES, Broken, Checked, check_columns
from include.jobs.ingest.contract import BrokenRecordError, Contract, Reason
from include.jobs.ingest.evolution import describe
from include.jobs.lake.erasures import HOUSEHOLD

_LOGICAL = ("timestamp-millis", "timestamp-micros", "date", "decimal")
#: What a field of the contract may be in Avro; a date is its midnight in UTC.
_KINDS = {
    "integer": {"int", "long"},
    "number": {"int", "long", "float", "double", "decimal"},
    "string": {"string", "enum"},
    "timestamp": {"timestamp-millis", "timestamp-micros", "date", "string"},
}


class AvroValues:
    """Avro values (without the header) that were written by a schema, held against a contract."""

    def __init__(self, contract: Contract, text: str, referenced: Sequence[str] = ()) -> None:
        """Parse the schema; `referenced` are those whose names it uses."""
        self._contract = contract
        self._named: dict[str, Any] = {}
        for each in (*referenced, text):
            self._schema = parse_schema(json.loads(each, object_hook=_with_known_logical_types), self._named)
        fields = self._schema["fields"] if kind_of(self._schema) == "record" else []
        self._kinds = {field["name"]: self._kinds_of(field["type"]) for field in fields}
        self._types = {field.name: COLUMN_TYPES[field.type] for field in contract.fields}

    def misfits(self) -> Iterator[str]:
        """Why no record of the schema can keep the contract, or some are sure not to, field by field."""
        if kind_of(self._schema) != "record":
            yield f"it is {kind_of(self._schema)}, must be record"
            return
        for field in self._contract.fields:
            kinds = self._kinds.get(field.name)
            if kinds is None:
                if not field.optional:
                    yield f"{field.name}: is missing, the contract has {describe(field)}"
            elif not kinds - {"null"} <= _KINDS[field.type] or (kinds == {"null"} and not field.optional):
                wanted = " or ".join(sorted(_KINDS[field.type]))
                yield f"{field.name}: is {' or '.join(sorted(kinds))}, must be {wanted}"

    def check(self, keys: pa.Array, values: pa.Array) -> Checked:
        """Check a batch of message keys (binary) and values (large binary), see `check_batch`."""
        checked = check_columns(self._contract, keys, values, self._columns, self.read)
        broken = [self._naming(one, values[one.index].as_py()) for one in checked.broken]
        return replace(checked, broken=broken)

    def read(self, value: bytes) -> dict[str, Any]:
        """One value, times as times and decimals as numbers.

        Raises:
            BrokenRecordError: it is no record of the schema.
        """
        stream = io.BytesIO(value)
        try:
            data = schemaless_reader(stream, self._schema, None)
        # What ends too early, is no UTF-8, names no branch or is no date raises one thing each.
        except Exception as error:
            raise BrokenRecordError(Reason.NOT_AVRO, f"{type(error).__name__}: {error}") from None
        if stream.tell() != len(value):
            raise BrokenRecordError(Reason.NOT_AVRO, f"goes on after the record, which ends at byte {stream.tell()}")
        return {name: _plain(field) for name, field in data.items()}

    def _columns(self, values: pa.Array) -> tuple[dict[str, pa.Array], "np.ndarray"]:
        mixed = any(len(self._kinds.get(name, set()) - {"null"}) > 1 for name in self._types)
        if mixed or not len(values):
            return self._none(values)
        walk = Walk(values, self._named)
        try:
            columns = walk.columns(self._schema, self._types)
        except RecursionError:
            # A record within itself, hundreds deep.
            return self._none(values)
        if walk.sound.all():
            return columns, walk.sound
        return {name: column.filter(pa.array(walk.sound)) for name, column in columns.items()}, walk.sound

    def _none(self, values: pa.Array) -> tuple[dict[str, pa.Array], "np.ndarray"]:
        return {name: pa.nulls(0, kind) for name, kind in self._types.items()}, np.zeros(len(values), np.bool_)

    def _kinds_of(self, schema: Any) -> set[str]:
        branches = schema if isinstance(schema, list) else [schema]
        return {kind_of(self._named.get(branch, branch) if isinstance(branch, str) else branch) for branch in branches}

    def _naming(self, broken: Broken, value: bytes | None) -> Broken:
        """Names the household, which nobody sees in the bytes, for its erasure."""
        try:
            household = self.read(value or b"").get(HOUSEHOLD)
        except BrokenRecordError:
            return broken
        return broken if household is None else replace(broken, detail=f"{broken.detail}; {HOUSEHOLD} {household}")


def _with_known_logical_types(item: dict[str, Any]) -> dict[str, Any]:
    """Others are what they are written as, as the specification has it."""
    return {name: value for name, value in item.items() if name != "logicalType" or value in _LOGICAL}


def _plain(value: object) -> object:
    if type(value) is dt.date:
        return dt.datetime(value.year, value.month, value.day, tzinfo=dt.UTC)
    return float(value) if isinstance(value, Decimal) else value
