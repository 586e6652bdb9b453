"""Merge patch (RFC 7386) and strategic merge patch.

Strategic merge: https://github.com/kubernetes/community/blob/master/contributors/devel/sig-api-machinery/strategic-merge-patch.md
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from include.devcluster.core.errors import ApiError, internal, invalid
from include.devcluster.kinds import types
from include.devcluster.kinds.types import Field


def merge(base: Any, change: Any) -> Any:
    """RFC 7386: null deletes, dictionaries merge, everything else replaces."""
    if not isinstance(change, dict):
        return change
    result = dict(base) if isinstance(base, dict) else {}
    for key, value in change.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value)
    return result


def strategic(base: Any, change: Any, kind: str) -> Any:
    """Strategic merge of a struct, with the `$patch`, `$retainKeys` and `$deleteFromPrimitiveList` directives.

    :param kind: name of the struct, `Pod` for a pod.
    :raises ApiError: 422 and 500 for a patch that does not fit the struct.
    """
    return _merge_map(base, change, types.fields(kind))


def _merge_map(base: Any, change: Any, fields: dict[str, Field]) -> Any:  # noqa: C901
    if not isinstance(change, dict):
        return change
    directive = change.get("$patch")
    if directive == "delete":
        return {}
    if directive == "replace":
        return {key: value for key, value in change.items() if key != "$patch"}
    if directive not in (None, "merge"):
        raise internal(f"unknown patch type: {directive} in map: map[$patch:{directive}]")
    result = dict(base) if isinstance(base, dict) else {}
    if (kept := change.get("$retainKeys")) is not None:
        result = {key: value for key, value in result.items() if key in kept}
    for key, value in change.items():
        if key.startswith("$deleteFromPrimitiveList/"):
            name = key.partition("/")[2]
            result[name] = [item for item in result.get(name) or [] if item not in value]
        elif not key.startswith("$"):
            order = change.get(f"$setElementOrder/{key}", value)
            merged = _merge_field(result.pop(key, None), value, order, fields.get(key))
            if merged is not None:
                result[key] = merged
    for key, order in change.items():
        name = key.partition("/")[2]
        if key.startswith("$setElementOrder/") and name not in change and isinstance(result.get(name), list):
            result[name] = _reordered(result[name], order, fields.get(name))
    return result


def _merge_field(base: Any, change: Any, order: Any, field: Field | None) -> Any:
    """New value of one field; None removes it."""
    if field and change is not None:
        if field.type.kind in ("struct", "map") and not isinstance(change, dict):
            raise unfit(change, f"cannot restore {'map' if field.type.kind == 'map' else 'struct'} from {_go(change)}")
        if field.type.kind == "list" and not isinstance(change, list):
            raise unfit(change, f"cannot restore slice from {_go(change)}")
    if isinstance(change, list):
        return _merge_list(base or [], change, order, field)
    if isinstance(change, dict):
        inner = types.fields(field.type.struct) if field and field.type.kind == "struct" else {}
        return _merge_map(base, change, inner)
    return change


def unfit(document: Any, text: str) -> ApiError:
    """422 for a patch that does not fit its object; `document` is what was to be read."""
    said = json.dumps(json.dumps(document, separators=(",", ":")))
    return invalid("", "", ("patch", f"Invalid value: {said}: {text}"))


def _go(value: Any) -> str:
    kinds = ((bool, "bool"), (str, "string"), (int, "int64"), (float, "float64"), (list, "slice"), (dict, "map"))
    return next((name for kind, name in kinds if isinstance(value, kind)), "nil")


def _merge_list(base: list[Any], change: list[Any], order: list[Any], field: Field | None) -> list[Any]:
    if field is None or field.patch_key is None:
        return change
    if not field.patch_key:
        return _ordered(base + [item for item in change if item not in base], order, base, str)
    key = field.patch_key
    if any(isinstance(item, dict) and item.get("$patch") == "replace" and len(item) == 1 for item in change):
        return [item for item in change if "$patch" not in item]
    for item in change:
        if not isinstance(item, dict) or key not in item:
            raise internal(f"map: {_printed(item)} does not contain declared merge key: {key}")
    inner = types.fields(field.type.item.struct) if field.type.item else {}
    items = list(base)
    for item in change:
        # several items may share the key: a patch means the first of them
        at = next((place for place, other in enumerate(items) if other.get(key) == item[key]), None)
        if item.get("$patch") == "delete":
            items = [other for other in items if other.get(key) != item[key]]
        elif at is None:
            items.append(_merge_map({}, item, inner))
        else:
            items[at] = _merge_map(items[at], item, inner)
    return _ordered(items, order, base, lambda item: str(item.get(key)))


def _reordered(items: list[Any], order: list[Any], field: Field | None) -> list[Any]:
    key = field.patch_key if field else None
    return _ordered(items, order, items, (lambda item: str(item.get(key))) if key else str)


def _printed(value: Any) -> str:
    return (
        "map[" + " ".join(f"{k}:{v}" for k, v in sorted(value.items())) + "]" if isinstance(value, dict) else str(value)
    )


def _ordered(items: list[Any], order: list[Any], base: list[Any], identity: Callable[[Any], str]) -> list[Any]:
    """The patch's items in its order; the others before the first of them that followed them before, else behind."""
    wanted = {identity(item): place for place, item in enumerate(order)}
    before = {identity(item): place for place, item in enumerate(base)}
    patched = sorted((i for i in items if identity(i) in wanted), key=lambda i: wanted[identity(i)])
    result: list[Any] = []
    for item in (i for i in items if identity(i) not in wanted):
        while patched and not before[identity(item)] < before.get(identity(patched[0]), -1):
            result.append(patched.pop(0))
        result.append(item)
    return result + patched
