"""Sets of fields, and merging by them: what structured-merge-diff does.

A set holds paths; a path is a tuple of steps in the notation of FieldsV1: `f:name` for a field, `k:{...}` for an item
of a list by key, `v:...` for an item of a set. https://github.com/kubernetes-sigs/structured-merge-diff
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from include.devcluster.core.objects import Object
from include.devcluster.kinds.shapes import ANY, Shape

Path = tuple[str, ...]
Fields = frozenset[Path]
MISSING: Any = object()


class MergeError(ValueError):
    """A value that its schema does not allow; the message is that of structured-merge-diff."""


def step_of(item: Any, shape: Shape) -> str:
    """What tells an item of a list from the others. Raises MergeError."""
    if not shape.keys:
        return f"v:{_json(item)}"
    if not isinstance(item, dict):
        raise MergeError("associative list without keys has an element that's a map type")
    found = {key: item.get(key, shape.defaults.get(key)) for key in sorted(shape.keys)}
    given = {key: value for key, value in found.items() if value is not None}
    if not given:
        raise MergeError(
            f"associative list with keys has an element that omits key field {_json(sorted(shape.keys)[0])}"
        )
    return f"k:{_json(given)}"


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def fields_of(obj: Object, shape: Shape) -> Fields:
    """Every field that an object sets."""
    found: set[Path] = set()
    _collect(obj, shape, (), found)
    return frozenset(found)


def _collect(value: Any, shape: Shape, path: Path, found: set[Path]) -> None:
    shape = shape.of(value)
    if shape.kind in ("scalar", "any") or (shape.atomic and path):
        found.add(path)
    elif isinstance(value, dict):
        for key, inner in value.items():
            step = (*path, f"f:{key}")
            _collect(inner, shape.child(key) or ANY, step, found)
            if inner is None or inner == {} or not shape.is_field(key):
                found.add(step)
    elif isinstance(value, list):
        for item in value:
            step = (*path, step_of(item, shape))
            _collect(item, shape.item or ANY, step, found)
            found.add(step)


@dataclass
class Difference:
    """Fields that one object has and another has not, or has with another value."""

    added: set[Path] = field(default_factory=set)
    removed: set[Path] = field(default_factory=set)
    modified: set[Path] = field(default_factory=set)


def compare(old: Object, new: Object, shape: Shape) -> Difference:
    """What is another in the new object."""
    found = Difference()
    _compare(old, new, shape, (), found)
    return found


def _compare(old: Any, new: Any, shape: Shape, path: Path, found: Difference) -> None:  # noqa: C901
    own = shape.of(old if new is MISSING or new is None else new)
    given = [value for value in (old, new) if value is not MISSING and value is not None]
    if shape.kind == "any" and len({type(value) for value in given}) > 1:
        own = Shape("scalar")  # it was a map and is a list now, or the like
    is_empty = own.kind == "list" and all(value in (MISSING, None, []) for value in (old, new))
    is_empty = is_empty or (own.kind in ("map", "struct") and all(value in (MISSING, None, {}) for value in (old, new)))
    if own.kind == "scalar" or (own.atomic and path) or is_empty:
        if old is MISSING:
            found.added.add(path)
        elif new is MISSING:
            found.removed.add(path)
        elif old != new:
            found.modified.add(path)
        return
    if own.kind == "list":
        was, now = _grouped(old, own), _grouped(new, own)
        for step in [*was, *(s for s in now if s not in was)]:
            _compare_items(was.get(step, []), now.get(step, []), own.item or ANY, (*path, step), found)
    else:
        before, after = (value if isinstance(value, dict) else {} for value in (old, new))
        for key in [*before, *(k for k in after if k not in before)]:
            inner = own.child(key) or ANY
            _compare(before.get(key, MISSING), after.get(key, MISSING), inner, (*path, f"f:{key}"), found)
    if path and old is MISSING:
        found.added.add(path)
    elif path and new is MISSING:
        found.removed.add(path)


def _compare_items(old: list[Any], new: list[Any], shape: Shape, path: Path, found: Difference) -> None:
    """Items of one key; where there are several they are compared as one value."""
    if len(old) <= 1 and len(new) <= 1:
        _compare(old[0] if old else MISSING, new[0] if new else MISSING, shape, path, found)
    elif len(old) > 1 and len(new) > 1:
        if old != new:
            found.modified.add(path)
    elif len(old) > 1:
        if new:
            _compare(MISSING, new[0], shape, path, found)
        found.removed.add(path)
    else:
        if old:
            _compare(old[0], MISSING, shape, path, found)
        found.added.add(path)


def _grouped(value: Any, shape: Shape) -> dict[str, list[Any]]:
    made: dict[str, list[Any]] = {}
    for item in value if isinstance(value, list) else []:
        made.setdefault(step_of(item, shape), []).append(item)
    return made


def _indexed(value: Any, shape: Shape) -> dict[str, Any]:
    return {step_of(item, shape): item for item in value} if isinstance(value, list) else {}


def check(config: Any, shape: Shape, path: str = "") -> None:
    """Raises MergeError for what the schema does not know or allow in a configuration."""
    own = shape.of(config)
    if config is None or own.kind == "any":
        return
    where = path or "."
    match own.kind:
        case "scalar" if isinstance(config, dict | list) or not _fits(config, own.scalar):
            raise MergeError(f"{where}: expected {_expected(own.scalar)}, got {_said(config)}")
        case "map" | "struct":
            if not isinstance(config, dict):
                raise MergeError(f"{where}: expected map, got {_boxed(config)}")
            for key, inner in config.items():
                if (found := own.child(key)) is None:
                    raise MergeError(f"{path}.{key}: field not declared in schema")
                check(inner, found, f"{path}.{key}")
        case "list":
            if not isinstance(config, list):
                raise MergeError(f"{where}: expected list, got {_boxed(config)}")
            _check_items(config, own, path)


def _check_items(config: list[Any], shape: Shape, path: str) -> None:
    seen: set[str] = set()
    for place, item in enumerate(config):
        if shape.atomic:
            check(item, shape.item or ANY, f"{path}[{place}]")
            continue
        try:
            step = step_of(item, shape)
        except MergeError as error:
            raise MergeError(f"{path}: element {place}: {error}") from error
        if step in seen:
            raise MergeError(f"{path}: duplicate entries for key {readable((step,))}")
        seen.add(step)
        check(item, shape.item or ANY, f"{path}{readable((step,))}")


def _fits(value: Any, wanted: str) -> bool:
    match wanted:
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "numeric":
            return isinstance(value, int | float) and not isinstance(value, bool)
    return True


def _expected(wanted: str) -> str:
    return {"numeric": "numeric (int or float)", "": "scalar"}.get(wanted, wanted)


def _said(value: Any) -> str:
    if isinstance(value, str):
        return "string"
    return f"&value.valueUnstructured{{Value:{_go(value)}}}"


def _boxed(value: Any) -> str:
    return f"&{{{_go(value)}}}"


def _go(value: Any) -> str:
    """A value as Go's `%v` prints it."""
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{_go(inner)}" for key, inner in sorted(value.items())) + "]"
    if isinstance(value, list):
        return "[" + " ".join(map(_go, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else "<nil>" if value is None else str(value)


def merge(base: Any, config: Any, shape: Shape) -> Any:
    """`base` with everything that `config` says; MISSING for nothing."""
    if config is MISSING:
        return base
    own = shape.of(config)
    if base is MISSING or base is None or own.kind in ("scalar", "any") or own.atomic:
        return copy.deepcopy(config)
    if own.kind == "list" and isinstance(base, list) and isinstance(config, list):
        return _merge_list(base, config, own)
    if isinstance(base, dict) and isinstance(config, dict):
        made = dict(base)
        for key, value in config.items():
            made[key] = merge(base.get(key, MISSING), value, own.child(key) or ANY)
        return made
    return copy.deepcopy(config) if config is not None else base


def _merge_list(base: list[Any], config: list[Any], shape: Shape) -> list[Any]:
    """Items of both; the configuration's order wins where they share some."""
    was, now = _indexed(base, shape), _indexed(config, shape)
    shared = iter([step for step in now if step in was])
    following, left, right = next(shared, None), list(was), list(now)
    order: list[str] = []
    at_left = at_right = 0
    while at_left < len(left) or at_right < len(right):
        if at_left < len(left) and at_right < len(right):
            step = left[at_left]
            if step == right[at_right]:
                order.append(step)
                at_left, at_right, following = at_left + 1, at_right + 1, next(shared, None)
                continue
            if step in now and following is not None and following != step:
                at_left += 1
                continue
        if at_left < len(left):
            if left[at_left] not in now:
                order.append(left[at_left])
                at_left += 1
                continue
            if left[at_left] in order:
                at_left += 1
        if at_right < len(right):
            order.append(right[at_right])
            if following == right[at_right]:
                following = next(shared, None)
            at_right += 1
    return [merge(was.get(step, MISSING), now.get(step, MISSING), shape.item or ANY) for step in order]


def remove(value: Any, gone: Fields, shape: Shape) -> Any:
    """The value without the fields of a set; None when nothing is left."""
    own = shape.of(value)
    if own.kind in ("scalar", "any"):
        return value
    if not value or own.atomic:
        return None
    below: dict[str, set[Path]] = {}
    for path in gone:
        if len(path) > 1:
            below.setdefault(path[0], set()).add(path[1:])
    if isinstance(value, list):
        items = []
        for item in value:
            step = step_of(item, own)
            if (step,) not in gone:
                items.append(remove(item, frozenset(below[step]), own.item or ANY) if step in below else item)
        return items or None
    made = {}
    for key, inner in value.items():
        step = f"f:{key}"
        if (step,) not in gone:
            made[key] = remove(inner, frozenset(below[step]), own.child(key) or ANY) if step in below else inner
    return made or None


def with_named(fields: Fields, shape: Shape) -> Fields:
    """The set with all the named fields of structs that lead to its members."""
    found = set(fields)
    for path in fields:
        own: Shape | None = shape
        for length, step in enumerate(path, start=1):
            if own is None:
                break
            kind, _, name = step.partition(":")
            if kind == "f":
                if own.is_field(name):
                    found.add(path[:length])
                own = own.child(name)
            else:
                own = own.item
    return frozenset(found)


# ------------------------------------------------------------------ FieldsV1


def encode(fields: Fields) -> Object:
    """FieldsV1 of a set of paths; a `.` marks a path that is owned itself and has owned children."""
    tree: Object = {}
    for path in sorted(fields):
        node = tree
        for step in path:
            node = node.setdefault(step, {})
        node["."] = {}
    return _tidy(tree)


def _tidy(node: Object) -> Object:
    inner = {key: _tidy(value) for key, value in node.items() if key != "."}
    return {".": {}, **inner} if inner and "." in node else inner


def decode(node: Object, path: Path = ()) -> Fields:
    """Paths of a FieldsV1."""
    return frozenset(_decoded(node, path))


def _decoded(node: Object, path: Path) -> Iterator[Path]:
    if not node and path:
        yield path
    for step, inner in node.items():
        if step == ".":
            yield path
        else:
            yield from _decoded(inner, (*path, step))


def readable(path: Path) -> str:
    """`.spec.containers[name="base"].image`"""
    text = ""
    for step in path:
        kind, _, rest = step.partition(":")
        if kind == "f":
            text += f".{rest}"
        elif kind == "k":
            text += "[" + ",".join(f"{k}={json.dumps(v)}" for k, v in json.loads(rest).items()) + "]"
        else:
            text += f"[={rest}]"
    return text
