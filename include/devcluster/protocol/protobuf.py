"""Kubernetes protobuf, as far as it must be read: kubectl's `create` commands have no JSON mode.

Envelope: https://kubernetes.io/docs/reference/using-api/api-concepts/#protobuf-encoding
The numbers of fields are those of the Go types (`kinds`).
"""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Iterator
from typing import Any

from include.devcluster.core.errors import bad_request, unsupported_media
from include.devcluster.core.objects import Object, timestamp
from include.devcluster.kinds import types
from include.devcluster.kinds.types import Field, Type

CONTENT_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"


def decode(body: bytes) -> Object:
    """The object of an envelope. Raises 415 for a kind whose fields are not known here, 400 for broken bytes."""
    if not body.startswith(_MAGIC):
        raise bad_request("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")
    try:
        envelope = dict(_fields(body[len(_MAGIC) :]))
        of = {number: raw.decode() for number, raw in _fields(envelope.get(1, b""))}
        version, kind = of.get(1, ""), of.get(2, "")
        if not types.known(kind):
            raise unsupported_media("application/json, application/yaml")
        return {"apiVersion": version, "kind": kind, **_struct(envelope.get(2, b""), kind)}
    except (IndexError, UnicodeDecodeError, KeyError, AttributeError) as error:
        raise bad_request(f"broken protobuf: {error}") from error


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Field numbers with their raw values (bytes or int)."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        match tag & 7:
            case 0:
                value, at = _varint(data, at)
                yield tag >> 3, value
            case 2:
                size, at = _varint(data, at)
                if at + size > len(data):
                    raise IndexError("a field is longer than the message")
                yield tag >> 3, data[at : at + size]
                at += size
            case 1:
                at += 8
            case 5:
                at += 4
            case other:
                raise KeyError(f"wire type {other}")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return value, at


def _struct(data: bytes, struct: str, inline: int = 0) -> Object:
    """A message; the fields of an embedded struct are in a message of their own (`inline` is its number)."""
    every = types.fields(struct).values()
    known = {field.number: field for field in every if field.inline == inline}
    embedded = {field.inline for field in every if field.inline} if not inline else set()
    result: Object = {}
    for number, raw in _fields(data):
        if number in embedded and isinstance(raw, bytes):
            result |= _struct(raw, struct, number)
        elif number in known:
            _enter(result, known[number], raw)
    return result


def _enter(result: Object, field: Field, raw: Any) -> None:
    item = field.type.item or Type("any")
    if field.type.kind == "list":
        result.setdefault(field.name, []).append(_value(raw, item))
    elif field.type.kind == "map":
        pair = dict(_fields(raw))
        value = _value(pair[2], item) if 2 in pair else ""
        result.setdefault(field.name, {})[pair.get(1, b"").decode()] = value
    else:
        result[field.name] = _value(raw, field.type)


def _value(raw: Any, kind: Type) -> Any:
    match kind.kind:
        case "struct":
            return _struct(raw, kind.struct)
        case "string":
            return raw.decode()
        case "bytes":
            return base64.b64encode(raw).decode()
        case "bool":
            return bool(raw)
        case "quantity":
            return dict(_fields(raw)).get(1, b"0").decode() or "0"
        case "intstr":
            parts = dict(_fields(raw))
            return parts.get(3, b"").decode() if parts.get(1) else _signed(parts.get(2, 0))
        case "time" | "microtime":
            seconds = dict(_fields(raw)).get(1)
            return timestamp(dt.datetime.fromtimestamp(_signed(seconds), dt.UTC)) if seconds else None
        case "any":
            return None
    return _signed(raw)


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value
