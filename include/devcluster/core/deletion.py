"""What a request to delete an object makes of it: who may still hold it, and for how long it may take to stop."""

from __future__ import annotations

import copy
import datetime as dt
from dataclasses import dataclass

from include.devcluster.core import errors
from include.devcluster.core.objects import Object, name, parse_time, timestamp
from include.devcluster.core.resources import DEFINITIONS, NAMESPACES, PODS, Resource
from include.devcluster.protocol import pods

ORPHAN, FOREGROUND = "orphan", "foregroundDeletion"
_POLICIES = {"Orphan": [ORPHAN], "Foreground": [FOREGROUND], "Background": []}


@dataclass(frozen=True)
class DeleteOptions:
    """`metav1.DeleteOptions`, as far as it matters here."""

    grace: int | None = None
    propagation: str | None = None
    uid: str | None = None
    resource_version: str | None = None
    dry_run: bool = False


def check(resource: Resource, obj: Object, options: DeleteOptions) -> None:
    """Refuse a deletion that means another object, or another state of it. Raises 409."""
    meta, kind = obj["metadata"], resource.kind
    if options.uid not in (None, meta["uid"]):
        raise errors.precondition(kind, name(obj), "UID", options.uid, meta["uid"], "deleted and then recreated")
    if options.resource_version not in (None, meta["resourceVersion"]):
        wanted, present = options.resource_version, meta["resourceVersion"]
        raise errors.precondition(kind, name(obj), "ResourceVersion", wanted, present, "modified")


def finalizers(obj: Object, propagation: str | None) -> list[str]:
    """The object's finalizers with that of the propagation policy, which replaces an earlier policy's. Raises 400."""
    own: list[str] = obj["metadata"].get("finalizers") or []
    if propagation is None:
        return own
    if propagation not in _POLICIES:
        raise errors.bad_request(
            f'invalid propagationPolicy "{propagation}": needs to be one of {", ".join(_POLICIES)}'
        )
    return [f for f in own if f not in (ORPHAN, FOREGROUND)] + _POLICIES[propagation]


def grace(resource: Resource, obj: Object, asked: int | None) -> int:
    """Seconds a pod is given to stop. Only pods have that, and only those that may run; it can be shortened later."""
    if resource is not PODS or not obj["spec"].get("nodeName"):
        return 0
    if obj["status"]["phase"] in ("Succeeded", "Failed"):
        return 0
    seconds = max(0, pods.grace_period(obj) if asked is None else asked)
    meta = obj["metadata"]
    return min(seconds, meta.get("deletionGracePeriodSeconds") or 0) if "deletionTimestamp" in meta else seconds


def mark(resource: Resource, obj: Object, held_by: list[str], seconds: int) -> Object:
    """A copy of the object that is on its way out."""
    new = copy.deepcopy(obj)
    meta = new["metadata"]
    meta.pop("finalizers", None)
    if held_by:
        meta["finalizers"] = held_by
    if "deletionTimestamp" not in meta or seconds < (meta.get("deletionGracePeriodSeconds") or 0):
        # A grace that is shortened counts from the first request: BeforeDelete in apiserver/pkg/registry/rest/delete.go
        asked = dt.datetime.now(dt.UTC)
        if "deletionTimestamp" in meta:
            asked = parse_time(meta["deletionTimestamp"])
            asked -= dt.timedelta(seconds=meta.get("deletionGracePeriodSeconds") or 0)
        meta["deletionTimestamp"] = timestamp(asked + dt.timedelta(seconds=seconds))
        if resource not in (NAMESPACES, DEFINITIONS):
            meta["deletionGracePeriodSeconds"] = seconds
            if resource.generation:
                meta["generation"] += 1
    if resource is NAMESPACES:
        new["status"] = {**new.get("status", {}), "phase": "Terminating"}
    return new


def lingers(resource: Resource, obj: Object) -> bool:
    """Whether its end waits for its containers (pods) or its contents (namespaces), beside finalizers."""
    return resource is NAMESPACES or (resource is PODS and bool(obj["metadata"].get("deletionGracePeriodSeconds")))
