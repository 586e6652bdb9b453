"""How the values of a kind merge: what structured-merge-diff calls a schema, for built-in and custom kinds alike.

https://kubernetes.io/docs/reference/using-api/server-side-apply/#merge-strategy
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from include.devcluster.core.objects import Object
from include.devcluster.core.resources import Resource
from include.devcluster.kinds import types
from include.devcluster.kinds.types import Field, Type


@dataclass(frozen=True, slots=True)
class Shape:
    """How a value merges.

    :param kind: `any` is what its value is: maps merge by key, lists are one value.
    :param scalar: the plain type, for messages: string, boolean, numeric.
    :param atomic: the whole is one value, whoever changes a part of it.
    :param keys: of a list: what tells its items apart; `()` for a set.
    :param named: fields of a struct.
    :param item: shape of the items of a list or of the values of a map; None where a struct knows no other fields.
    """

    kind: Literal["struct", "map", "list", "scalar", "any"]
    scalar: str = ""
    atomic: bool = False
    keys: tuple[str, ...] = ()
    defaults: dict[str, Any] = field(default_factory=dict)
    named: Callable[[str], Shape | None] | None = None
    item: Shape | None = None

    def child(self, name: str) -> Shape | None:
        """Shape of a field, or of a map's value; None when there is no such field."""
        found = self.named(name) if self.named else None
        return found or self.item

    def is_field(self, name: str) -> bool:
        """Whether a struct names this field."""
        return self.named is not None and self.named(name) is not None

    def of(self, value: Any) -> Shape:
        """The shape that a value of kind `any` has."""
        if self.kind != "any":
            return self
        if isinstance(value, dict):
            return _ANY_MAP
        return _ANY_LIST if isinstance(value, list) else _SCALAR


ANY = Shape("any")
_ANY_MAP = Shape("map", item=ANY)
_ANY_LIST = Shape("list", atomic=True, item=ANY)
_SCALAR = Shape("scalar")


def of(resource: Resource) -> Shape:
    """The shape of a kind's objects."""
    return _custom_root(resource) if resource.custom else struct(resource.kind)


@functools.cache
def struct(name: str, *, atomic: bool = False) -> Shape:
    """The shape of one of Kubernetes' own structs."""
    fields = types.fields(name)

    @functools.cache
    def named(key: str) -> Shape | None:
        if key in ("apiVersion", "kind") and key not in fields:
            return Shape("scalar", "string")
        return _field(fields[key]) if key in fields else None

    return Shape("struct", atomic=atomic, named=named)


def _field(found: Field) -> Shape:
    kind = found.type
    if kind.kind == "list":
        item = _plain(kind.item or Type("any"), atomic=found.atomic_items)
        if found.merge is None:
            return Shape("list", atomic=True, item=item)
        inner = types.fields(kind.item.struct) if kind.item and kind.item.kind == "struct" else {}
        defaults = {key: _key_default(inner[key]) for key in found.merge if key in inner}
        return Shape("list", keys=found.merge, defaults=defaults, item=item)
    if kind.kind == "map":
        return Shape("map", atomic=found.atomic, item=_plain(kind.item or Type("any")))
    if kind.kind == "struct":
        return struct(kind.struct, atomic=found.atomic)
    return _plain(kind)


def _key_default(key: Field) -> Any:
    """What an item without the key has: a declared default, or nothing where the key must be there."""
    if key.default is not None or key.omit or key.pointer:
        return key.default
    return "" if key.type.kind == "string" else 0


def _plain(kind: Type, *, atomic: bool = False) -> Shape:
    if kind.kind == "struct":
        return struct(kind.struct, atomic=atomic)
    if kind.kind == "any":
        return ANY
    names = {
        "bool": "boolean",
        "int32": "numeric",
        "int64": "numeric",
        "float64": "numeric",
        "quantity": "",
        "intstr": "",
    }
    return Shape("scalar", names.get(kind.kind, "string"))


def _custom_root(resource: Resource) -> Shape:
    own = schema_shape(resource.schema) if resource.schema else ANY

    def named(key: str) -> Shape | None:
        if key == "metadata":
            return struct("ObjectMeta")
        if key in ("apiVersion", "kind"):
            return Shape("scalar", "string")
        return own.named(key) if own.named else None

    return Shape("struct", named=named, item=ANY if own.kind == "any" else own.item)


def schema_shape(schema: Object) -> Shape:
    """The shape that a structural schema describes."""
    if schema.get("x-kubernetes-int-or-string"):
        return _SCALAR
    open_ended = ANY if schema.get("x-kubernetes-preserve-unknown-fields") else None
    match schema.get("type"):
        case "object":
            atomic = schema.get("x-kubernetes-map-type") == "atomic"
            properties, others = schema.get("properties") or {}, schema.get("additionalProperties")
            item = schema_shape(others) if isinstance(others, dict) else open_ended or (ANY if others else None)
            if properties:
                return Shape("struct", atomic=atomic, item=item, named=functools.cache(
                    lambda key: schema_shape(properties[key]) if key in properties else None))  # fmt: skip
            return Shape("map", atomic=atomic, item=item)
        case "array":
            item = schema_shape(schema.get("items") or {})
            kind = schema.get("x-kubernetes-list-type", "atomic")
            keys = tuple(schema.get("x-kubernetes-list-map-keys") or ())
            inner = (schema.get("items") or {}).get("properties") or {}
            defaults = {key: inner[key]["default"] for key in keys if "default" in inner.get(key, {})}
            return Shape("list", atomic=kind == "atomic", keys=keys, defaults=defaults, item=item)
        case "string" | "boolean" | "integer" | "number" as kind:
            return Shape("scalar", {"integer": "numeric", "number": "numeric"}.get(str(kind), str(kind)))
    return ANY
