"""Merge patch (RFC 7386) and strategic merge patch.

Strategic merge: https://github.com/kubernetes/community/blob/master/contributors/devel/sig-api-machinery/strategic-merge-patch.md
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

MERGE_KEYS: dict[str, tuple[str, ...]] = {
    "addresses": ("type",),
    "conditions": ("type",),
    "containers": ("name",),
    "env": ("name",),
    "ephemeralContainers": ("name",),
    "hostAliases": ("ip",),
    "imagePullSecrets": ("name",),
    "initContainers": ("name",),
    "ownerReferences": ("uid",),
    "podIPs": ("ip",),
    "ports": ("containerPort", "port"),
    "resourceClaims": ("name",),
    "secrets": ("name",),
    "topologySpreadConstraints": ("topologyKey",),
    "volumeDevices": ("devicePath",),
    "volumeMounts": ("mountPath",),
    "volumes": ("name",),
}
"""Lists of built-in kinds that merge by a key; all others are replaced."""

MERGED_SETS = {"finalizers"}
"""Lists of plain values that merge as sets."""


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


def strategic(base: Any, change: Any) -> Any:
    """Strategic merge of one value, with the `$patch`, `$retainKeys` and `$deleteFromPrimitiveList` directives."""
    if not isinstance(change, dict):
        return change
    directive = change.get("$patch")
    if directive == "delete":
        return None
    if directive == "replace":
        return {key: value for key, value in change.items() if key != "$patch"}
    result = copy.copy(base) if isinstance(base, dict) else {}
    if (kept := change.get("$retainKeys")) is not None:
        result = {key: value for key, value in result.items() if key in kept}
    for key, value in change.items():
        if key.startswith("$deleteFromPrimitiveList/"):
            field = key.partition("/")[2]
            result[field] = [item for item in result.get(field) or [] if item not in value]
        elif not key.startswith("$"):
            order = change.get(f"$setElementOrder/{key}", value)
            merged = _merge_field(key, result.pop(key, None), value, order)
            if merged is not None:
                result[key] = merged
    return result


def _merge_field(field: str, base: Any, change: Any, order: Any) -> Any:
    """New value of one field; None removes it."""
    if isinstance(change, list):
        return _merge_list(field, base or [], change, order)
    return strategic(base, change) if isinstance(change, dict) else change


def merge_key(field: str, items: list[Any]) -> str | None:
    """The key that tells the items of this list apart, None for a list that is replaced as a whole."""
    for key in MERGE_KEYS.get(field, ()):
        if all(isinstance(item, dict) and (key in item or "$patch" in item) for item in items):
            return key
    return None


def _merge_list(field: str, base: list[Any], change: list[Any], order: list[Any]) -> list[Any]:
    if field in MERGED_SETS:
        return _ordered(base + [item for item in change if item not in base], order, base, str)
    key = merge_key(field, base + change)
    if key is None:
        return change
    if any(item.get("$patch") == "replace" and len(item) == 1 for item in change):
        return [item for item in change if "$patch" not in item]
    merged = {item[key]: item for item in base}
    for item in change:
        if item.get("$patch") == "delete":
            merged.pop(item.get(key), None)
        else:
            merged[item[key]] = strategic(merged.get(item[key], {}), item)
    return _ordered(list(merged.values()), order, base, lambda item: str(item.get(key)))


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
