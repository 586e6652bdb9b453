"""Which parts of an object a kind of write may touch."""

from __future__ import annotations

from include.devcluster.core.objects import Object
from include.devcluster.core.resources import NAMESPACES, Resource

_DROPPED_WHEN_EMPTY = ("labels", "annotations", "finalizers", "ownerReferences")
SERVER_FIELDS = (
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "selfLink",
)
"""What the server alone writes."""


def with_status(resource: Resource, old: Object, new: Object) -> Object:
    """A write of the status; of a built-in kind it takes labels and annotations too, of a custom one it does not."""
    result = {**old, "metadata": dict(old["metadata"]), "status": new.get("status") or {}}
    for field in () if resource.custom else ("labels", "annotations"):
        if field in new["metadata"]:
            result["metadata"][field] = new["metadata"][field]
    return result


def without_status(resource: Resource, old: Object, new: Object) -> Object:
    """A write of everything but the status."""
    was = old["metadata"]
    meta = {key: value for key, value in new["metadata"].items() if value or key not in _DROPPED_WHEN_EMPTY}
    for field in ("name", "namespace", "resourceVersion", "managedFields", *SERVER_FIELDS):
        meta.pop(field, None)
        if field in was:
            meta[field] = was[field]
    result = {**new, "apiVersion": old["apiVersion"], "kind": old["kind"], "metadata": meta}
    if resource is NAMESPACES:
        result["spec"] = old["spec"]
    if resource.status:
        result.pop("status", None)
        if "status" in old:
            result["status"] = old["status"]
    if resource.generation and "generation" in was and _desired(old) != _desired(result):
        meta["generation"] = was["generation"] + 1
    return result


def _desired(obj: Object) -> Object:
    return {key: value for key, value in obj.items() if key not in ("metadata", "status")}
