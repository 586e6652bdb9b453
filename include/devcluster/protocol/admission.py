"""What is checked and filled in, kind by kind, before an object is stored."""

from __future__ import annotations

import base64
import binascii

from include.devcluster.core import errors
from include.devcluster.core.objects import Object, name, namespace, now
from include.devcluster.core.resources import DEFINITIONS, Resource
from include.devcluster.core.store import Store
from include.devcluster.protocol import pods, schema

CLEAN_UP = "customresourcecleanup.apiextensions.k8s.io"
"""Finalizer of a definition: its objects are deleted before it goes."""


def admit(resource: Resource, obj: Object, store: Store) -> None:
    """Defaults and checks of a new object, which is changed in place. Raises ApiError."""
    shape(resource, obj)
    match resource.key:
        case "pods":
            if not isinstance(obj.get("spec"), dict):
                raise errors.invalid("Pod", name(obj), ("spec.containers", "Required value"))
            obj["spec"].setdefault("containers", [])
            pods.set_defaults(obj)
            pods.validate(obj)
            account = obj["spec"]["serviceAccountName"]
            if not store.get("serviceaccounts", namespace(obj), account):
                raise errors.forbidden(
                    f'pods "{name(obj)}"',
                    f"error looking up service account {namespace(obj)}/{account}: "
                    f'serviceaccount "{account}" not found',
                )
        case "secrets":
            _secret(obj)
        case "configmaps":
            _strings(obj)
        case "namespaces":
            obj["spec"] = {"finalizers": ["kubernetes"]}
            obj["status"] = {"phase": "Active"}
            obj["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = name(obj)
        case "persistentvolumeclaims":
            _claim(obj)
        case DEFINITIONS.key:
            _definition(obj)
            obj["metadata"]["finalizers"] = [*(obj["metadata"].get("finalizers") or []), CLEAN_UP]


def shape(resource: Resource, obj: Object) -> None:
    """Bring a custom object in line with its schema, in place. Raises 422."""
    if resource.custom:
        schema.admit(obj, resource.schema, resource.kind)


def change(resource: Resource, old: Object, new: Object, subresource: str) -> None:
    """Checks of a changed object. Raises ApiError."""
    if new["metadata"].get("deletionTimestamp"):
        added = set(new["metadata"].get("finalizers") or []) - set(old["metadata"].get("finalizers") or [])
        if added:
            raise errors.invalid(
                resource.kind, name(new),
                ("metadata.finalizers", "Forbidden: no new finalizers can be added if the object is being deleted, "
                 f"found new finalizers {sorted(added)}"),
            )  # fmt: skip
    if subresource:
        return
    if resource.key == "pods" and old["spec"] != new["spec"]:
        pods.check_change(old, new)
    if resource.key == "secrets":
        _secret(new)
    if resource.key == "configmaps":
        _strings(new)
    if resource.key in ("secrets", "configmaps") and old.get("immutable"):
        fields = [f for f in ("data", "binaryData", "immutable") if old.get(f) != new.get(f)]
        if fields:
            raise errors.invalid(
                resource.kind, name(new), (fields[0], "Forbidden: field is immutable when `immutable` is set")
            )
    if resource is DEFINITIONS:
        _definition(new)


def _strings(obj: Object) -> None:
    for key, value in (obj.get("data") or {}).items():
        if not isinstance(value, str):
            raise errors.bad_request(
                f'ConfigMap in version "v1" cannot be handled as a ConfigMap: json: cannot unmarshal '
                f"{type(value).__name__} into Go struct field ConfigMap.data.{key} of type string"
            )


def _secret(obj: Object) -> None:
    data = obj.get("data") or {}
    for key, value in (obj.pop("stringData", None) or {}).items():
        data[key] = base64.b64encode(value.encode()).decode()
    for value in data.values():
        try:
            base64.b64decode(value or "", validate=True)
        except (binascii.Error, TypeError, ValueError) as error:
            raise errors.bad_request(
                f'Secret in version "v1" cannot be handled as a Secret: illegal base64 data: {error}'
            ) from error
    if data:
        obj["data"] = data
    obj.setdefault("type", "Opaque")


def _claim(obj: Object) -> None:
    spec = obj.get("spec") or {}
    if not spec.get("accessModes"):
        raise errors.invalid(
            "PersistentVolumeClaim",
            name(obj),
            ("spec.accessModes", "Required value: at least 1 access mode is required"),
        )
    asked = (spec.get("resources") or {}).get("requests") or {}
    if "storage" not in asked:
        raise errors.invalid("PersistentVolumeClaim", name(obj), ("spec.resources[storage]", "Required value"))
    spec["volumeName"] = f"pvc-{obj['metadata']['uid']}"
    spec.setdefault("volumeMode", "Filesystem")
    obj["status"] = {"phase": "Bound", "accessModes": spec["accessModes"], "capacity": {"storage": asked["storage"]}}


def _definition(obj: Object) -> None:
    spec = obj.get("spec") or {}
    names = spec.get("names") or {}
    causes = [(f"spec.{field}", "Required value") for field in ("group", "scope", "versions") if not spec.get(field)]
    causes += [(f"spec.names.{field}", "Required value") for field in ("plural", "kind") if not names.get(field)]
    if not causes and name(obj) != f"{names['plural']}.{spec['group']}":
        causes = [("metadata.name", f'Invalid value: "{name(obj)}": must be spec.names.plural+"."+spec.group')]
    if causes:
        raise errors.invalid("CustomResourceDefinition", name(obj), *causes)
    names.setdefault("singular", names["kind"].lower())
    names.setdefault("listKind", f"{names['kind']}List")
    if not obj.get("status"):
        obj["status"] = {
            "acceptedNames": names,
            "storedVersions": [v["name"] for v in spec["versions"] if v.get("storage")],
            "conditions": [
                {"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": now()}
                for kind, reason, message in (
                    ("NamesAccepted", "NoConflicts", "no conflicts found"),
                    ("Established", "InitialNamesAccepted", "the initial names have been accepted"),
                )
            ],
        }
