"""Just enough protobuf to read what kubectl's `create` commands send: kubectl has no JSON mode for them.

Envelope: https://kubernetes.io/docs/reference/using-api/api-concepts/#protobuf-encoding
Field numbers: k8s.io/api/core/v1/generated.proto and k8s.io/apimachinery/pkg/apis/meta/v1/generated.proto
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

from include.devcluster.core.errors import bad_request, unsupported_media
from include.devcluster.core.objects import Object

CONTENT_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"

Schema = dict[int, tuple[str, Any]]
"""Field number -> name and type: str, bytes, int, bool, a Schema, [type] for a list, {str: type} for a map."""

_OWNER: Schema = {
    5: ("apiVersion", str), 1: ("kind", str), 3: ("name", str), 4: ("uid", str), 6: ("controller", bool),
    7: ("blockOwnerDeletion", bool),
}  # fmt: skip
_META: Schema = {
    1: ("name", str), 2: ("generateName", str), 3: ("namespace", str), 5: ("uid", str), 6: ("resourceVersion", str),
    11: ("labels", {str: str}), 12: ("annotations", {str: str}), 13: ("ownerReferences", [_OWNER]),
    14: ("finalizers", [str]),
}  # fmt: skip
_PRECONDITIONS: Schema = {1: ("uid", str), 2: ("resourceVersion", str)}
_DELETE: Schema = {
    1: ("gracePeriodSeconds", int), 2: ("preconditions", _PRECONDITIONS), 3: ("orphanDependents", bool),
    4: ("propagationPolicy", str), 5: ("dryRun", [str]),
}  # fmt: skip
KINDS: dict[str, Schema] = {
    "ConfigMap": {
        1: ("metadata", _META), 2: ("data", {str: str}), 3: ("binaryData", {str: bytes}), 4: ("immutable", bool),
    },
    "Secret": {
        1: ("metadata", _META), 2: ("data", {str: bytes}), 3: ("type", str), 4: ("stringData", {str: str}),
        5: ("immutable", bool),
    },
    "Namespace": {1: ("metadata", _META)},
    "ServiceAccount": {1: ("metadata", _META)},
    "DeleteOptions": _DELETE,
}  # fmt: skip
_TYPE: Schema = {1: ("apiVersion", str), 2: ("kind", str)}
_UNKNOWN: Schema = {1: ("typeMeta", _TYPE), 2: ("raw", None), 3: ("contentEncoding", str), 4: ("contentType", str)}


def decode(body: bytes) -> Object:
    """The object of an envelope. Raises 415 for a kind whose fields are not known here, 400 for broken bytes."""
    if not body.startswith(_MAGIC):
        raise bad_request("the body of the request is not Kubernetes protobuf")
    try:
        unknown = _message(body[len(_MAGIC) :], _UNKNOWN)
        type_meta = unknown.get("typeMeta") or {}
        schema = KINDS.get(str(type_meta.get("kind")))
        if schema is None:
            raise unsupported_media(f"application/json, application/yaml (protobuf only for {', '.join(KINDS)})")
        return {**type_meta, **_message(unknown.get("raw", b""), schema)}
    except (IndexError, UnicodeDecodeError, KeyError) as error:
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


def _message(data: bytes, schema: Schema) -> Object:
    result: Object = {}
    for number, raw in _fields(data):
        if number not in schema:
            continue
        field, kind = schema[number]
        if isinstance(kind, list):
            result.setdefault(field, []).append(_value(raw, kind[0]))
        elif isinstance(kind, dict) and str in kind:
            pair = _message(raw, {1: ("key", str), 2: ("value", kind[str])})
            result.setdefault(field, {})[pair.get("key", "")] = pair.get("value", "")
        else:
            value = _value(raw, kind)
            if value not in ("", {}):  # protobuf writes what Go has not set
                result[field] = value
    return result


def _value(raw: Any, kind: Any) -> Any:
    if kind is None:
        return raw
    if kind is str:
        return raw.decode()
    if kind is bytes:
        return base64.b64encode(raw).decode()
    if kind is bool:
        return bool(raw)
    return _message(raw, kind) if isinstance(kind, dict) else int(raw)
