"""The life of objects: create, change, delete, with the rules that hold for every kind.

The API, the scheduler, the kubelet and the garbage collector all write through here. Nothing in here waits, so every
operation is atomic.
"""

from __future__ import annotations

import copy
import re
import secrets
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from include.devcluster.core import deletion, errors
from include.devcluster.core.deletion import DeleteOptions
from include.devcluster.core.objects import Object, name, namespace, now
from include.devcluster.core.resources import DEFINITIONS, NAMESPACES, PODS, Catalogue, Resource
from include.devcluster.core.store import Store
from include.devcluster.protocol import admission, managed

_SUBDOMAIN = re.compile(r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$")
_DROPPED_WHEN_EMPTY = ("labels", "annotations", "finalizers", "ownerReferences")
_SERVER_FIELDS = (
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "selfLink",
)


@dataclass(frozen=True)
class Author:
    """Who writes: the field manager and the operation that managedFields records."""

    manager: str
    operation: str = "Update"


class Registry:
    """Typed writes on the store.

    :raises ApiError: from every method, as the API server would answer.
    """

    def __init__(self, store: Store, catalogue: Catalogue) -> None:
        self.store, self.catalogue = store, catalogue

    def get(self, resource: Resource, space: str, own: str) -> Object:
        """The stored object, which is shared: copy it before changing it."""
        obj = self.store.get(resource.key, space if resource.namespaced else "", own)
        if obj is None:
            raise errors.not_found(resource.key, own)
        return obj

    def create(
        self, resource: Resource, space: str, obj: Object, author: Author | None = None, *, dry_run: bool = False
    ) -> Object:
        """Admit and store a new object, which is changed in place."""
        meta = obj.setdefault("metadata", {})
        if meta.get("resourceVersion"):
            raise errors.bad_request("resourceVersion should not be set on objects to be created")
        if not meta.get("name"):
            if not meta.get("generateName"):
                raise errors.invalid(
                    resource.kind, "", ("metadata.name", "Required value: name or generateName is required")
                )
            meta["name"] = meta["generateName"][:58] + secrets.token_hex(3)[:5]
        self._identify(resource, space, obj)
        if self.store.get(resource.key, namespace(obj), name(obj)):
            raise errors.already_exists(resource.key, name(obj))
        for field in _SERVER_FIELDS:
            meta.pop(field, None)
        meta |= {"uid": str(uuid.uuid4()), "creationTimestamp": now()}
        if resource.status:
            obj.pop("status", None)
        if resource.status or resource.custom:
            meta["generation"] = 1
        admission.admit(resource, obj, self.store)
        if author:
            managed.record(obj, None, author.manager, "")
        return obj if dry_run else self._commit(resource, obj)

    def _identify(self, resource: Resource, space: str, obj: Object) -> None:
        """Give the object the identity of the path it was sent to, or refuse a contradiction."""
        meta = obj["metadata"]
        if not _SUBDOMAIN.match(str(meta["name"])) or ".." in str(meta["name"]):
            raise errors.invalid(
                resource.kind,
                meta["name"],
                ("metadata.name", f'Invalid value: "{meta["name"]}": a lowercase RFC 1123 subdomain must consist of '
                 "lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric "
                 "character"),
            )  # fmt: skip
        if obj.get("kind", resource.kind) != resource.kind:
            raise errors.bad_request(
                f"the object provided is unrecognized: {obj['kind']} was sent where {resource.kind} belongs"
            )
        obj["kind"] = resource.kind
        obj["apiVersion"] = resource.api_version
        if not resource.namespaced:
            meta.pop("namespace", None)
            return
        if meta.get("namespace") not in (None, "", space):
            raise errors.bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        meta["namespace"] = space
        home = self.store.get(NAMESPACES.key, "", space)
        if home is None:
            raise errors.not_found(NAMESPACES.key, space)
        if home["metadata"].get("deletionTimestamp"):
            raise errors.forbidden(
                f'{resource.key} "{meta["name"]}"',
                f"unable to create new content in namespace {space} because it is being terminated",
            )

    def update(
        self,
        resource: Resource,
        space: str,
        own: str,
        change: Callable[[Object], Object],
        author: Author | None = None,
        *,
        subresource: str = "",
        dry_run: bool = False,
    ) -> Object:
        """Store what `change` makes of a copy of the object. Nothing happens when it makes no difference.

        A resourceVersion or uid in the result must be the present one (409 otherwise).
        """
        old = self.get(resource, space, own)
        new = change(copy.deepcopy(old))
        admission.shape(resource, new)
        meta, was = new.setdefault("metadata", {}), old["metadata"]
        if meta.get("name", own) != own:
            raise errors.bad_request(
                f"the name of the object ({meta['name']}) does not match the name on the URL ({own})"
            )
        if meta.get("namespace") not in (None, "", was.get("namespace")):
            raise errors.bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        if meta.get("uid") not in (None, "", was["uid"]):
            raise errors.conflict(
                resource.key,
                own,
                f"Precondition failed: UID in precondition: {meta['uid']}, UID in object meta: {was['uid']}",
            )
        if meta.get("resourceVersion") not in (None, "", was["resourceVersion"]):
            raise errors.modified(resource.key, own)
        entries = meta.get("managedFields")
        new = self._merge_parts(resource, old, new, subresource)
        admission.change(resource, old, new, subresource)
        if author and author.operation == "Apply":
            new["metadata"]["managedFields"] = entries
        elif author:
            managed.record(new, old, author.manager, subresource)
        if {**new, "metadata": managed.without(new)} == {**old, "metadata": managed.without(old)} and not (
            author and author.operation == "Apply" and new != old
        ):
            return old
        if dry_run:
            return new
        held = new["metadata"].get("finalizers") or deletion.lingers(resource, new)
        if "deletionTimestamp" in new["metadata"] and not held:
            self.store.put(resource.key, new)
            return self._forget(resource, new)
        return self._commit(resource, new)

    @staticmethod
    def _merge_parts(resource: Resource, old: Object, new: Object, subresource: str) -> Object:
        """Keep what this kind of write may not touch."""
        return _with_status(resource, old, new) if subresource == "status" else _without_status(resource, old, new)

    def delete(
        self, resource: Resource, space: str, own: str, options: DeleteOptions | None = None
    ) -> tuple[Object, bool]:
        """Delete or begin to delete; returns the object and whether it is gone."""
        options = options or DeleteOptions()
        obj = self.get(resource, space, own)
        deletion.check(resource, obj, options)
        if options.dry_run:
            return obj, True
        held_by = deletion.finalizers(obj, options.propagation)
        grace = deletion.grace(resource, obj, options.grace)
        if not held_by and grace == 0 and resource is not NAMESPACES:
            return self._forget(resource, obj), True
        new = deletion.mark(resource, obj, held_by, grace)
        return (self._commit(resource, new) if new != obj else obj), False

    def finish_delete(self, resource: Resource, obj: Object) -> None:
        """The grace period is over (the containers have stopped): remove the object unless a finalizer holds it."""
        current = self.store.get(resource.key, namespace(obj), name(obj))
        if current is None or current["metadata"]["uid"] != obj["metadata"]["uid"]:
            return
        if current["metadata"].get("finalizers"):
            if current["metadata"].get("deletionGracePeriodSeconds"):
                self._commit(resource, deletion.mark(resource, current, current["metadata"]["finalizers"], 0))
            return
        self._forget(resource, current)

    def set_status(self, resource: Resource, obj: Object, status: Object) -> Object | None:
        """Replace the status of this very object; None when it is gone."""
        current = self.store.get(resource.key, namespace(obj), name(obj))
        if current is None or current["metadata"]["uid"] != obj["metadata"]["uid"]:
            return None
        if current.get("status") == status:
            return current
        return self._commit(resource, {**current, "metadata": dict(current["metadata"]), "status": status})

    def bind(self, pod: Object, change: Callable[[Object], Object]) -> Object:
        """Store what only the scheduler may write: the node of a pod, and the condition that says so."""
        return self._commit(PODS, change(copy.deepcopy(self.get(PODS, namespace(pod), name(pod)))))

    def _commit(self, resource: Resource, obj: Object) -> Object:
        stored = self.store.put(resource.key, obj)
        if resource is DEFINITIONS:
            self.catalogue.define(stored)
        return stored

    def _forget(self, resource: Resource, obj: Object) -> Object:
        last = self.store.remove(resource.key, obj)
        if resource is DEFINITIONS:
            self.catalogue.forget(obj)
        return last


def _with_status(resource: Resource, old: Object, new: Object) -> Object:
    """A write of the status; of a built-in kind it takes labels and annotations too, of a custom one it does not."""
    result = {**old, "metadata": dict(old["metadata"]), "status": new.get("status") or {}}
    for field in () if resource.custom else ("labels", "annotations"):
        if field in new["metadata"]:
            result["metadata"][field] = new["metadata"][field]
    return result


def _without_status(resource: Resource, old: Object, new: Object) -> Object:
    """A write of everything but the status."""
    was = old["metadata"]
    meta = {key: value for key, value in new["metadata"].items() if value or key not in _DROPPED_WHEN_EMPTY}
    for field in ("name", "namespace", "resourceVersion", "managedFields", *_SERVER_FIELDS):
        meta.pop(field, None)
        if field in was:
            meta[field] = was[field]
    result = {**new, "apiVersion": old["apiVersion"], "kind": old["kind"], "metadata": meta}
    if resource.status:
        result.pop("status", None)
        if "status" in old:
            result["status"] = old["status"]
    if "generation" in was and _desired(old) != _desired(result):
        meta["generation"] = was["generation"] + 1
    return result


def _desired(obj: Object) -> Object:
    return {key: value for key, value in obj.items() if key not in ("metadata", "status")}
