"""Rules of the small kinds: ConfigMap, Secret, Lease, PriorityClass, claim, event."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

from include.devcluster.core.objects import Object
from include.devcluster.core.quantity import parse
from include.devcluster.validation import formats, scheduling
from include.devcluster.validation.rules import (
    Cause,
    Place,
    Table,
    check,
    forbidden,
    form,
    invalid,
    missing,
    named,
    not_negative,
    one_of,
    positive,
    unsupported,
)  # fmt: skip

DATA_BYTES = 1 << 20
HIGHEST_PRIORITY = 1_000_000_000
SYSTEM_PRIORITIES = {"system-node-critical": 2000001000, "system-cluster-critical": 2000000000}
_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
_KEYS = {
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
}
"""Keys that a secret of a type must have."""


def config_map(obj: Object) -> Iterator[Cause]:
    """A ConfigMap."""
    data, binary = obj.get("data") or {}, obj.get("binaryData") or {}
    for field, found in (("data", data), ("binaryData", binary)):
        for key in found:
            yield from (invalid(f"{field}[{key}]", key, wrong) for wrong in formats.config_key(key))
    for key in data:
        if key in binary:
            yield invalid(f"data[{key}]", key, "duplicate of key present in binaryData")
    size = sum(len(text.encode()) for text in data.values()) + sum(map(_decoded_size, binary.values()))
    if size > DATA_BYTES:
        yield "[]", f"Too long: may not be more than {DATA_BYTES} bytes"


def _decoded_size(text: str) -> int:
    return len(base64.b64decode(text))


def secret(obj: Object) -> Iterator[Cause]:
    """A Secret, whose type says which keys it has."""
    data, kind = obj.get("data") or {}, obj.get("type")
    for key in data:
        yield from (invalid(f"data[{key}]", key, wrong) for wrong in formats.config_key(key))
    if sum(map(_decoded_size, data.values())) > DATA_BYTES:
        yield "data", f"Too long: may not be more than {DATA_BYTES} bytes"
    for key in _KEYS.get(str(kind), ()):
        if key not in data or (kind == "kubernetes.io/ssh-auth" and not data[key]):
            yield missing(f"data[{key}]")
        elif key.startswith(".docker"):
            yield from _json(data[key], f"data[{key}]")
    if kind == "kubernetes.io/basic-auth" and not {"username", "password"} & data.keys():
        yield missing("data[username]")
        yield missing("data[password]")
    account = "kubernetes.io/service-account.name"
    if kind == "kubernetes.io/service-account-token" and not (obj["metadata"].get("annotations") or {}).get(account):
        yield missing(f"metadata.annotations[{account}]")


def _json(text: str, path: str) -> Iterator[Cause]:
    content = base64.b64decode(text).decode(errors="replace")
    try:
        json.loads(content)
    except ValueError:
        wrong = (
            f"invalid character '{content[0]}' looking for beginning of value"
            if content
            else "unexpected end of JSON input"
        )
        yield invalid(path, "<secret contents redacted>", wrong)


def _claim(spec: Any, at: Place) -> Iterator[Cause]:  # noqa: C901
    modes = spec.get("accessModes") or []
    where = at.child("accessModes")
    if not modes:
        yield missing(where, "at least 1 access mode is required")
    for mode in modes:
        if mode not in _MODES:
            yield unsupported(where, mode, _MODES)
    if "ReadWriteOncePod" in modes and len(modes) > 1:
        yield forbidden(where, "may not use ReadWriteOncePod with other access modes")
    asked = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if asked is None:
        yield missing(at.child("resources[storage]"))
    elif parse(asked) <= 0:
        yield invalid(at.child("resources[storage]"), asked, "must be greater than zero")
    for field in ("dataSource", "dataSourceRef"):
        if (source := spec.get(field)) is not None:
            for part in ("name", "kind"):
                if not source.get(part):
                    yield missing(at.child(f"{field}.{part}"))


CLAIM: Table = {
    **scheduling.TABLE,
    "PersistentVolumeClaimSpec": {
        "": [_claim],
        "volumeMode": [one_of("Block", "Filesystem")],
        "storageClassName": [form(formats.dns_subdomain)],
    },
}
LEASE: Table = {
    "LeaseSpec": {"leaseDurationSeconds": [positive], "leaseTransitions": [not_negative]},
}


def claim(obj: Object) -> Iterator[Cause]:
    """A PersistentVolumeClaim."""
    yield from check(obj, "PersistentVolumeClaim", CLAIM)


def lease(obj: Object) -> Iterator[Cause]:
    """A Lease."""
    yield from check(obj, "Lease", LEASE)
    spec = obj.get("spec") or {}
    if "preferredHolder" in spec and not spec.get("strategy"):
        yield forbidden("spec.preferredHolder", "may only be specified if `strategy` is defined")


def priority_class(obj: Object) -> Iterator[Cause]:
    """A PriorityClass."""
    name, value = obj["metadata"]["name"], obj.get("value") or 0
    if name.startswith("system-"):
        if SYSTEM_PRIORITIES.get(name) != value:
            yield forbidden(
                "metadata.name",
                "priority class names with 'system-' prefix are reserved for system use only. error: "
                f"{name} is not a known system priority class",
            )
    elif value > HIGHEST_PRIORITY:
        yield forbidden("value", f"maximum allowed value of a user defined priority is {HIGHEST_PRIORITY}")
    policy, known = obj.get("preemptionPolicy"), ("PreemptLowerPriority", "Never")
    if policy and policy not in known:
        yield unsupported("preemptionPolicy", policy, known)


def event(obj: Object) -> Iterator[Cause]:
    """An event, old style or (with eventTime) new."""
    about = obj.get("involvedObject") or {}
    if (about.get("namespace") or "") != (obj["metadata"].get("namespace") or "") and about.get("namespace", "") != "":
        yield invalid("involvedObject.namespace", about.get("namespace") or "", "does not match event.namespace")
    elif not about.get("namespace") and obj["metadata"].get("namespace") != "default":
        yield invalid("involvedObject.namespace", "", "does not match event.namespace")
    if obj.get("eventTime"):
        where = Place("reportingComponent")
        if not obj.get("reportingComponent"):
            yield missing(where.path)
        yield from named(formats.qualified_name)(obj.get("reportingComponent"), where)
        for field in ("reportingInstance", "action"):
            if not obj.get(field):
                yield missing(field)


BY_KIND: dict[str, Callable[[Object], Iterator[Cause]]] = {
    "ConfigMap": config_map, "Secret": secret, "PersistentVolumeClaim": claim, "Lease": lease,
    "PriorityClass": priority_class, "Event": event,
}  # fmt: skip


def _tls_warnings(obj: Object) -> Iterator[str]:
    data = obj.get("data") or {}
    key = data.get("tls.key") if obj.get("type") == "kubernetes.io/tls" else None
    if key and b"-----BEGIN" not in base64.b64decode(key):
        yield "tls: failed to find any PEM data in key input"


def _claim_warnings(obj: Object) -> Iterator[str]:
    for name, text in ((obj["spec"].get("resources") or {}).get("requests") or {}).items():
        if parse(text) % 1:
            yield f'spec.resources.requests[{name}]: fractional byte value "{text}" is invalid, must be an integer'


WARNINGS: dict[str, Callable[[Object], Iterator[str]]] = {
    "Secret": _tls_warnings,
    "PersistentVolumeClaim": _claim_warnings,
}
