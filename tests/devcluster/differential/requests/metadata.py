"""What every object has: names, labels, annotations, owners, finalizers, versions."""

from __future__ import annotations

from typing import Any

from tests.devcluster.differential.case import APPLY, JSON, Cases, Request, delete, get, post, put

OWNER = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "1"}


def _map(name: Any, /, **meta: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **meta}}


META: dict[str, dict[str, Any]] = {
    "labels": {"labels": {"app.kubernetes.io/name": "shop", "empty": "", "Upper": "A_b.c-9"}},
    "label-space": {"labels": {"a": "b c"}},
    "label-number": {"labels": {"a": 1}},
    "label-bool": {"labels": {"a": True}},
    "label-null": {"labels": {"a": None}},
    "label-long": {"labels": {"a": "b" * 64}},
    "label-dash": {"labels": {"a": "-b"}},
    "label-key-space": {"labels": {"a b": "c"}},
    "label-key-empty": {"labels": {"": "c"}},
    "label-key-long": {"labels": {"a" * 64: "c"}},
    "label-key-two-slashes": {"labels": {"a/b/c": "d"}},
    "label-key-prefix": {"labels": {"A_b/c": "d"}},
    "label-key-no-prefix": {"labels": {"/c": "d"}},
    "label-key-no-name": {"labels": {"a/": "d"}},
    "labels-list": {"labels": ["a"]},
    "labels-empty": {"labels": {}},
    "labels-null": {"labels": None},
    "annotations": {"annotations": {"a.b/c": "anything: at all\n"}},
    "annotation-number": {"annotations": {"a": 1}},
    "annotation-key": {"annotations": {"a b": "1"}},
    "annotation-large": {"annotations": {"a": "x" * 300_000}},
    "finalizer": {"finalizers": ["podium.test/wait"]},
    "finalizer-plain": {"finalizers": ["wait"]},
    "finalizer-bad": {"finalizers": ["a b"]},
    "finalizer-orphan-and-foreground": {"finalizers": ["orphan", "foregroundDeletion"]},
    "finalizers-empty": {"finalizers": []},
    "owner": {"ownerReferences": [OWNER]},
    "owner-no-uid": {"ownerReferences": [{**OWNER, "uid": ""}]},
    "owner-no-name": {"ownerReferences": [{**OWNER, "name": ""}]},
    "owner-no-kind": {"ownerReferences": [{"apiVersion": "v1", "name": "x", "uid": "1"}]},
    "owner-no-version": {"ownerReferences": [{"kind": "Pod", "name": "x", "uid": "1"}]},
    "owner-two-controllers": {
        "ownerReferences": [{**OWNER, "controller": True}, {**OWNER, "uid": "2", "controller": True}]
    },
    "owner-event": {"ownerReferences": [{**OWNER, "kind": "Event"}]},
    "owner-controller-text": {"ownerReferences": [{**OWNER, "controller": "yes"}]},
    "resource-version": {"resourceVersion": "17"},
    "resource-version-zero": {"resourceVersion": "0"},
    "resource-version-text": {"resourceVersion": "v1"},
    "resource-version-number": {"resourceVersion": 17},
    "uid": {"uid": "mine"},
    "generation": {"generation": 7},
    "created": {"creationTimestamp": "2020-01-01T00:00:00Z"},
    "created-null": {"creationTimestamp": None},
    "created-text": {"creationTimestamp": "yesterday"},
    "deleted": {"deletionTimestamp": "2020-01-01T00:00:00Z", "deletionGracePeriodSeconds": 5},
    "self-link": {"selfLink": "/api/v1/x"},
    "managed-fields": {
        "managedFields": [
            {
                "manager": "x",
                "operation": "Update",
                "apiVersion": "v1",
                "fieldsType": "FieldsV1",
                "fieldsV1": {"f:data": {}},
            }
        ]
    },
    "managed-fields-bad": {"managedFields": [{"manager": "x", "operation": "Steal", "apiVersion": "v1"}]},
    "other-namespace": {"namespace": "default"},
    "empty-namespace": {"namespace": ""},
}

NAMES: dict[str, Any] = {
    "name-upper": "Upper",
    "name-underscore": "a_b",
    "name-dotted": "a.b-c.9",
    "name-dots": "a..b",
    "name-dash": "-a",
    "name-space": "a b",
    "name-slash": "a/b",
    "name-empty": "",
    "name-null": None,
    "name-number": 1,
    "name-long": "a" * 254,
    "name-253": "a" * 253,
    "name-utf8": "ä",
}

_GOOD = _map("good")
_PATH = "configmaps"

CASES: Cases = {case: [post(_PATH, _map(case, **meta))] for case, meta in META.items()}
CASES |= {case: [post(_PATH, _map(name))] for case, name in NAMES.items()}
CASES |= {
    "no-metadata": [post(_PATH, {"data": {}})],
    "metadata-null": [post(_PATH, {"metadata": None})],
    "metadata-text": [post(_PATH, {"metadata": "x"})],
    "generated": [post(_PATH, {"metadata": {"generateName": "made-"}})],
    "generated-dot": [post(_PATH, {"metadata": {"generateName": "made."}})],
    "generated-bad": [post(_PATH, {"metadata": {"generateName": "Made_"}})],
    "generated-long": [post(_PATH, {"metadata": {"generateName": "a" * 300}})],
    "name-and-generated": [post(_PATH, {"metadata": {"name": "both", "generateName": "x-"}})],
    "twice": [post(_PATH, _map("twice")), post(_PATH, _map("twice"))],
    "generated-twice-is-two": [
        post(_PATH, {"metadata": {"generateName": "g-"}}),
        post(_PATH, {"metadata": {"generateName": "g-"}}),
    ],
    # ---- kinds and versions
    "no-kind": [post(_PATH, {"metadata": {"name": "no-kind"}})],
    "kind-other": [post(_PATH, {**_map("kind-other"), "kind": "Secret"})],
    "kind-unknown": [post(_PATH, {**_map("kind-unknown"), "kind": "Thing"})],
    "kind-list": [post(_PATH, {"apiVersion": "v1", "kind": "ConfigMapList", "items": []})],
    "version-other": [post(_PATH, {**_map("version-other"), "apiVersion": "v2"})],
    "version-group": [post(_PATH, {**_map("version-group"), "apiVersion": "apps/v1"})],
    "version-bad": [post(_PATH, {**_map("version-bad"), "apiVersion": "a/b/c"})],
    "version-number": [post(_PATH, {**_map("version-number"), "apiVersion": 1})],
    # ---- bodies
    "body-none": [Request("POST", _PATH)],
    "body-broken": [Request("POST", _PATH, b"{")],
    "body-list": [Request("POST", _PATH, [])],
    "body-text": [Request("POST", _PATH, "text")],
    "body-null": [Request("POST", _PATH, b"null")],
    "body-number": [Request("POST", _PATH, b"7")],
    "body-yaml": [
        Request("POST", _PATH, b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: body-yaml}\n", "application/yaml")
    ],
    "body-yaml-as-json": [Request("POST", _PATH, b"apiVersion: v1\nkind: ConfigMap\n", JSON)],
    "body-plain": [Request("POST", _PATH, b"{}", "text/plain")],
    "body-apply": [Request("POST", _PATH, b"{}", APPLY)],
    "body-protobuf-broken": [Request("POST", _PATH, b"k8s", "application/vnd.kubernetes.protobuf")],
    # ---- where
    "namespace-unknown": [post("/api/v1/namespaces/{ns}-not-there/configmaps", _map("x"))],
    "namespace-unknown-get": [get("/api/v1/namespaces/{ns}-not-there/configmaps/x")],
    "namespace-unknown-list": [get("/api/v1/namespaces/{ns}-not-there/configmaps")],
    "all-namespaces-post": [post("/api/v1/configmaps", _map("x"))],
    "not-there": [get("configmaps/x-none"), put("configmaps/x-none", _map("x-none")), delete("configmaps/x-none")],
    "resource-unknown": [get("things"), post("things", {}), get("things/x"), delete("things/x")],
    "group-unknown": [get("/apis/nobody.test/v1/things"), get("/apis/nobody.test/v1"), get("/apis/nobody.test")],
    "version-unknown": [get("/api/v2/pods"), get("/apis/coordination.k8s.io/v9/leases")],
    "verb-unknown": [Request("PUT", _PATH, _GOOD), Request("PATCH", _PATH, {}), Request("POST", "configmaps/x", _GOOD)],
    "accept-unknown": [
        Request("GET", _PATH, accept="image/png"),
        Request("GET", _PATH + "/twice", accept="application/xml, */*"),
    ],
    # ---- dry runs
    "dry-run": [post(_PATH + "?dryRun=All", _map("dry-run")), get("configmaps/dry-run")],
    "dry-run-some": [post(_PATH + "?dryRun=Some", _map("dry-run-some"))],
    "dry-run-empty": [post(_PATH + "?dryRun=", _map("dry-run-empty")), get("configmaps/dry-run-empty")],
    "dry-run-bad-object": [post(_PATH + "?dryRun=All", _map("Bad"))],
    "field-manager": [post(_PATH + "?fieldManager=me", _map("field-manager"))],
    "field-manager-long": [post(_PATH + "?fieldManager=" + "m" * 129, _map("field-manager-long"))],
    "pretty": [get("configmaps/none-pretty?pretty=true")],
}
