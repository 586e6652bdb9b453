"""Structural schemas of custom kinds: defaults, pruning and validation.

https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema
Not known: validation rules in CEL, and the combinators allOf, anyOf, oneOf and not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from include.devcluster.core.errors import invalid
from include.devcluster.core.objects import Object, name

Cause = tuple[str, str]

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
}
_ROOT = ("apiVersion", "kind", "metadata")


def admit(obj: Object, schema: Object, kind: str) -> None:
    """Fill in defaults and drop unknown fields, in place; then refuse what the schema does not allow.

    :raises ApiError: 422 with every cause.
    """
    own = {key: value for key, value in schema.get("properties", {}).items() if key not in _ROOT}
    root = {**schema, "properties": own}
    kept = {key: obj.pop(key) for key in _ROOT if key in obj}
    _shape(obj, root)
    causes = list(_causes(obj, {**root, "required": [k for k in schema.get("required", []) if k not in _ROOT]}, ""))
    obj |= kept
    if "metadata" in schema.get("properties", {}):
        # Of the metadata, a schema may restrict the names alone.
        names = {key: obj["metadata"][key] for key in ("name", "generateName") if key in obj["metadata"]}
        causes += _causes(names, schema["properties"]["metadata"], "metadata")
    if causes:
        raise invalid(kind, name(obj), *causes)


def _shape(value: Any, schema: Object) -> None:
    """Defaults and pruning."""
    if isinstance(value, list) and "items" in schema:
        for item in value:
            _shape(item, schema["items"])
    if not isinstance(value, dict):
        return
    properties, others = schema.get("properties") or {}, schema.get("additionalProperties")
    for key, inner in properties.items():
        if "default" in inner and key not in value:
            value[key] = json.loads(json.dumps(inner["default"]))
    for key in list(value):
        if key in properties:
            _shape(value[key], properties[key])
        elif isinstance(others, dict):
            _shape(value[key], others)
        elif not others and not schema.get("x-kubernetes-preserve-unknown-fields"):
            del value[key]


def _causes(value: Any, schema: Object, path: str) -> Iterator[Cause]:
    """Everything that is wrong, as (field, message)."""
    if value is None and schema.get("nullable"):
        return
    wanted = schema.get("type")
    if wanted and not schema.get("x-kubernetes-int-or-string") and not _is(value, wanted):
        kind = next((k for k, types in _TYPES.items() if type(value) in types), "null")
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
    for what, kind, unit in (("Items", list, "items"), ("Length", str, "chars")):
        if isinstance(value, kind):
            if len(value) < schema.get(f"min{what}", 0):
                yield path, f"Invalid value: {said}: {path} in body should have at least {schema[f'min{what}']} {unit}"
            if len(value) > schema.get(f"max{what}", len(value)):
                yield path, f"Too long: {path} may not be more than {schema[f'max{what}']} {unit}"


def _is(value: Any, wanted: str) -> bool:
    if isinstance(value, bool):
        return wanted == "boolean"
    if wanted == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES.get(wanted, (object,)))


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
