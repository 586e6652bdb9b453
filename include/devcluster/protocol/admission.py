"""What is refused and added before an object is stored: admission, and the rules of `validation`."""

from __future__ import annotations

from collections.abc import Iterator

from include.devcluster.core import errors
from include.devcluster.core.objects import Object, name, namespace, now
from include.devcluster.core.resources import PRIORITIES, Resource
from include.devcluster.core.store import Store
from include.devcluster.protocol import addresses, pods, schema
from include.devcluster.validation import changes, definitions, metadata, others, services
from include.devcluster.validation import pods as pod_rules
from include.devcluster.validation.rules import Cause

CLEAN_UP = "customresourcecleanup.apiextensions.k8s.io"
"""Finalizer of a definition: its objects are deleted before it goes."""

PROTECTED = "kubernetes.io/pvc-protection"
"""Finalizer of a claim: it stays while a pod uses it."""

_KEPT = ("default", "kube-system", "kube-public")


def admit(resource: Resource, obj: Object, store: Store) -> None:
    """What a new object is given, in place. Raises 403 for what it may not ask for."""
    match resource.kind if not resource.custom else "":
        case "Pod":
            pods.set_admitted(obj)
            _account(obj, store)
            _priority(obj, store)
            _runtime_class(obj)
        case "PriorityClass":
            obj["metadata"]["generation"] = 1
        case "Lease":
            _settle_lease(obj)
        case "Namespace":
            obj["spec"] = {"finalizers": ["kubernetes"]}
            obj["status"] = {"phase": "Active"}
        case "PersistentVolumeClaim":
            _add_finalizer(obj, PROTECTED)
            obj["status"] = {"phase": "Pending"}
            spec = obj["spec"]
            if source := spec.get("dataSource"):
                spec.setdefault("dataSourceRef", dict(source))
        case "Service":
            addresses.assign(obj, store)
            obj["status"] = {"loadBalancer": {}}
        case "CustomResourceDefinition":
            _named(obj)


def settle(resource: Resource, old: Object, new: Object) -> None:
    """What a change is given and loses, in place."""
    if resource.kind == "Pod":
        pods.settle(new)
    elif resource.kind == "Service":
        addresses.release(old, new)
    elif resource.kind == "Lease":
        _settle_lease(new)


def _settle_lease(obj: Object) -> None:
    for field in ("strategy", "preferredHolder"):  # of a feature that is off
        obj.get("spec", {}).pop(field, None)


def check(resource: Resource, obj: Object) -> None:
    """Raises 422 with everything that is wrong with a new object."""
    _refuse(resource, obj, list(_causes(resource, obj)))


def _causes(resource: Resource, obj: Object) -> Iterator[Cause]:
    kind = "" if resource.custom else resource.kind
    if kind != "Event":
        yield from metadata.causes(obj, kind)
    if resource.custom:
        yield from schema.causes(obj, resource.schema)
    elif kind == "Pod":
        yield from pod_rules.causes(obj)
    elif kind == "Service":
        yield from services.causes(obj)
    elif kind == "CustomResourceDefinition":
        yield from definitions.causes(obj)
    elif kind in others.BY_KIND:
        yield from others.BY_KIND[kind](obj)


def change(resource: Resource, old: Object, new: Object, subresource: str) -> None:
    """Raises 422 with everything that is wrong with a change."""
    found = list(metadata.change_causes(old, new))
    if not subresource:
        found += [cause for cause in _causes(resource, new) if cause[0] != "spec.ephemeralContainers"]
        if not resource.custom and resource.kind in changes.BY_KIND:
            found += changes.BY_KIND[resource.kind](old, new)
    elif resource.custom:  # as the real one: what it says of a status begins there
        found += [(field, text.replace(f"{field} in body", f"{field.removeprefix('status.')} in body"))
                  for field, text in schema.causes(new, resource.schema)]  # fmt: skip
    else:
        found += metadata.causes(new, resource.kind)
    _refuse(resource, new, found)


def _refuse(resource: Resource, obj: Object, found: list[Cause]) -> None:
    if found:
        raise errors.invalid(resource.kind, str(obj["metadata"].get("name") or ""), *found, group=resource.group)


def warnings(resource: Resource, obj: Object) -> Iterator[str]:
    """What an object is stored with, and warned of."""
    if resource.custom:
        return
    if resource.kind == "Pod":
        yield from pod_rules.warnings(obj)
    elif resource.kind in others.WARNINGS:
        yield from others.WARNINGS[resource.kind](obj)


def may_delete(resource: Resource, obj: Object) -> None:
    """Raises 403 for what belongs to the cluster."""
    if resource.key == "namespaces" and name(obj) in _KEPT:
        raise errors.forbidden("namespaces", name(obj), "this namespace may not be deleted")
    if resource is PRIORITIES and name(obj) in others.SYSTEM_PRIORITIES:
        raise errors.forbidden(resource.key, name(obj), "this is a system priority class and cannot be deleted")


def _account(obj: Object, store: Store) -> None:
    account, space = obj["spec"]["serviceAccountName"], namespace(obj)
    if not store.get("serviceaccounts", space, account):
        raise errors.forbidden(
            "pods",
            name(obj),
            f'error looking up service account {space}/{account}: serviceaccount "{account}" not found',
        )


def _priority(obj: Object, store: Store) -> None:
    spec = obj["spec"]
    computed, policy = 0, "PreemptLowerPriority"
    if wanted := spec.get("priorityClassName"):
        found = store.get(PRIORITIES.key, "", wanted)
        if found is None:
            raise errors.forbidden("pods", name(obj), f"no PriorityClass with name {wanted} was found")
        computed, policy = found.get("value", 0), found.get("preemptionPolicy", policy)
    else:
        for found in store.list(PRIORITIES.key):
            if found.get("globalDefault"):
                spec["priorityClassName"] = name(found)
                computed, policy = found.get("value", 0), found.get("preemptionPolicy", policy)
    for field, what, value in (
        ("priority", "integer value of priority", computed),
        ("preemptionPolicy", "string value of PreemptionPolicy", policy),
    ):
        given = spec.setdefault(field, value)
        if given != value:
            raise errors.forbidden("pods", name(obj), _mismatch(what, given, value))


def _mismatch(what: str, given: object, value: object) -> str:
    by = "PriorityClass name"
    return (
        f"the {what} ({given}) must not be provided in pod spec; "
        f"priority admission controller computed {value} from the given {by}"
    )


def _runtime_class(obj: Object) -> None:
    if wanted := obj["spec"].get("runtimeClassName"):
        raise errors.forbidden("pods", name(obj), f'pod rejected: RuntimeClass "{wanted}" not found')
    if obj["spec"].get("overhead"):
        text = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"
        raise errors.forbidden("pods", name(obj), text)


def _add_finalizer(obj: Object, finalizer: str) -> None:
    own = obj["metadata"].get("finalizers") or []
    if finalizer not in own:
        obj["metadata"]["finalizers"] = [*own, finalizer]


def _named(obj: Object) -> None:
    """What the status of a definition says until it is served."""
    stored = [v["name"] for v in obj["spec"].get("versions") or [] if v.get("storage")]
    obj["status"] = {"acceptedNames": {"plural": "", "kind": ""}, "storedVersions": stored, "conditions": None}


def established(definition: Object) -> Object:
    """A definition that is served."""
    names = definition["spec"]["names"]
    conditions = [
        {"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": now()}
        for kind, reason, message in (
            ("NamesAccepted", "NoConflicts", "no conflicts found"),
            ("Established", "InitialNamesAccepted", "the initial names have been accepted"),
        )
    ]
    made = {**definition, "metadata": dict(definition["metadata"])}
    _add_finalizer(made, CLEAN_UP)
    return {**made, "status": {**definition["status"], "acceptedNames": names, "conditions": conditions}}


def ending(definition: Object) -> None:
    """Say of a definition that its objects are being deleted, in place."""
    conditions = definition["status"].get("conditions") or []
    if not any(condition["type"] == "Terminating" for condition in conditions):
        ending = {
            "type": "Terminating",
            "status": "True",
            "reason": "InstanceDeletionPending",
            "message": "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
            "lastTransitionTime": now(),
        }
        definition["status"]["conditions"] = [*conditions, ending]


def bound(claim: Object) -> Object:
    """A claim that has its volume: every claim gets a folder at once."""
    spec = {**claim["spec"], "volumeName": f"pvc-{claim['metadata']['uid']}"}
    status = {
        "phase": "Bound",
        "accessModes": spec["accessModes"],
        "capacity": {"storage": spec["resources"]["requests"]["storage"]},
    }
    return {**claim, "metadata": dict(claim["metadata"]), "spec": spec, "status": status}
