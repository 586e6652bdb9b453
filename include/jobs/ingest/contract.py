"""The contract of an event, read from `include/contracts`, and the check of one record against it.

This is the authority on good and broken and gives the reason. `check` does the same on whole batches, faster; `schemas`
derives from the contract what others need: JSON Schema, the columns of the table, the Great Expectations suite.
"""

import datetime as dt
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

import orjson
import yaml

from include.jobs.lake.errors import JobError
from include.jobs.lake.text import printable

CONTRACTS_DIR = Path(__file__).parents[2] / "contracts"

FieldType = Literal["integer", "number", "string", "timestamp"]
Value = int | float | str | dt.datetime | None

_REQUIRED = ("name", "version", "version_field", "key_field", "max_bytes", "fields")
_BOUNDS = {
    "string": ("min_length", "max_length"),
    **dict.fromkeys(("integer", "number", "timestamp"), ("minimum", "maximum")),
}
_LOOK_BACK_S = 7 * 86_400
_CENTURY_S = 3_155_760_000
_Number = TypeVar("_Number", int, float)
#: The form of a timestamp, in the syntax that Python and JSON Schema share.
TIMESTAMP_PATTERN = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z"
_TIMESTAMP = re.compile(TIMESTAMP_PATTERN)


class ContractError(JobError):
    """A contract file cannot be used."""


class Reason(StrEnum):
    """Why a record is broken. The first that holds, in this order, is recorded."""

    OVERSIZED = "oversized"
    NO_SCHEMA_ID = "no_schema_id"
    UNKNOWN_SCHEMA = "unknown_schema"
    BAD_ENCODING = "bad_encoding"
    NOT_JSON = "not_json"
    NOT_AVRO = "not_avro"
    NOT_AN_OBJECT = "not_an_object"
    UNKNOWN_VERSION = "unknown_version"
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    IMPOSSIBLE_VALUE = "impossible_value"
    WRONG_KEY = "wrong_key"
    IMPOSSIBLE_TIME = "impossible_time"
    #: It breaks nothing, but another record is the same event: `duplicates`.
    DUPLICATE = "duplicate"


class BrokenRecordError(Exception):
    """A record breaks its contract: `reason`, and `detail` for a person."""

    def __init__(self, reason: Reason, detail: str) -> None:
        # A parser may quote what it has read.
        self.detail = printable(detail)
        super().__init__(f"{reason}: {self.detail}")
        self.reason = reason


def read_json(value: bytes) -> object:
    """What a JSON text holds.

    Raises:
        BrokenRecordError: it is none.
    """
    try:
        value.decode()
    except UnicodeDecodeError as error:
        raise BrokenRecordError(Reason.BAD_ENCODING, f"not UTF-8 at byte {error.start}") from None
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise BrokenRecordError(Reason.NOT_JSON, str(error)) from None


@dataclass(frozen=True, slots=True)
class Field:
    """One field: its type and bounds. Bounds of a string are its length; `bits` is the width of a number's column.

    An optional field may be missing or null; its column is null then.
    """

    name: str
    type: FieldType
    minimum: int | float | dt.datetime
    maximum: int | float | dt.datetime
    optional: bool = False
    bits: Literal[32, 64] = 64

    @classmethod
    def from_yaml(cls, item: Mapping[str, Any]) -> Self:
        """Read a field; every field has both bounds, so that nothing unbounded reaches a column."""
        name, kind = item["name"], item["type"]
        rest = {"optional": item.get("optional", False), "bits": item.get("bits", 64)}
        _only(item, {"name", "type", *rest, *_BOUNDS.get(kind, ())}, f"field {name}")
        if kind == "string":
            return cls(name, kind, item["min_length"], item["max_length"], **rest)
        if kind == "timestamp":
            return cls(name, kind, parse_timestamp(item["minimum"]), parse_timestamp(item["maximum"]), **rest)
        if kind not in ("integer", "number"):
            raise ValueError(f"type {kind!r} of field {name} is not integer, number, string or timestamp")
        if rest["bits"] == 32 and kind == "integer" and not -(2**31) <= item["minimum"] <= item["maximum"] < 2**31:
            raise ValueError(f"the bounds of field {name} do not fit 32 bits")
        return cls(name, kind, item["minimum"], item["maximum"], **rest)

    def check(self, value: object) -> Value:
        """The value as the column takes it.

        Raises:
            BrokenRecordError: wrong type or out of bounds.
        """
        if self.type == "integer":
            if type(value) is not int:
                raise self._wrong_type(value)
            return self._bounded(value)
        if self.type == "number":
            if type(value) is not int and type(value) is not float:
                raise self._wrong_type(value)
            return float(self._bounded(value))
        if self.type == "timestamp" and type(value) is dt.datetime:
            return self._within(value)
        if type(value) is not str:
            raise self._wrong_type(value)
        if self.type == "string":
            if not self.minimum <= len(value) <= self.maximum:  # type: ignore[operator]
                raise self._impossible(f"has {len(value)} characters")
            return value
        try:
            moment = parse_timestamp(value)
        except ValueError:
            raise self._impossible(f"{value[:40]!r} is no UTC time like 2017-01-01T11:53:26Z") from None
        return self._within(moment)

    def _within(self, moment: dt.datetime) -> dt.datetime:
        if not self.minimum <= moment <= self.maximum:  # type: ignore[operator]
            raise self._impossible(f"{moment:%Y-%m-%dT%H:%M:%SZ}")
        return moment

    def _bounded(self, value: _Number) -> _Number:
        if not self.minimum <= value <= self.maximum:  # type: ignore[operator]
            raise self._impossible(repr(value)[:40])
        return value

    def _wrong_type(self, value: object) -> BrokenRecordError:
        return BrokenRecordError(Reason.WRONG_TYPE, f"{self.name} is {type(value).__name__}, not {self.type}")

    def _impossible(self, what: str) -> BrokenRecordError:
        return BrokenRecordError(
            Reason.IMPOSSIBLE_VALUE, f"{self.name} {what}; allowed {self.minimum} to {self.maximum}"
        )


@dataclass(frozen=True, slots=True)
class Reference:
    """Values of a field stand in a column of another table, for at least the share `mostly` of an interval's rows."""

    field: str
    table: str
    column: str
    mostly: float

    @classmethod
    def from_yaml(cls, item: Mapping[str, Any]) -> Self:
        """Read a reference."""
        _only(item, {"field", "table", "column", "mostly"}, "a reference")
        if not 0 < item["mostly"] <= 1:
            raise ValueError(f"mostly of the reference of {item['field']} is a share above 0, at most 1")
        return cls(item["field"], item["table"], item["column"], float(item["mostly"]))


@dataclass(frozen=True, slots=True)
class Duplicates:
    """What becomes of records that have the values of another one in all the fields of `key`: they are the same event.

    `first` takes the one that came first, and the others go to quarantine; `refuse` stages nothing of an interval that
    has any. Looked at are the interval itself and those that lie within `look_back` before or after it.
    """

    key: tuple[str, ...]
    take: Literal["first", "refuse"] = "first"
    look_back: dt.timedelta = dt.timedelta(seconds=_LOOK_BACK_S)

    @classmethod
    def from_yaml(cls, item: Mapping[str, Any]) -> Self:
        """Read the decision; `look_back_s` is in seconds."""
        _only(item, {"key", "take", "look_back_s"}, "duplicates")
        take, seconds = item.get("take", "first"), item.get("look_back_s", _LOOK_BACK_S)
        if not item["key"] or isinstance(item["key"], str):
            raise ValueError("key of duplicates is a list of fields, at least one")
        if take not in ("first", "refuse"):
            raise ValueError(f"take of duplicates is first or refuse, not {take!r}")
        if type(seconds) is not int or not 0 <= seconds <= _CENTURY_S:
            raise ValueError(f"look_back_s of duplicates is a whole number of seconds from 0 to {_CENTURY_S}")
        return cls(tuple(item["key"]), take, dt.timedelta(seconds=seconds))


@dataclass(frozen=True)
class Contract:
    """What a good record is.

    Records of earlier versions are good too, as far as the bounds of the version's field reach: what a version adds is
    optional (see `evolution`). `duplicates` says what makes two records the same event, `references` are fields whose
    values stand in another table, and `suite` the rest of what an interval must look like as a whole.
    """

    name: str
    version: int
    version_field: str
    key_field: str
    max_bytes: int
    fields: tuple[Field, ...]
    duplicates: Duplicates | None = dataclass_field(default=None, compare=False)
    references: tuple[Reference, ...] = dataclass_field(default=(), compare=False)
    suite: Mapping[str, Any] = dataclass_field(default_factory=dict, compare=False)

    @classmethod
    def load(cls, name: str, directory: Path = CONTRACTS_DIR) -> Self:
        """Read `include/contracts/<name>.yaml`, for instance `transactions.v1`.

        Raises:
            ContractError: the file is missing or not a contract.
        """
        path = directory / f"{name}.yaml"
        try:
            data = yaml.safe_load(path.read_text(encoding="utf-8"))
            _only(data, {*_REQUIRED, "duplicates", "references", "suite"}, "the contract")
            contract = cls(
                **{key: data[key] for key in _REQUIRED if key != "fields"},
                fields=tuple(Field.from_yaml(item) for item in data["fields"]),
                duplicates=Duplicates.from_yaml(data["duplicates"]) if "duplicates" in data else None,
                references=tuple(Reference.from_yaml(item) for item in data.get("references", ())),
                suite=data.get("suite", {}),
            )
            contract._consistent(path.stem)
        except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
            raise ContractError(f"contract {path} cannot be used: {type(error).__name__}: {error}") from error
        return contract

    def _consistent(self, stem: str) -> None:
        if not stem.endswith(f".v{self.version}"):
            raise ValueError(f"version {self.version} stands in a file that is not called <name>.v{self.version}.yaml")
        if len(set(self.names)) != len(self.names):
            raise ValueError("a field is named twice")
        required = {field.name for field in self.fields if not field.optional}
        if lost := {self.version_field, self.key_field} - required:
            raise ValueError(f"{', '.join(sorted(lost))} must be a field, and not an optional one")
        if unknown := {item.field for item in self.references} - set(self.names):
            raise ValueError(f"references names no field: {', '.join(sorted(unknown))}")
        if self.duplicates and (lost := set(self.duplicates.key) - required):
            raise ValueError(f"{', '.join(sorted(lost))} of duplicates must be a field, and not an optional one")
        if self.version not in self.versions:
            raise ValueError(f"the bounds of {self.version_field} leave out version {self.version}")

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The fields' names, in column order."""
        return tuple(field.name for field in self.fields)

    @cached_property
    def required(self) -> tuple[str, ...]:
        """The names of the fields that no record may lack."""
        return tuple(field.name for field in self.fields if not field.optional)

    @cached_property
    def versions(self) -> range:
        """The versions of records that it takes."""
        field = self.fields[self.names.index(self.version_field)]
        return range(int(field.minimum), int(field.maximum) + 1)  # type: ignore[arg-type]

    @cached_property
    def key_index(self) -> int:
        """Where the key's field stands in `names`."""
        return self.names.index(self.key_field)

    def check(
        self, key: bytes | None, value: bytes | None, read: Callable[[bytes], object] = read_json
    ) -> tuple[Value, ...]:
        """The record's values in column order; `read` tells what a value holds, or raises.

        Raises:
            BrokenRecordError: it breaks the contract.
        """
        data = self._parse(value, read)
        version = data.get(self.version_field)
        if version is not None and version not in self.versions:
            known = f"{self.versions[0]} to {self.version}" if len(self.versions) > 1 else self.version
            raise BrokenRecordError(Reason.UNKNOWN_VERSION, f"{self.version_field} {version!r:.40}, known {known}")
        missing = [name for name in self.required if data.get(name) is None]
        if missing:
            raise BrokenRecordError(Reason.MISSING_FIELD, ", ".join(missing))
        values = tuple(None if data.get(field.name) is None else field.check(data[field.name]) for field in self.fields)
        expected = str(values[self.key_index]).encode()
        if key != expected:
            raise BrokenRecordError(Reason.WRONG_KEY, f"key {key!r:.60}, but {self.key_field} {expected.decode()}")
        return values

    def _parse(self, value: bytes | None, read: Callable[[bytes], object]) -> dict[str, Any]:
        if value is None:
            raise BrokenRecordError(Reason.NOT_JSON, "no value")
        if len(value) > self.max_bytes:
            raise BrokenRecordError(Reason.OVERSIZED, f"{len(value)} bytes, allowed {self.max_bytes}")
        data = read(value)
        if not isinstance(data, dict):
            raise BrokenRecordError(Reason.NOT_AN_OBJECT, f"a JSON {type(data).__name__}")
        return data


def parse_timestamp(text: str) -> dt.datetime:
    """Parse `YYYY-MM-DDTHH:MM:SSZ`.

    Raises:
        ValueError: any other form, or no such moment.
    """
    if not _TIMESTAMP.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is not YYYY-MM-DDTHH:MM:SSZ")
    return dt.datetime.fromisoformat(text)


def _only(item: Mapping[str, Any], known: Collection[str], where: str) -> None:
    """A key that nobody reads is a mistake in writing."""
    if unknown := set(item) - set(known):
        raise ValueError(f"{where} has unknown keys: {', '.join(sorted(unknown))}")
