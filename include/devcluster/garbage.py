"""Garbage collection: dependents of deleted owners, the contents of deleted namespaces."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from include.devcluster.core.deletion import FOREGROUND, ORPHAN, DeleteOptions
from include.devcluster.core.errors import ApiError
from include.devcluster.core.objects import Object, name, namespace, uid
from include.devcluster.core.registry import Registry
from include.devcluster.core.resources import DEFINITIONS, NAMESPACES, Resource
from include.devcluster.core.store import Change
from include.devcluster.protocol.admission import CLEAN_UP, PROTECTED

log = logging.getLogger(__name__)

SWEEP_S = 60.0


class GarbageCollector:
    """Level-triggered: every round looks at everything, after each deletion and once a minute."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Collect until cancelled."""
        self._registry.store.listen(self._changed)
        while True:
            self._wake.clear()
            try:
                if self._round():
                    self._wake.set()  # it may have freed what the next round collects
            except Exception:
                log.exception("garbage collection")
            await asyncio.sleep(0)  # others get their turn
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SWEEP_S):
                    await self._wake.wait()

    def _changed(self, change: Change) -> None:
        meta = change.object["metadata"]
        if change.resource == "events":
            return
        if (
            change.type == "DELETED"
            or meta.get("deletionTimestamp")
            or (change.type == "ADDED" and meta.get("ownerReferences"))
        ):
            self._wake.set()

    def _round(self) -> bool:
        """One look at everything; True when something was changed."""
        everything = [
            (self._registry.catalogue.key(key), obj) for key, obj in self._registry.store.all() if self._known(key)
        ]
        alive = {uid(obj): obj for _, obj in everything}
        changed = False
        for resource, obj in everything:
            meta = obj["metadata"]
            if meta.get("ownerReferences"):
                changed |= self._collect(resource, obj, alive)
            if meta.get("deletionTimestamp"):
                if ORPHAN in (meta.get("finalizers") or []):
                    changed |= self._orphan(resource, obj, everything)
                if FOREGROUND in (meta.get("finalizers") or []):
                    changed |= self._foreground(resource, obj, everything)
                if PROTECTED in (meta.get("finalizers") or []) and not _is_used(obj, everything):
                    changed |= self._release(resource, obj, PROTECTED)
                if resource.key == NAMESPACES.key:
                    changed |= self._empty(obj, everything)
                if CLEAN_UP in (meta.get("finalizers") or []):
                    changed |= self._clear(obj, everything)
        return changed

    def _known(self, key: str) -> bool:
        try:
            self._registry.catalogue.key(key)
        except KeyError:  # objects of a definition that was deleted stay until it comes back
            return False
        return True

    def _collect(self, resource: Resource, obj: Object, alive: dict[str, Object]) -> bool:
        """Delete an object none of whose owners is left."""
        owners = obj["metadata"]["ownerReferences"]
        for reference in owners:
            owner = alive.get(reference["uid"])
            if owner is not None and namespace(owner) in ("", namespace(obj)):
                finalizers = owner["metadata"].get("finalizers") or []
                if not (owner["metadata"].get("deletionTimestamp") and FOREGROUND in finalizers):
                    return False
        if obj["metadata"].get("deletionTimestamp"):
            return False
        waiting = any(r["uid"] in alive for r in owners)
        return self._delete(resource, obj, "Foreground" if waiting and _has_dependents(obj, alive) else "Background")

    def _delete(self, resource: Resource, obj: Object, propagation: str | None) -> bool:
        try:
            self._registry.delete(
                resource, namespace(obj), name(obj), DeleteOptions(propagation=propagation, uid=uid(obj))
            )
        except ApiError as error:
            log.warning("cannot delete %s %s/%s: %s", resource.key, namespace(obj), name(obj), error)
            return False
        return True

    def _orphan(self, resource: Resource, owner: Object, everything: list[tuple[Resource, Object]]) -> bool:
        """Take the owner's reference off its dependents, then let it go."""
        for kind, obj in _dependents(owner, everything):
            self._registry.update(kind, namespace(obj), name(obj), lambda o: _disown(o, uid(owner)))
        return self._release(resource, owner, ORPHAN)

    def _foreground(self, resource: Resource, owner: Object, everything: list[tuple[Resource, Object]]) -> bool:
        """Let the owner go once no dependent that blocks it is left."""
        for _, obj in _dependents(owner, everything):
            reference = next(r for r in obj["metadata"]["ownerReferences"] if r["uid"] == uid(owner))
            if reference.get("blockOwnerDeletion"):
                return False
        return self._release(resource, owner, FOREGROUND)

    def _release(self, resource: Resource, obj: Object, finalizer: str) -> bool:
        def change(current: Object) -> Object:
            left = [f for f in current["metadata"].get("finalizers") or [] if f != finalizer]
            current["metadata"]["finalizers"] = left
            if not left:
                del current["metadata"]["finalizers"]
            return current

        self._registry.update(resource, namespace(obj), name(obj), change)
        return True

    def _empty(self, space: Object, everything: list[tuple[Resource, Object]]) -> bool:
        """Delete what is in a namespace that is going away; when nothing is left, the namespace."""
        inside = [(r, o) for r, o in everything if r.namespaced and namespace(o) == name(space)]
        changed = False
        for resource, obj in inside:
            if not obj["metadata"].get("deletionTimestamp"):
                changed |= self._delete(resource, obj, "Background")
        if not inside:
            self._registry.finish_delete(NAMESPACES, space)
            return True
        return changed

    def _clear(self, definition: Object, everything: list[tuple[Resource, Object]]) -> bool:
        """Delete the objects of a definition that is going away; when none is left, let it go."""
        objects = [(r, o) for r, o in everything if r.key == name(definition)]
        changed = False
        for resource, obj in objects:
            if not obj["metadata"].get("deletionTimestamp"):
                changed |= self._delete(resource, obj, "Background")
        return changed if objects else self._release(DEFINITIONS, definition, CLEAN_UP)


def _is_used(claim: Object, everything: list[tuple[Resource, Object]]) -> bool:
    """Whether a pod that has not ended mounts the claim."""
    for resource, obj in everything:
        if resource.key != "pods" or namespace(obj) != namespace(claim):
            continue
        names = [(v.get("persistentVolumeClaim") or {}).get("claimName") for v in obj["spec"].get("volumes") or []]
        if name(claim) in names and obj["status"].get("phase") not in ("Succeeded", "Failed"):
            return True
    return False


def _dependents(owner: Object, everything: list[tuple[Resource, Object]]) -> list[tuple[Resource, Object]]:
    return [
        (r, o)
        for r, o in everything
        if any(ref["uid"] == uid(owner) for ref in o["metadata"].get("ownerReferences") or [])
    ]


def _has_dependents(obj: Object, alive: dict[str, Object]) -> bool:
    return any(
        ref["uid"] == uid(obj) for other in alive.values() for ref in other["metadata"].get("ownerReferences") or []
    )


def _disown(obj: Object, owner: str) -> Object:
    left = [r for r in obj["metadata"].get("ownerReferences") or [] if r["uid"] != owner]
    obj["metadata"]["ownerReferences"] = left
    if not left:
        del obj["metadata"]["ownerReferences"]
    return obj
