"""Kubernetes objects as plain dictionaries, and the few helpers that every module needs.

An object taken from the store is shared: copy it (`copy.deepcopy`) before changing it.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

Object = dict[str, Any]
"""A Kubernetes object (or a part of one) as decoded from JSON."""


def now() -> str:
    """The present as `metav1.Time` writes it: RFC 3339, whole seconds, UTC."""
    return timestamp(dt.datetime.now(dt.UTC))


def timestamp(moment: dt.datetime) -> str:
    """A moment as `metav1.Time` writes it."""
    return moment.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(text: str) -> dt.datetime:
    """Read an RFC 3339 time; what is finer than microseconds is cut. Raises ValueError."""
    moment = dt.datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)


def dig(obj: Any, path: str) -> Any:
    """Value at a dotted path, or None where a step is missing."""
    for step in path.split("."):
        if not isinstance(obj, dict):
            return None
        obj = obj.get(step)
    return obj


def labels(obj: Object) -> dict[str, str]:
    """Its labels, {} when it has none."""
    found: dict[str, str] = obj["metadata"].get("labels") or {}
    return found


def namespace(obj: Object) -> str:
    """Its namespace, empty for what has none."""
    return str(obj["metadata"].get("namespace", ""))


def name(obj: Object) -> str:
    """Its name."""
    return str(obj["metadata"]["name"])


def uid(obj: Object) -> str:
    """Its uid: what tells it from an earlier object of the same name."""
    return str(obj["metadata"]["uid"])


def condition(obj: Object, kind: str) -> Object | None:
    """The status condition of that type."""
    for item in (obj.get("status") or {}).get("conditions") or []:
        if item.get("type") == kind:
            return dict(item)
    return None
