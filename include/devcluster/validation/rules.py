"""Kinds of rules, and the walk that holds an object against a table of them.

A table gives the rules of a field by type and name; the rules under the name `` are those of the whole. A rule takes
the value (None when it is missing or empty) and its place, and yields what is wrong.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from include.devcluster.core.objects import Object
from include.devcluster.kinds import types
from include.devcluster.kinds.types import Type

Cause = tuple[str, str]
"""Field and message: `("spec.containers[0].name", "Required value")`."""


@dataclass(frozen=True)
class Place:
    """Where a value is.

    :param parents: the structs around it, the object first.
    """

    path: str
    parents: tuple[Object, ...] = field(default=())

    @property
    def parent(self) -> Object:
        """The struct that it is a field of."""
        return self.parents[-1]

    @property
    def root(self) -> Object:
        """The object."""
        return self.parents[0]

    def child(self, name: str) -> str:
        """Path of a field of the value."""
        return f"{self.path}.{name}" if self.path else name


Rule = Callable[[Any, Place], Iterator[Cause]]
Table = Mapping[str, Mapping[str, Sequence[Rule]]]


def check(obj: Object, kind: str, table: Table) -> Iterator[Cause]:
    """Everything that is wrong with an object."""
    yield from _struct(obj, kind, Place(""), table)


def _struct(value: Object, struct: str, at: Place, table: Table) -> Iterator[Cause]:
    rules = table.get(struct, {})
    parents = (*at.parents, value)
    for name, listed in rules.items():
        inner = value if not name else value.get(name)
        place = at if not name else Place(at.child(name), parents)
        for rule in listed:
            yield from rule(inner, Place(place.path, parents))
    fields = types.fields(struct)
    for name, inner in value.items():
        if name in fields:
            yield from _value(inner, fields[name].type, Place(at.child(name), parents), table)


def _value(value: Any, kind: Type, at: Place, table: Table) -> Iterator[Cause]:
    if kind.kind == "struct" and isinstance(value, dict):
        yield from _struct(value, kind.struct, at, table)
    elif kind.kind == "list" and isinstance(value, list) and kind.item and kind.item.kind == "struct":
        for place, item in enumerate(value):
            yield from _struct(item, kind.item.struct, Place(f"{at.path}[{place}]", at.parents), table)


# ------------------------------------------------------------------ what is said


def invalid(path: str, value: Any, wrong: str) -> Cause:
    """A value that is of the wrong form."""
    return path, f"Invalid value: {json.dumps(value, ensure_ascii=False, separators=(',', ':'))}: {wrong}"


def missing(path: str, wrong: str = "") -> Cause:
    """A value that must be there."""
    return path, f"Required value: {wrong}" if wrong else "Required value"


def unsupported(path: str, value: Any, supported: Sequence[str]) -> Cause:
    """A value that is none of a few."""
    listed = ", ".join(json.dumps(one) for one in supported)
    return path, f"Unsupported value: {json.dumps(value)}: supported values: {listed}"


def duplicate(path: str, value: Any) -> Cause:
    """A value that is there already."""
    return path, f"Duplicate value: {json.dumps(value)}"


def forbidden(path: str, wrong: str) -> Cause:
    """A value that may not be there."""
    return path, f"Forbidden: {wrong}"


# ------------------------------------------------------------------ kinds of rules


def required(value: Any, at: Place) -> Iterator[Cause]:
    """There is a value, and it is not empty."""
    if value in (None, "", [], 0):
        yield missing(at.path)


def form(of: Callable[[str], Iterator[str]], *, needed: bool = False) -> Rule:
    """A text of a form; nothing is right too unless it is `needed`."""

    def rule(value: Any, at: Place) -> Iterator[Cause]:
        if needed and value in (None, ""):
            yield missing(at.path)
        elif value not in (None, ""):
            yield from (invalid(at.path, value, wrong) for wrong in of(value))

    return rule


def named(of: Callable[[str], Iterator[str]]) -> Rule:
    """A text of a form, and an empty one is of the wrong form."""

    def rule(value: Any, at: Place) -> Iterator[Cause]:
        yield from (invalid(at.path, value or "", wrong) for wrong in of(value or ""))

    return rule


def one_of(*supported: str, empty: bool = True) -> Rule:
    """One of a few texts, or none."""

    def rule(value: Any, at: Place) -> Iterator[Cause]:
        if value not in supported and not (empty and value in (None, "")):
            yield unsupported(at.path, value or "", supported)

    return rule


def between(least: int, most: int, *, needed: bool = False) -> Rule:
    """A number within bounds, both inclusive."""

    def rule(value: Any, at: Place) -> Iterator[Cause]:
        if needed and not value:
            yield missing(at.path)
        elif value is not None and not least <= value <= most:
            yield invalid(at.path, value, f"must be between {least} and {most}, inclusive")

    return rule


def not_negative(value: Any, at: Place) -> Iterator[Cause]:
    """A number of zero or more."""
    if value is not None and value < 0:
        yield invalid(at.path, value, "must be greater than or equal to 0")


def positive(value: Any, at: Place) -> Iterator[Cause]:
    """A number above zero, where there is one."""
    if value is not None and value <= 0:
        yield invalid(at.path, value, "must be greater than 0")


def each(rule: Rule) -> Rule:
    """The rule holds for every item of a list."""

    def rules(value: Any, at: Place) -> Iterator[Cause]:
        for place, item in enumerate(value or []):
            yield from rule(item, Place(f"{at.path}[{place}]", at.parents))

    return rules


def unique(*key: str) -> Rule:
    """No two items of a list have the same value of a field; the field is what is wrong."""

    def rule(value: Any, at: Place) -> Iterator[Cause]:
        seen: set[Any] = set()
        for place, item in enumerate(value or []):
            own = item.get(key[0]) if key else item
            if own and own in seen:
                yield duplicate(f"{at.path}[{place}]" + (f".{key[-1]}" if key and key[-1] else ""), own)
            seen.add(own)

    return rule


def at_most_one(*names: str, wrong: str, none: str | None = None) -> Rule:
    """A struct that holds one of several sources. `wrong` is what is said of a second, `none` of a struct without."""

    def rule(value: Any, at: Place) -> Iterator[Cause]:
        found = [name for name in names if value.get(name) is not None]
        for name in found[1:]:
            yield forbidden(at.child(name), wrong)
        if not found and none is not None:
            yield missing(at.path, none)

    return rule


def labels(value: Any, at: Place) -> Iterator[Cause]:
    """Keys and values of labels."""
    from include.devcluster.validation import formats

    for key, text in (value or {}).items():
        yield from (invalid(at.path, key, wrong) for wrong in formats.qualified_name(key))
        yield from (invalid(at.path, text, wrong) for wrong in formats.label_value(text))
