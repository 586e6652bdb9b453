"""Structural schemas of custom kinds: defaults, pruning and validation.

https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema
Not known: validation rules in CEL, and the combinators allOf, anyOf, oneOf and not.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from typing import Any

from include.devcluster.core.objects import Object
from include.devcluster.kinds.decode import Decoder

Cause = tuple[str, str]

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
}
_KINDS = ("boolean", "string", "integer", "number", "array", "object")
_ROOT = ("apiVersion", "kind", "metadata")


def typed(obj: Object, schema: Object, decoder: Decoder) -> Object:
    """A copy with its defaults, without fields that the schema does not have; the decoder is told of those.

    :raises DecodeError: the metadata is not of its type.
    """
    made: Object = {key: obj[key] for key in ("apiVersion", "kind") if key in obj}
    meta = decoder.meta(obj.get("metadata") or {})
    own = {key: value for key, value in (schema.get("properties") or {}).items() if key not in _ROOT}
    rest = copy.deepcopy({key: value for key, value in obj.items() if key not in _ROOT})
    _shape(rest, {**schema, "properties": own}, "", decoder.unknown)
    return {**made, "metadata": meta, **rest}


def causes(obj: Object, schema: Object) -> Iterator[Cause]:
    """Everything that the schema does not allow."""
    own = {key: value for key, value in (schema.get("properties") or {}).items() if key not in _ROOT}
    root = {**schema, "properties": own, "required": [k for k in schema.get("required", []) if k not in _ROOT]}
    yield from _causes({key: value for key, value in obj.items() if key not in _ROOT}, root, "")
    if "metadata" in (schema.get("properties") or {}):
        # Of the metadata, a schema may restrict the names alone.
        names = {key: obj["metadata"][key] for key in ("name", "generateName") if key in obj["metadata"]}
        yield from _causes(names, schema["properties"]["metadata"], "metadata")


def _shape(value: Any, schema: Object, path: str, unknown: list[str]) -> None:  # noqa: C901
    """Defaults and pruning; a null that has no place is dropped, as if it were not there."""
    if isinstance(value, list):
        for place, item in enumerate(value):
            _shape(item, schema.get("items") or {}, f"{path}[{place}]", unknown)
    if not isinstance(value, dict) or schema.get("x-kubernetes-embedded-resource"):
        return
    properties, others = schema.get("properties") or {}, schema.get("additionalProperties")
    for key in list(value):
        step = _join(path, key)
        if key in properties:
            if value[key] is None and not properties[key].get("nullable"):
                del value[key]
                continue
            _shape(value[key], properties[key], step, unknown)
        elif isinstance(others, dict):
            _shape(value[key], others, step, unknown)
        elif not others and not schema.get("x-kubernetes-preserve-unknown-fields"):
            unknown.append(f'unknown field "{step}"')
            del value[key]
    for key, inner in properties.items():
        if "default" in inner and key not in value:
            value[key] = copy.deepcopy(inner["default"])
            _shape(value[key], inner, _join(path, key), [])


def _causes(value: Any, schema: Object, path: str) -> Iterator[Cause]:
    """Everything that is wrong, as (field, message)."""
    if value is None and schema.get("nullable"):
        return
    wanted = "integer,string" if schema.get("x-kubernetes-int-or-string") else schema.get("type")
    if wanted and not any(_is(value, kind) for kind in wanted.split(",")):
        kind = next((name for name in _KINDS if _is(value, name)), "null")
        yield path, f'Invalid value: "{kind}": {path} in body must be of type {wanted}: "{kind}"'
        return
    yield from _value_causes(value, schema, path)
    if isinstance(value, dict):
        for key in schema.get("required") or []:
            if key not in value:
                yield _join(path, key), "Required value"
        for key, inner in value.items():
            nested = (schema.get("properties") or {}).get(key, schema.get("additionalProperties"))
            if isinstance(nested, dict):
                yield from _causes(inner, nested, _join(path, key))
    elif isinstance(value, list) and "items" in schema:
        for index, item in enumerate(value):
            yield from _causes(item, schema["items"], f"{path}[{index}]")


def _value_causes(value: Any, schema: Object, path: str) -> Iterator[Cause]:
    said = json.dumps(value)
    if "enum" in schema and value not in schema["enum"]:
        yield path, f"Unsupported value: {said}: supported values: {', '.join(map(json.dumps, schema['enum']))}"
    if isinstance(value, str) and "pattern" in schema and not re.search(schema["pattern"], value):
        yield path, f"Invalid value: {said}: {path} in body should match '{schema['pattern']}'"
    if isinstance(value, int | float) and not isinstance(value, bool):
        if "minimum" in schema and value < schema["minimum"]:
            yield path, f"Invalid value: {said}: {path} in body should be greater than or equal to {schema['minimum']}"
        if "maximum" in schema and value > schema["maximum"]:
            yield path, f"Invalid value: {said}: {path} in body should be less than or equal to {schema['maximum']}"
    if isinstance(value, str | list):
        yield from _size_causes(value, schema, path)


def _size_causes(value: str | list[Any], schema: Object, path: str) -> Iterator[Cause]:
    what, unit = ("Length", "chars") if isinstance(value, str) else ("Items", "items")
    least, most = schema.get(f"min{what}", 0), schema.get(f"max{what}", len(value))
    if len(value) < least:
        text = f"{path} in body should {'be' if unit == 'chars' else 'have'} at least {least} {unit}"
        yield path, f"Invalid value: {json.dumps(value)}: {text}{' long' if unit == 'chars' else ''}"
    if len(value) > most:
        yield (
            path,
            f"Too long: may not be more than {most} bytes"
            if unit == "chars"
            else f"Too many: {len(value)}: must have at most {most} items",
        )
    if isinstance(value, list) and schema.get("x-kubernetes-list-type") in ("set", "map"):
        keys, seen = schema.get("x-kubernetes-list-map-keys") or (), []
        for place, item in enumerate(value):
            own = {key: item.get(key) for key in keys} if keys and isinstance(item, dict) else item
            if own in seen:
                yield f"{path}[{place}]", f"Duplicate value: {json.dumps(own, separators=(',', ':'))}"
            seen.append(own)


def _is(value: Any, wanted: str) -> bool:
    if isinstance(value, bool):
        return wanted == "boolean"
    if wanted == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES.get(wanted, (object,)))


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
