"""Events: what happened to an object, for `kubectl describe` and for people who ask why."""

from __future__ import annotations

import copy
import secrets

from include.devcluster.core.objects import Object, name, namespace, now, uid
from include.devcluster.core.registry import Registry
from include.devcluster.core.resources import EVENTS

MESSAGE_LIMIT = 1024


class Recorder:
    """Writes events of one component; the same one again raises the count of the first."""

    def __init__(self, registry: Registry, component: str, host: str = "") -> None:
        self._registry, self._component, self._host = registry, component, host
        self._known: dict[tuple[str, ...], str] = {}

    def event(self, about: Object, reason: str, message: str, *, warning: bool = False, container: str = "") -> None:
        """Record an event on an object; one on an object whose namespace is going away is dropped."""
        meta = about["metadata"]
        space = namespace(about) or "default"
        home = self._registry.store.get("namespaces", "", space)
        if home is None or home["metadata"].get("deletionTimestamp"):
            return
        message = message[:MESSAGE_LIMIT]
        kind = "Warning" if warning else "Normal"
        key = (uid(about), reason, message, kind, container)
        known = self._registry.store.get(EVENTS.key, space, self._known.get(key, ""))
        if known is not None:
            self._registry.update(EVENTS, space, name(known), _again)
            return
        involved = {
            "kind": about["kind"],
            "namespace": namespace(about),
            "name": meta["name"],
            "uid": meta["uid"],
            "apiVersion": about["apiVersion"],
            "resourceVersion": meta["resourceVersion"],
        }
        if container:
            involved["fieldPath"] = f"spec.containers{{{container}}}"
        host = about.get("spec", {}).get("nodeName", "") if self._component == "kubelet" else ""
        own = f"{meta['name'][:230]}.{secrets.token_hex(8)}"
        event: Object = {
            "metadata": {"name": own, "namespace": space},
            "involvedObject": involved,
            "reason": reason,
            "message": message,
            "type": kind,
            "source": {"component": self._component, **({"host": host} if host else {})},
            "reportingComponent": self._component,
            "reportingInstance": host,
            "firstTimestamp": now(),
            "lastTimestamp": now(),
            "count": 1,
        }
        self._registry.create(EVENTS, space, event)
        self._known[key] = own
        if len(self._known) > 4096:
            self._known.clear()


def _again(event: Object) -> Object:
    changed = copy.copy(event)
    changed |= {"count": (event.get("count") or 1) + 1, "lastTimestamp": now()}
    return changed
