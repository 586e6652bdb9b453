"""Leases, priority classes, claims, service accounts, namespaces, events, definitions and their objects."""

from __future__ import annotations

from typing import Any

from tests.devcluster.differential.case import (
    APPLY,
    MERGE,
    STRATEGIC,
    Cases,
    Request,
    apply,
    delete,
    get,
    patch,
    post,
    put,
)

LEASES = "/apis/coordination.k8s.io/v1/namespaces/{ns}/leases"
CLASSES = "/apis/scheduling.k8s.io/v1/priorityclasses"
CLAIMS, ACCOUNTS, EVENTS = "persistentvolumeclaims", "serviceaccounts", "events"


def _lease(name: str, /, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": spec}


def _class(name: str, /, **fields: Any) -> dict[str, Any]:
    return {"metadata": {"name": f"{{ns}}-{name}"}, **fields}


def _claim(name: str, /, **spec: Any) -> dict[str, Any]:
    body = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": "none"}
    return {"metadata": {"name": name}, "spec": {**body, **spec}}


def _event(name: str, /, **fields: Any) -> dict[str, Any]:
    about = {"kind": "Pod", "namespace": "{ns}", "name": "p"}
    return {
        "metadata": {"name": name},
        "involvedObject": about,
        "reason": "Tried",
        "message": "m",
        "type": "Normal",
        **fields,
    }


CASES: Cases = {}
name: str
spec: dict[str, Any]
fields: dict[str, Any]
for name, spec in {
    "lease": {"holderIdentity": "me", "leaseDurationSeconds": 15, "renewTime": "2026-01-01T00:00:00.123456Z"},
    "lease-empty": {},
    "lease-zero": {"leaseDurationSeconds": 0},
    "lease-negative": {"leaseDurationSeconds": -1},
    "lease-text": {"leaseDurationSeconds": "15"},
    "lease-transitions": {"leaseTransitions": -1},
    "lease-time": {"renewTime": "now"},
    "lease-time-seconds": {"renewTime": "2026-01-01T00:00:00Z"},
    "lease-time-nanos": {"renewTime": "2026-01-01T00:00:00.123456789Z"},
    "lease-holder-empty": {"holderIdentity": ""},
    "lease-strategy": {"strategy": "Mine"},
}.items():
    CASES[name] = [post(LEASES, _lease(name, **spec))]
for name, spec in {
    "class": {"value": 5},
    "class-none": {},
    "class-null": {"value": None},
    "class-text": {"value": "5"},
    "class-float": {"value": 1.5},
    "class-huge": {"value": 1000000001},
    "class-overflow": {"value": 99999999999},
    "class-preemption": {"value": 1, "preemptionPolicy": "Maybe"},
    "class-never": {"value": -1, "preemptionPolicy": "Never", "description": "d", "globalDefault": False},
}.items():
    CASES[name] = [post(CLASSES, _class(name, **spec)), delete(f"{CLASSES}/{{ns}}-{name}")]
for name, spec in {
    "claim": {},
    "claim-modes-none": {"accessModes": []},
    "claim-modes-null": {"accessModes": None},
    "claim-mode-unknown": {"accessModes": ["Often"]},
    "claim-mode-pod-and-other": {"accessModes": ["ReadWriteOncePod", "ReadWriteOnce"]},
    "claim-no-storage": {"resources": {}},
    "claim-storage-zero": {"resources": {"requests": {"storage": "0"}}},
    "claim-storage-negative": {"resources": {"requests": {"storage": "-1Gi"}}},
    "claim-storage-float": {"resources": {"requests": {"storage": 0.5}}},
    "claim-storage-mi": {"resources": {"requests": {"storage": "2048Mi"}}},
    "claim-storage-bad": {"resources": {"requests": {"storage": "1GB"}}},
    "claim-volume-mode": {"volumeMode": "Tape"},
    "claim-class-bad": {"storageClassName": "A b"},
    "claim-selector": {"selector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}},
    "claim-source": {"dataSource": {"kind": "PersistentVolumeClaim", "name": ""}},
}.items():
    CASES[name] = [post(CLAIMS, _claim(name, **spec))]
for name, fields in {
    "account": {},
    "account-secrets": {"secrets": [{"name": "s"}], "imagePullSecrets": [{"name": "p"}]},
    "account-no-token": {"automountServiceAccountToken": False},
    "account-secrets-text": {"secrets": ["s"]},
    "account-token-text": {"automountServiceAccountToken": "no"},
}.items():
    CASES[name] = [post(ACCOUNTS, {"metadata": {"name": name}, **fields})]
for name, fields in {
    "event": {"firstTimestamp": "2026-01-01T00:00:00Z", "count": 2, "source": {"component": "c"}},
    "event-no-object": {"involvedObject": {}},
    "event-other-namespace": {"involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"}},
    "event-type": {"type": "Bad"},
    "event-new-style": {
        "eventTime": "2026-01-01T00:00:00.000001Z",
        "reportingComponent": "podium.test/c",
        "reportingInstance": "i",
        "action": "Try",
    },
    "event-new-style-bad": {"eventTime": "2026-01-01T00:00:00.000001Z"},
}.items():
    CASES[name] = [post(EVENTS, _event(name, **fields))]

CASES |= {
    "lease-life": [
        post(LEASES, _lease("life", holderIdentity="a")),
        patch(f"{LEASES}/life", {"spec": {"leaseDurationSeconds": -1}}),
        patch(f"{LEASES}/life", {"spec": {"holderIdentity": "b", "leaseTransitions": 1}}),
        patch(f"{LEASES}/life", {"spec": {"leaseTransitions": 0}}),
        put(f"{LEASES}/life", _lease("life", holderIdentity="c")),
        delete(f"{LEASES}/life"),
    ],
    "class-life": [
        post(CLASSES, _class("life", value=7)),
        patch(f"{CLASSES}/{{ns}}-life", {"value": 8}),
        patch(f"{CLASSES}/{{ns}}-life", {"description": "d"}),
        patch(f"{CLASSES}/{{ns}}-life", {"preemptionPolicy": "Never"}),
        post(
            "pods",
            {
                "metadata": {"name": "of-class"},
                "spec": {
                    "schedulerName": "nobody",
                    "automountServiceAccountToken": False,
                    "priorityClassName": "{ns}-life",
                    "containers": [{"name": "a", "image": "b:1"}],
                },
            },
        ),
        post(
            "pods",
            {
                "metadata": {"name": "of-class-other"},
                "spec": {
                    "schedulerName": "nobody",
                    "automountServiceAccountToken": False,
                    "priorityClassName": "{ns}-life",
                    "priority": 9,
                    "containers": [{"name": "a", "image": "b:1"}],
                },
            },
        ),
        delete(f"{CLASSES}/{{ns}}-life"),
    ],
    "class-system-name": [post(CLASSES, {"metadata": {"name": "system-{ns}"}, "value": 1})],
    "class-system": [
        get(f"{CLASSES}/system-node-critical"),
        get(f"{CLASSES}/system-cluster-critical"),
        delete(f"{CLASSES}/system-node-critical?dryRun=All"),
    ],
    "claim-life": [
        post(CLAIMS, _claim("life")),
        patch(f"{CLAIMS}/life", {"spec": {"accessModes": ["ReadWriteMany"]}}),
        patch(f"{CLAIMS}/life", {"metadata": {"labels": {"a": "b"}}}),
        patch(f"{CLAIMS}/life", {"spec": {"storageClassName": "other"}}),
        delete(f"{CLAIMS}/life?dryRun=All"),
        delete(f"{CLAIMS}/life"),
    ],
    "account-life": [
        post(ACCOUNTS, {"metadata": {"name": "life"}}),
        patch(f"{ACCOUNTS}/life", {"imagePullSecrets": [{"name": "p"}]}, STRATEGIC),
        patch(f"{ACCOUNTS}/life", {"imagePullSecrets": [{"name": "q"}]}, STRATEGIC),
        delete(f"{ACCOUNTS}/life"),
    ],
    "account-default": [get(f"{ACCOUNTS}/default")],
    "namespace": [
        post("/api/v1/namespaces", {"metadata": {"name": "{ns}-more", "labels": {"a": "b"}}}),
        post("/api/v1/namespaces", {"metadata": {"name": "{ns}-more"}}),
        get("/api/v1/namespaces/{ns}-more"),
        patch("/api/v1/namespaces/{ns}-more", {"metadata": {"labels": {"kubernetes.io/metadata.name": "x", "c": "d"}}}),
        patch("/api/v1/namespaces/{ns}-more", {"spec": {"finalizers": []}}),
        delete("/api/v1/namespaces/{ns}-more?dryRun=All"),
        delete("/api/v1/namespaces/{ns}-more"),
    ],
    "namespace-name": [
        post("/api/v1/namespaces", {"metadata": {"name": "a.b"}}),
        post("/api/v1/namespaces", {"metadata": {"name": "A"}}),
        post("/api/v1/namespaces", {"metadata": {"name": "a" * 64}}),
        post("/api/v1/namespaces", {"metadata": {}}),
    ],
    "namespace-kept": [
        delete("/api/v1/namespaces/default?dryRun=All"),
        delete("/api/v1/namespaces/kube-system?dryRun=All"),
        delete("/api/v1/namespaces/kube-public?dryRun=All"),
    ],
    "namespaces-no-collection": [delete("/api/v1/namespaces?labelSelector=no%3Dbody")],
}

_DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_GROUP = "{ns}.podium.test"
_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "required": ["size"],
            "properties": {
                "size": {"type": "integer", "minimum": 0, "maximum": 9},
                "colour": {"type": "string", "enum": ["red", "blue"]},
                "name": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 5},
                "mode": {"type": "string", "default": "plain"},
                "amount": {"x-kubernetes-int-or-string": True},
                "tags": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
                "parts": {
                    "type": "array",
                    "maxItems": 3,
                    "items": {
                        "type": "object",
                        "required": ["id"],
                        "properties": {"id": {"type": "string"}, "n": {"type": "integer"}},
                    },
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["id"],
                },
                "rows": {"type": "array", "items": {"type": "object", "properties": {"id": {"type": "string"}}}},
                "atom": {
                    "type": "object",
                    "additionalProperties": {"type": "string"},
                    "x-kubernetes-map-type": "atomic",
                },
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                "maybe": {"type": "string", "nullable": True},
            },
        },
        "status": {"type": "object", "properties": {"state": {"type": "string"}}},
    },
}


def _definition(plural: str = "widgets", /, **spec: Any) -> dict[str, Any]:
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": _SCHEMA},
        "subresources": {"status": {}},
        "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}],
    }
    body = {
        "group": _GROUP,
        "scope": "Namespaced",
        "names": {"plural": plural, "kind": "Widget"},
        "versions": [version],
    }
    return {"metadata": {"name": f"{plural}.{_GROUP}"}, "spec": {**body, **spec}}


WIDGETS = f"/apis/{_GROUP}/v1/namespaces/{{ns}}/widgets"


def _widget(name: str, /, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": f"{_GROUP}/v1", "kind": "Widget", "metadata": {"name": name}, "spec": {"size": 1, **spec}}


_WIDGETS: dict[str, dict[str, Any]] = {
    "good": {"colour": "red", "tags": ["a"], "parts": [{"id": "a"}], "amount": "50%", "free": {"x": {"y": 1}}},
    "no-size": {"size": None},
    "text": {"size": "1"},
    "float": {"size": 1.5},
    "low": {"size": -1},
    "high": {"size": 10},
    "enum": {"colour": "green"},
    "pattern": {"name": "A1"},
    "long": {"name": "abcdefg"},
    "tags-twice": {"tags": ["a", "a"]},
    "parts-twice": {"parts": [{"id": "a"}, {"id": "a"}]},
    "parts-no-id": {"parts": [{"n": 1}]},
    "parts-many": {"parts": [{"id": "a"}, {"id": "b"}, {"id": "c"}, {"id": "d"}]},
    "unknown": {"more": 1, "parts": [{"id": "a", "z": 1}]},
    "null": {"mode": None, "maybe": None, "colour": None},
    "amount": {"amount": 1.5},
    "amount-object": {"amount": {}},
    "list": {"parts": {"id": "a"}},
}
CASES |= {
    "definition": [
        post(_DEFINITIONS, _definition()),
        # by now it is served
        *[post(WIDGETS, _widget(name, **spec)) for name, spec in _WIDGETS.items()],
        post(WIDGETS + "?fieldValidation=Strict", _widget("unknown-strict", more=1)),
        post(WIDGETS + "?fieldValidation=Warn", _widget("unknown-warn", more=1)),
        get(f"{WIDGETS}/good"),
        put(f"{WIDGETS}/good", _widget("good")),
        patch(f"{WIDGETS}/good", {"spec": {"size": 2}}),
        patch(f"{WIDGETS}/good", {"spec": {"size": 20}}),
        patch(f"{WIDGETS}/good", {"spec": {"size": 3}}, STRATEGIC),
        patch(f"{WIDGETS}/good/status", {"status": {"state": "done"}, "spec": {"size": 4}}),
        patch(f"{WIDGETS}/good/status", {"status": {"state": 1}}),
        patch(f"{WIDGETS}/good", {"status": {"state": "other"}}),
        get(f"{WIDGETS}/good/status"),
        # server-side apply by the schema of the definition
        apply(
            f"{WIDGETS}/applied",
            _widget("applied", parts=[{"id": "a", "n": 1}], tags=["x"], rows=[{"id": "1"}], atom={"a": "1"}),
        ),
        apply(f"{WIDGETS}/applied", _widget("applied", parts=[{"id": "b", "n": 2}], tags=["y"]), "two"),
        apply(f"{WIDGETS}/applied", _widget("applied", rows=[{"id": "2"}]), "two"),
        apply(f"{WIDGETS}/applied", _widget("applied", atom={"b": "2"}), "two"),
        apply(f"{WIDGETS}/applied", _widget("applied", rows=[{"id": "2"}], atom={"b": "2"}), "two", force="true"),
        apply(f"{WIDGETS}/applied", _widget("applied", parts=[{"id": "a"}])),
        apply(f"{WIDGETS}/applied", {**_widget("applied"), "spec": {}}),
        apply(f"{WIDGETS}/grows", {**_widget("grows"), "spec": {"size": 1, "free": {}}}),
        apply(f"{WIDGETS}/grows", {**_widget("grows"), "spec": {"size": 1, "free": {"duration": "1m"}}}),
        apply(
            f"{WIDGETS}/grows", {**_widget("grows"), "spec": {"size": 1, "free": {"duration": "2m", "list": [1, 2]}}}
        ),
        apply(f"{WIDGETS}/grows", {**_widget("grows"), "spec": {"size": 1}}),
        Request("PATCH", f"{WIDGETS}/wrong?fieldManager=one", _widget("wrong", size="x"), APPLY),
        delete(f"{WIDGETS}/good"),
        delete(f"{_DEFINITIONS}/widgets.{_GROUP}"),
    ],
    "definition-bad": [
        post(_DEFINITIONS, {**_definition("things"), "metadata": {"name": "other"}}),
        post(_DEFINITIONS, _definition("things", group="")),
        post(_DEFINITIONS, _definition("things", scope="Everywhere")),
        post(_DEFINITIONS, _definition("things", versions=[])),
        post(_DEFINITIONS, _definition("things", names={"plural": "things"})),
        post(_DEFINITIONS, _definition("things", versions=[{"name": "v1", "served": True, "storage": True}])),
    ],
    "empty-spec-grows": [
        post(
            _DEFINITIONS,
            _definition(
                "loose",
                names={"plural": "loose", "kind": "Loose"},
                versions=[
                    {
                        "name": "v1",
                        "served": True,
                        "storage": True,
                        "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
                    }
                ],
            ),
        ),
        *[
            apply(
                f"/apis/{_GROUP}/v1/namespaces/{{ns}}/loose/l",
                {"apiVersion": f"{_GROUP}/v1", "kind": "Loose", "metadata": {"name": "l"}, "spec": spec},
            )
            for spec in ({}, {"duration": "1m"}, {"duration": "1m", "list": [{"a": 1}]}, {"list": []}, {})
        ],
        patch(f"/apis/{_GROUP}/v1/namespaces/{{ns}}/loose/l", {"spec": {"x": None, "y": {"z": None, "w": 1}}}, MERGE),
        delete(f"{_DEFINITIONS}/loose.{_GROUP}"),
    ],
}
