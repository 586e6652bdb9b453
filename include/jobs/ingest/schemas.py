"""What follows from a contract: the JSON Schema of a message, and the columns of the tables that take it."""

import datetime as dt
from collections.abc import Iterator
from typing import Any

from pyiceberg.types import DoubleType, FloatType, IcebergType, IntegerType, LongType, StringType, TimestamptzType

from include.jobs.ingest.contract import TIMESTAMP_PATTERN, Contract, Field
from include.jobs.lake.tables import EventTables

_COLUMNS: dict[tuple[str, int], IcebergType] = {
    ("integer", 32): IntegerType(),
    ("integer", 64): LongType(),
    ("number", 32): FloatType(),
    ("number", 64): DoubleType(),
    ("string", 64): StringType(),
    ("timestamp", 64): TimestamptzType(),
}


def event_tables(contract: Contract, identifier: str) -> EventTables:
    """The tables of a topic: `<identifier>` with the columns of the contract, and its quarantine."""
    return EventTables.of(identifier, columns(contract))


def columns(contract: Contract) -> Iterator[tuple[str, IcebergType, bool]]:
    """Name, type and whether a value is required, of each of the contract's columns in order."""
    return ((field.name, column_type(field), not field.optional) for field in contract.fields)


def column_type(field: Field) -> IcebergType:
    """The Iceberg type of a field."""
    return _COLUMNS[field.type, field.bits]


def json_schema(contract: Contract) -> dict[str, Any]:
    """The contract as JSON Schema, draft 2020-12, for producers and schema registries.

    A schema cannot say that the key repeats a field, nor how large a message may be in bytes: `key_field` and
    `max_bytes` are left as annotations.
    """
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": contract.name,
        "version": contract.version,
        "type": "object",
        "required": list(contract.required),
        "properties": {field.name: _property(field) for field in contract.fields},
        "x-key-field": contract.key_field,
        "x-max-bytes": contract.max_bytes,
    }


def _property(field: Field) -> dict[str, Any]:
    if field.type == "string":
        found: dict[str, Any] = {"type": "string", "minLength": field.minimum, "maxLength": field.maximum}
    elif field.type == "timestamp":
        found = {"type": "string", "format": "date-time", "pattern": f"^{TIMESTAMP_PATTERN}$"}
        found |= {"formatMinimum": _text(field.minimum), "formatMaximum": _text(field.maximum)}
    else:
        found = {"type": field.type, "minimum": field.minimum, "maximum": field.maximum}
    return found | ({"type": [found["type"], "null"]} if field.optional else {})


def _text(moment: object) -> str:
    if not isinstance(moment, dt.datetime):
        raise TypeError(f"{moment!r} is no time")
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
