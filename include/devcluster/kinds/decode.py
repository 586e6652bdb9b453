"""Objects as the API server reads and writes them: typed, without nulls and empty fields, in canonical form.

What goes in is what a client sent; what comes out is what Go's decoder and encoder make of it, or the error that they
answer with.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from include.devcluster.core.objects import Object
from include.devcluster.kinds import quantities, types
from include.devcluster.kinds.types import Field, Type

_BITS = {"int32": 31, "int64": 63}
_ZERO: dict[str, Any] = {
    "string": "",
    "bool": False,
    "int32": 0,
    "int64": 0,
    "float64": 0,
    "quantity": "0",
    "intstr": 0,
}
_TIME = re.compile(r"^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$")


class DecodeError(ValueError):
    """A value that is not of its field's type; the message is that of Go's decoder."""


class Number(float):
    """A JSON number that is not written as an integer; `text` is how it is written."""

    text: str

    def __new__(cls, text: str) -> Number:
        """From how it is written."""
        made = super().__new__(cls, text)
        made.text = text
        return made


class Twice(dict[str, Any]):
    """A JSON object that names keys more than once: `names`."""

    names: tuple[str, ...] = ()


def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
    """`object_pairs_hook` that notices keys that come twice; two objects of one key become one, as in Go."""
    made = dict(found)
    if len(made) == len(found):
        return made
    twice = Twice()
    names = []
    for key, value in found:
        if key in twice:
            names.append(key)
            if isinstance(twice[key], dict) and isinstance(value, dict):
                value = _joined(twice[key], value)
        twice[key] = value
    twice.names = tuple(dict.fromkeys(names))
    return twice


def _joined(first: dict[str, Any], second: dict[str, Any]) -> Twice:
    made = Twice({**first, **second})
    made.names = (*getattr(first, "names", ()), *getattr(second, "names", ()))
    return made


@dataclass
class Decoder:
    """Reads one object.

    :ivar unknown: what strict decoding complains about, as `unknown field "spec.x"` or `duplicate field "data.a"`.
    """

    unknown: list[str] = field(default_factory=list)

    def object(self, obj: Object, kind: str) -> Object:
        """A new object in canonical form. Raises DecodeError."""
        made = self._struct(obj, kind, "", "", extra=("apiVersion", "kind"))
        return {**{key: obj[key] for key in ("apiVersion", "kind") if key in obj}, **made}

    def meta(self, meta: Object) -> Object:
        """The metadata of a custom object. Raises DecodeError."""
        if not isinstance(meta, dict):
            raise _mismatch(meta, "", "", "v1.ObjectMeta")
        return self._struct(meta, "ObjectMeta", "metadata", ".metadata")

    def _struct(self, value: Object, struct: str, path: str, names: str, extra: tuple[str, ...] = ()) -> Object:
        fields = types.fields(struct)
        self._twice(value, path, later=False)
        made: Object = {}
        for name, inner in value.items():
            if (found := fields.get(name)) is not None:
                made[name] = self._field(inner, found, struct, f"{path}.{name}" if path else name, f"{names}.{name}")
            elif name not in extra:
                self.unknown.append(f'unknown field "{path}.{name}"' if path else f'unknown field "{name}"')
        self._twice(value, path, later=True)
        return {name: inner for name, inner in _completed(made, fields)}

    def _twice(self, value: Object, path: str, *, later: bool) -> None:
        if isinstance(value, Twice) and later:
            self.unknown += [
                f'duplicate field "{path}.{key}"' if path else f'duplicate field "{key}"' for key in value.names
            ]

    def _field(self, value: Any, found: Field, struct: str, path: str, names: str) -> Any:
        return None if value is None else self._value(value, found.type, found.go, struct, path, names)

    def _value(self, value: Any, kind: Type, go: str, struct: str, path: str, names: str) -> Any:
        match kind.kind:
            case "struct":
                if not isinstance(value, dict):
                    raise _mismatch(value, struct, names, go)
                return self._struct(value, kind.struct, path, names)
            case "list":
                if not isinstance(value, list):
                    raise _mismatch(value, struct, names, go)
                return [
                    self._item(item, kind, go[2:], struct, f"{path}[{place}]", names)
                    for place, item in enumerate(value)
                ]
            case "map":
                if not isinstance(value, dict):
                    raise _mismatch(value, struct, names, go)
                inner = go.partition("]")[2] if go.startswith("map[") else "resource.Quantity"
                made = {
                    key: self._item(item, kind, inner, struct, f"{path}.{key}", names) for key, item in value.items()
                }
                self._twice(value, path, later=True)
                return made
            case "any":
                return value
        return _plain(value, kind.kind, go, struct, names)

    def _item(self, value: Any, kind: Type, go: str, struct: str, path: str, names: str) -> Any:
        assert_item = kind.item or Type("any")
        if value is None:
            return {} if assert_item.kind == "struct" else _ZERO.get(assert_item.kind, "")
        made = self._value(value, assert_item, go, struct, path, names)
        # amounts of resources are kept to thousandths
        return quantities.to_milli(made) if kind.kind == "map" and assert_item.kind == "quantity" else made


def _completed(made: Object, fields: dict[str, Field]) -> Iterator[tuple[str, Any]]:
    """What Go's encoder writes of a struct: no empty fields but those that are always there."""
    for name, value in made.items():
        found = fields[name]
        if value is None or (
            not found.pointer and found.type.kind != "struct" and value in ("", 0, [], {}) and found.omit
        ):
            continue
        yield name, value
    for name, found in fields.items():
        if found.pointer or made.get(name) is not None:
            continue
        kind = found.type.kind
        if kind == "struct":
            yield name, dict(_completed({}, types.fields(found.type.struct)))
        elif kind in ("time", "microtime"):
            if not found.omit_zero:
                yield name, None
        elif kind == "quantity" or not found.omit or kind == "intstr":
            yield name, _ZERO.get(kind)


def _plain(value: Any, kind: str, go: str, struct: str, names: str) -> Any:  # noqa: C901
    match kind:
        case "string" if isinstance(value, str):
            return value
        case "bool" if isinstance(value, bool):
            return value
        case "int32" | "int64" if isinstance(value, int | float) and not isinstance(value, bool):
            if isinstance(value, float) or not -(1 << _BITS[kind]) <= value < 1 << _BITS[kind]:
                raise _mismatch(
                    value, struct, names, go, number=f" {value.text if isinstance(value, Number) else value}"
                )
            return value
        case "float64" if isinstance(value, int | float) and not isinstance(value, bool):
            return value
        case "quantity":
            return _quantity(value)
        case "intstr" if isinstance(value, str | int) and not isinstance(value, bool):
            return value
        case "bytes" if isinstance(value, str):
            return _bytes(value)
        case "time" | "microtime" if isinstance(value, str):
            return _time(value, kind)
    if kind in ("intstr", "time", "microtime"):
        raise _mismatch(value, "", "", {"intstr": "int32"}.get(kind, "string"))
    raise _mismatch(value, struct, names, go)


def _quantity(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise DecodeError(quantities.FORM)
    try:
        return quantities.canonical(value.text if isinstance(value, Number) else str(value))
    except ValueError as error:
        raise DecodeError(str(error)) from None


def _bytes(value: str) -> str:
    """Base64 without the line breaks that people put in."""
    text = value.replace("\n", "").replace("\r", "")
    try:
        return base64.b64encode(base64.b64decode(text, validate=True)).decode()
    except binascii.Error:
        raise DecodeError(f"illegal base64 data at input byte {_illegal(value)}") from None


def _illegal(value: str) -> int:
    """Where Go's decoder stops: at the first byte that does not belong, or where the last group of four begins."""
    at = 0
    for at, letter in enumerate(value):
        if not re.match(r"[A-Za-z0-9+/=\r\n]", letter):
            return at
    clean = [i for i, letter in enumerate(value) if letter not in "\r\n"]
    return clean[len(clean) // 4 * 4] if len(clean) % 4 and len(clean) >= 4 else at


def _time(value: str, kind: str) -> str | None:
    if not value:
        return None
    layout = "2006-01-02T15:04:05.000000Z07:00" if kind == "microtime" else "2006-01-02T15:04:05Z07:00"
    match = _TIME.match(value)
    if not match:
        raise DecodeError(f'parsing time "{value}" as "{layout}": cannot parse "{value}" as "2006"')
    if kind == "microtime":
        digits = (match[1] or "")[1:]
        if len(digits) < 6:
            raise DecodeError(
                f'parsing time "{value}" as "{layout}": cannot parse "{(match[1] or "") + match[2]}" as ".000000"'
            )
        if len(digits) > 6:
            raise DecodeError(
                f'parsing time "{value}" as "{layout}": cannot parse "{digits[6:] + match[2]}" as "Z07:00"'
            )
    try:
        moment = dt.datetime.fromisoformat(value.upper()).astimezone(dt.UTC)
    except ValueError:
        raise DecodeError(f'parsing time "{value}": day out of range') from None
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ" if kind == "microtime" else "%Y-%m-%dT%H:%M:%SZ")


def _mismatch(value: Any, struct: str, names: str, go: str, number: str = "") -> DecodeError:
    kinds = ((bool, "bool"), (str, "string"), (int | float, "number"), (list, "array"), (dict, "object"))
    seen = next((name for kind, name in kinds if isinstance(value, kind)), "null")
    where = f"struct field {struct}{names}" if struct else "value"
    return DecodeError(f"json: cannot unmarshal {seen}{number} into Go {where} of type {go}")
