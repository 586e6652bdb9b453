"""The life of objects: create, change, delete, with the rules that hold for every kind.

The API, the scheduler, the kubelet and the garbage collector all write through here. Nothing in here waits, so every
operation is atomic.
"""

from __future__ import annotations

import copy
import secrets
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from include.devcluster.core import deletion, errors
from include.devcluster.core.deletion import DeleteOptions
from include.devcluster.core.objects import Object, name, namespace, now
from include.devcluster.core.resources import CLAIMS, DEFINITIONS, NAMESPACES, PODS, SERVICES, Catalogue, Resource
from include.devcluster.core.store import Store
from include.devcluster.kinds import shapes
from include.devcluster.protocol import addresses, admission, defaults, managed, parts

_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"
"""Letters of generated names: no vowels, so no words."""


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

    def create(  # noqa: C901
        self, resource: Resource, space: str, obj: Object, author: Author | None = None, *, dry_run: bool = False
    ) -> Object:
        """Admit and store a new object, which is changed in place."""
        meta = obj.setdefault("metadata", {})
        if meta.get("resourceVersion", "").isdigit() and int(meta["resourceVersion"]):
            raise errors.internal("resourceVersion should not be set on objects to be created")
        self._identify(resource, space, obj)
        for field in ("resourceVersion", *parts.SERVER_FIELDS):
            if field != "generation" or resource.generation:
                meta.pop(field, None)
        managed.restore(obj, meta.get("managedFields") or [])
        if not meta.get("name") and meta.get("generateName"):
            meta["name"] = meta["generateName"][:58] + "".join(secrets.choice(_SUFFIX) for _ in range(5))
        if not resource.custom:
            defaults.fill(resource, obj)
        if author and author.operation != "Apply":
            managed.restore(obj, managed.valid(meta.get("managedFields"), None))
            shown = {key: value for key, value in obj.items() if key != "status"}
            managed.record(shown, defaults.blank(resource, obj), author.manager, "", shapes.of(resource))
            obj["metadata"] = meta = shown["metadata"]
        if resource.namespaced:
            self._home(resource, obj)
        if resource.status:
            obj.pop("status", None)
        admission.admit(resource, obj, self.store)
        meta |= {"uid": str(uuid.uuid4()), "creationTimestamp": now()}
        if resource.generation:
            meta["generation"] = 1
        admission.check(resource, obj)
        if self.store.get(resource.key, namespace(obj), name(obj)):
            raise errors.already_exists(resource.key, name(obj))
        if dry_run:
            return obj
        created = self._commit(resource, obj)
        self._settle(resource, created)
        return created

    def _identify(self, resource: Resource, space: str, obj: Object) -> None:
        """Give the object the identity of the path it was sent to, or refuse a contradiction."""
        meta = obj["metadata"]
        obj["kind"], obj["apiVersion"] = resource.kind, resource.api_version
        if not resource.namespaced:
            meta.pop("namespace", None)
            return
        if meta.get("namespace") not in (None, "", space):
            raise errors.bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        meta["namespace"] = space

    def _home(self, resource: Resource, obj: Object) -> None:
        space = namespace(obj)
        home = self.store.get(NAMESPACES.key, "", space)
        if home is None:
            raise errors.not_found(NAMESPACES.key, space)
        if home["metadata"].get("deletionTimestamp"):
            raise errors.forbidden(
                resource.key,
                str(obj["metadata"].get("name", "")),
                f"unable to create new content in namespace {space} because it is being terminated",
            )

    def update(  # noqa: C901
        self,
        resource: Resource,
        space: str,
        own: str,
        change: Callable[[Object], Object],
        author: Author | None = None,
        *,
        subresource: str = "",
        dry_run: bool = False,
        is_patch: bool = False,
    ) -> Object:
        """Store what `change` makes of a copy of the object. Nothing happens when it makes no difference.

        A resourceVersion or uid in the result must be the present one (409 otherwise).
        """
        old = self.get(resource, space, own)
        new = change(copy.deepcopy(old))
        meta, was = new.setdefault("metadata", {}), old["metadata"]
        if not meta.get("name"):
            raise errors.bad_request(
                f"the name of the object ({own} based on URL) was undeterminable: name must be provided"
            )
        if meta["name"] != own:
            raise errors.bad_request(
                f"the name of the object ({meta['name']}) does not match the name on the URL ({own})"
            )
        if meta.get("namespace") not in (None, "", was.get("namespace")):
            raise errors.bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        self._is_present(resource, old, meta, is_patch=is_patch)
        applies = author is not None and author.operation == "Apply"
        entries = managed.valid(meta.get("managedFields"), None if applies else was.get("managedFields"))
        if not resource.custom:
            if resource is SERVICES:
                addresses.keep(old, new)
            defaults.fill(resource, new)
        new = self._merge_parts(resource, old, new, subresource)
        managed.restore(new, entries)
        if author and not applies and entries:  # who did not begin to be recorded is not recorded later
            managed.record(new, old, author.manager, subresource, shapes.of(resource))
        if not resource.custom and not subresource:
            admission.settle(resource, old, new)
        same = {**new, "metadata": managed.without(new)} == {**old, "metadata": managed.without(old)}
        if same and bool(entries) == bool(was.get("managedFields")) and not (applies and new != old):
            return old
        admission.change(resource, old, new, subresource)
        if dry_run:
            return new
        held = new["metadata"].get("finalizers") or deletion.lingers(resource, new)
        if "deletionTimestamp" in new["metadata"] and not held:
            self.store.put(resource.key, new)
            return self._forget(resource, new)
        return self._commit(resource, new)

    @staticmethod
    def _is_present(resource: Resource, old: Object, meta: Object, *, is_patch: bool) -> None:
        """Refuse a change of another object of that name, or of an older state of it."""
        was, version = old["metadata"], meta.get("resourceVersion") or "0"
        if not version.isdigit():
            raise errors.internal(f'strconv.ParseUint: parsing "{version}": invalid syntax')
        if meta.get("uid") not in (None, "", was["uid"]) and not is_patch:
            key = f"/registry/{resource.plural}/{namespace(old)}/{name(old)}"
            raise errors.conflict(
                resource.key, name(old),
                f"StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: "
                f"Precondition failed: UID in precondition: {meta['uid']}, UID in object meta: {was['uid']}",
            )  # fmt: skip
        if version not in ("0", was["resourceVersion"]):
            raise errors.modified(resource.key, name(old))
        fixed = [field for field in ("uid", "deletionTimestamp") if meta.get(field) not in (None, "", was.get(field))]
        if fixed:
            texts = [(f"metadata.{f}", f'Invalid value: "{meta[f]}": field is immutable') for f in fixed]
            raise errors.invalid(resource.kind, name(old), *texts, group=resource.group)

    @staticmethod
    def _merge_parts(resource: Resource, old: Object, new: Object, subresource: str) -> Object:
        """Keep what this kind of write may not touch."""
        return (
            parts.with_status(resource, old, new)
            if subresource == "status"
            else parts.without_status(resource, old, new)
        )

    def delete(
        self, resource: Resource, space: str, own: str, options: DeleteOptions | None = None
    ) -> tuple[Object, bool]:
        """Delete or begin to delete; returns the object and whether it is gone."""
        options = options or DeleteOptions()
        obj = self.get(resource, space, own)
        admission.may_delete(resource, obj)
        deletion.check(resource, obj, options)
        held_by = deletion.finalizers(obj, options.propagation)
        grace = deletion.grace(resource, obj, options.grace)
        if not held_by and grace == 0 and resource is not NAMESPACES:
            last = deletion.mark(resource, obj, [], 0) if resource is PODS else obj
            return (last if options.dry_run else self._forget(resource, last)), True
        new = deletion.mark(resource, obj, held_by, grace)
        if resource is DEFINITIONS:
            admission.ending(new)
        if options.dry_run:
            return new, False
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

    def _settle(self, resource: Resource, obj: Object) -> None:
        """What a cluster's controllers do at once with a new object: bind a claim, establish a definition."""
        if resource is CLAIMS:
            self._commit(resource, admission.bound(obj))
        elif resource is DEFINITIONS:
            self._commit(resource, admission.established(obj))

    def _forget(self, resource: Resource, obj: Object) -> Object:
        last = self.store.remove(resource.key, obj)
        if resource is DEFINITIONS:
            self.catalogue.forget(obj)
        return last
