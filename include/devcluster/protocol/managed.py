"""Field ownership: `metadata.managedFields` and server-side apply.

Fields are sets of paths; a path is a tuple of steps in the notation of FieldsV1: `f:name` for a field, `k:{...}` for an
item of a keyed list, `v:...` for an item of a set. https://kubernetes.io/docs/reference/using-api/server-side-apply/
"""

from __future__ import annotations

import copy
import json
from typing import Any

from include.devcluster.core.errors import ApiError
from include.devcluster.core.objects import Object, name, now
from include.devcluster.protocol.patch import MERGED_SETS, merge_key

Path = tuple[str, ...]
Fields = frozenset[Path]

_IGNORED = {"apiVersion", "kind"}
_KEYED_GROUPS = {"", "coordination.k8s.io", "scheduling.k8s.io", "apiextensions.k8s.io"}
"""Groups whose lists merge by key; in custom kinds a list is one value, as no schema says otherwise."""
_IGNORED_META = {
    "name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp",
    "deletionGracePeriodSeconds", "managedFields", "selfLink", "generateName",
}  # fmt: skip


def without(obj: Object) -> Object:
    """The metadata less what changes by itself."""
    return {k: v for k, v in obj["metadata"].items() if k not in ("managedFields", "resourceVersion")}


def record(new: Object, old: Object | None, manager: str, subresource: str) -> None:
    """Enter into managedFields of `new` what this write changed (`apply` enters its own)."""
    after = leaves(new)
    before = leaves(old) if old else {}
    changed = frozenset(path for path, value in after.items() if path not in before or before[path] != value)
    removed = before.keys() - after.keys()
    if not changed and not removed:
        return
    entries: list[Object] = []
    own: Fields = frozenset()
    for entry in new["metadata"].get("managedFields") or []:
        fields = decode(entry["fieldsV1"])
        if _same(entry, manager, "Update", subresource):
            own = fields
            continue
        _append(entries, entry, fields - changed - removed)
    _append(entries, _entry(new, manager, "Update", subresource), (own | changed) - removed)
    new["metadata"]["managedFields"] = entries


def apply(current: Object | None, config: Object, manager: str, *, force: bool, subresource: str = "") -> Object:
    """What server-side apply makes of `current` with the fields that `manager` now wants.

    :raises ApiError: 409 with one cause per field that another manager holds with another value.
    """
    wanted = leaves(config)
    fields = frozenset(wanted)
    if current is None:
        new = copy.deepcopy(config)
        new["metadata"]["managedFields"] = [
            _entry(config, manager, "Apply", subresource) | {"fieldsV1": encode(fields)}
        ]
        return new
    have = leaves(current)
    entries = current["metadata"].get("managedFields") or []
    others: list[tuple[Object, Fields]] = []
    mine: Fields = frozenset()
    for entry in entries:
        owned = decode(entry["fieldsV1"])
        if _same(entry, manager, "Apply", subresource):
            mine = owned
        else:
            others.append((entry, owned))
    conflicts = [
        (entry, path) for entry, owned in others for path in sorted(owned & fields) if have.get(path) != wanted[path]
    ]
    if conflicts and not force:
        raise _conflict(current, conflicts)
    new = _overlay(copy.deepcopy(current), config, keyed=_keyed(current))
    held = frozenset[Path]().union(*(owned for _, owned in others))
    for path in sorted(mine - fields - held, key=len):  # an item before its fields
        _drop(new, path)
    taken = {path for _, path in conflicts}
    result: list[Object] = []
    for entry, owned in others:
        _append(result, entry, owned - taken)
    _append(result, _entry(config, manager, "Apply", subresource), fields)
    new["metadata"]["managedFields"] = result
    return dict(new)


def leaves(obj: Object) -> dict[Path, Any]:
    """Every field of an object that somebody can own -> its value."""
    found: dict[Path, Any] = {}
    for key, value in obj.items():
        if key in _IGNORED:
            continue
        if key == "metadata":
            for field, inner in value.items():
                if field not in _IGNORED_META:
                    _walk(field, inner, ("f:metadata", f"f:{field}"), found, keyed=True)
        else:
            _walk(key, value, (f"f:{key}",), found, keyed=_keyed(obj))
    return found


def _keyed(obj: Object) -> bool:
    return str(obj["apiVersion"]).rpartition("/")[0] in _KEYED_GROUPS


def _walk(field: str, value: Any, path: Path, found: dict[Path, Any], *, keyed: bool) -> None:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            _walk(key, inner, (*path, f"f:{key}"), found, keyed=keyed)
    elif keyed and isinstance(value, list) and value and field in MERGED_SETS:
        for item in value:
            found[(*path, f"v:{json.dumps(item)}")] = item
    elif keyed and isinstance(value, list) and value and (key := merge_key(field, value)):
        for item in value:
            step = (*path, f"k:{json.dumps({key: item[key]}, separators=(',', ':'))}")
            found[step] = None
            for inner_key, inner in item.items():
                _walk(inner_key, inner, (*step, f"f:{inner_key}"), found, keyed=keyed)
    else:
        found[path] = value


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
    if not node:
        return frozenset([path]) if path else frozenset()
    found: set[Path] = set()
    for step, inner in node.items():
        if step == ".":
            found.add(path)
        else:
            found |= decode(inner, (*path, step))
    return frozenset(found)


def _overlay(base: Any, config: Any, field: str = "", *, keyed: bool) -> Any:
    """`base` with everything that `config` says."""
    if isinstance(base, dict) and isinstance(config, dict):
        result = dict(base)
        for key, value in config.items():
            result[key] = _overlay(base.get(key), value, key, keyed=keyed or field == "metadata")
        return result
    if keyed and isinstance(base, list) and isinstance(config, list):
        if field in MERGED_SETS:
            return base + [item for item in config if item not in base]
        if key := merge_key(field, base + config):
            known = {item[key]: item for item in base}
            for item in config:
                known[item[key]] = _overlay(known.get(item[key]), item, keyed=True)
            return list(known.values())
    return copy.deepcopy(config)


def _drop(node: Any, path: Path) -> None:
    """Remove the value at a path, and the parents that become empty by it."""
    step, rest = path[0], path[1:]
    kind, _, text = step.partition(":")
    if kind == "f" and isinstance(node, dict) and text in node:
        if rest:
            _drop(node[text], rest)
        if not rest or node[text] in ({}, []):
            del node[text]
    elif kind in ("k", "v") and isinstance(node, list):
        wanted = json.loads(text)
        for item in list(node):
            same = item == wanted if kind == "v" else wanted.items() <= item.items()
            if same and rest:
                _drop(item, rest)
            elif same:
                node.remove(item)


def _same(entry: Object, manager: str, operation: str, subresource: str) -> bool:
    return (entry["manager"], entry["operation"], entry.get("subresource", "")) == (manager, operation, subresource)


def _entry(obj: Object, manager: str, operation: str, subresource: str) -> Object:
    entry: Object = {
        "manager": manager,
        "operation": operation,
        "apiVersion": obj["apiVersion"],
        "time": now(),
        "fieldsType": "FieldsV1",
    }
    return {**entry, "subresource": subresource} if subresource else entry


def _append(entries: list[Object], entry: Object, fields: Fields) -> None:
    if fields:
        entries.append({**entry, "fieldsV1": encode(fields)})


def _conflict(obj: Object, conflicts: list[tuple[Object, Path]]) -> ApiError:
    causes = []
    for entry, path in conflicts:
        who = f'conflict with "{entry["manager"]}"'
        if entry["operation"] == "Update":
            who += f" using {entry['apiVersion']}"
        causes.append({"reason": "FieldManagerConflict", "message": who, "field": readable(path)})
    count = f"{len(causes)} conflict{'s' if len(causes) > 1 else ''}"
    text = ", ".join(f"{c['message']}: {c['field']}" for c in causes)
    return ApiError(409, "Conflict", f"Apply failed with {count}: {text}", {"name": name(obj), "causes": causes})


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
