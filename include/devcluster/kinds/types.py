"""The types of `kinds.json`, ready to be looked up."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Type:
    """What a value may be.

    :param kind: `struct`, `list`, `map`, or the name of a plain one: string, bool, int32, int64, float64, bytes,
        quantity, intstr, time, microtime, any.
    :param struct: name of the struct.
    :param item: type of the items of a list, and of the values of a map.
    """

    kind: str
    struct: str = ""
    item: Type | None = None


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a struct.

    :param go: its type as Go's messages name it.
    :param pointer: null and nothing are told apart from an empty value.
    :param omit: left out when empty (but for structs and times).
    :param merge: how lists merge: the keys of their items, `()` for a set, None when the whole is one value.
    :param patch_key: key by which a strategic merge patch merges a list; `` for a set of plain values, None for a list
        that it replaces.
    :param retain_keys: a strategic merge patch may say which fields of an item stay.
    :param atomic: a map or a struct that is one value for its owners; `atomic_items`: each item of a list is.
    :param number: of the field in protobuf. `inline` is that of the embedded message that holds it, 0 if none does.
    """

    name: str
    type: Type
    go: str
    pointer: bool
    omit: bool
    omit_zero: bool
    merge: tuple[str, ...] | None
    patch_key: str | None
    retain_keys: bool
    atomic: bool
    atomic_items: bool
    default: Any
    number: int
    inline: int


def _type(text: str) -> Type:
    if text.startswith("[]"):
        return Type("list", item=_type(text[2:]))
    if text.startswith("{}"):
        return Type("map", item=_type(text[2:]))
    return Type("struct", text) if text[:1].isupper() else Type(text)


def _field(name: str, raw: dict[str, Any]) -> Field:
    kind = raw.get("list", "atomic")
    strategy = raw.get("strategy", "").split(",")
    return Field(
        name=name,
        type=_type(raw["type"]),
        go=raw["go"],
        pointer=raw.get("pointer", False),
        omit=raw.get("omit", False),
        omit_zero=raw.get("omitzero", False),
        merge=None if kind == "atomic" else tuple(raw.get("keys", ())),
        patch_key=raw.get("merge", "") if "merge" in strategy else None,
        retain_keys="retainKeys" in strategy,
        atomic=raw.get("atomic", False),
        atomic_items=raw.get("atomicItems", False),
        default=raw.get("default"),
        number=raw.get("number", 0),
        inline=raw.get("inline", 0),
    )


@functools.cache
def _raw() -> dict[str, dict[str, dict[str, Any]]]:
    found: dict[str, dict[str, dict[str, Any]]] = json.loads(Path(__file__).with_name("kinds.json").read_text())
    return found


def known(kind: str) -> bool:
    """Whether it is one of the kinds, or of what they are made of."""
    return kind in _raw()


@functools.cache
def fields(struct: str) -> dict[str, Field]:
    """The fields of a struct by their names in JSON. Raises KeyError for an unknown one."""
    return {name: _field(name, raw) for name, raw in _raw()[struct].items()}
