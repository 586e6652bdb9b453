"""What may change in an object that is there, and what an update must say."""

from __future__ import annotations

from typing import Any

from tests.devcluster.differential.case import JSON_PATCH, MERGE, STRATEGIC, Cases, get, patch, pod, post, put


def _changes(name: str, *changes: dict[str, Any], **spec: Any) -> list[Any]:
    """A pod, and strategic patches of it."""
    own = pod(name, None, **spec)
    return [post("pods", own), *(patch(f"pods/{name}", change, STRATEGIC) for change in changes), get(f"pods/{name}")]


def _main(**container: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "main", **container}]}}


CASES: Cases = {
    "pod-image": _changes("image", _main(image="busybox:1.37"), _main(image=""), _main(image=" x")),
    "pod-command": _changes("command", _main(command=["true"]), _main(env=[{"name": "A", "value": "1"}])),
    "pod-resources": _changes("resources", _main(resources={"requests": {"cpu": "1"}})),
    "pod-container": _changes("container", {"spec": {"containers": [{"name": "more", "image": "x"}]}}),
    "pod-deadline": _changes(
        "deadline",
        {"spec": {"activeDeadlineSeconds": 60}},
        {"spec": {"activeDeadlineSeconds": 30}},
        {"spec": {"activeDeadlineSeconds": 90}},
        {"spec": {"activeDeadlineSeconds": None}},
        {"spec": {"activeDeadlineSeconds": -1}},
    ),
    "pod-grace": _changes("grace", {"spec": {"terminationGracePeriodSeconds": 5}}),
    "pod-tolerations": _changes("tolerations", {"spec": {"tolerations": [{"key": "a", "operator": "Exists"}]}}),
    "pod-policy": _changes(
        "policy", {"spec": {"restartPolicy": "Never"}}, {"spec": {"nodeName": "x"}}, {"spec": {"hostNetwork": True}}
    ),
    "pod-selector": _changes("selector", {"spec": {"nodeSelector": {"a": "b"}}}),
    "pod-gates": _changes(
        "gates",
        {"spec": {"nodeSelector": {"a": "b"}}},
        {"spec": {"nodeSelector": {"a": "c"}}},
        {"spec": {"$setElementOrder/schedulingGates": [], "schedulingGates": [{"$patch": "delete", "name": "a.b/c"}]}},
        schedulingGates=[{"name": "a.b/c"}],
    ),
    "pod-labels": _changes(
        "labels",
        {"metadata": {"labels": {"a": "b"}}},
        {"metadata": {"labels": {"a": "b c"}}},
        {"metadata": {"labels": {"a": 1}}},
        {"metadata": {"labels": None}},
        {"metadata": {"annotations": {"x": "y"}}},
    ),
    "pod-status": [
        post("pods", pod("status")),
        patch("pods/status", {"status": {"phase": "Failed"}}),
        patch("pods/status/status", {"status": {"message": "m", "reason": "r"}}),
        patch(
            "pods/status/status",
            {"status": {"conditions": [{"type": "podium.test/ready", "status": "True"}]}},
            STRATEGIC,
        ),
        patch("pods/status/status", {"spec": {"restartPolicy": "Never"}, "metadata": {"labels": {"a": "b"}}}),
        patch("pods/status/status", {"status": {"phase": 1}}),
        get("pods/status/status"),
    ],
    "pod-put": [
        post("pods", pod("put")),
        put("pods/put", pod("put")),
        put("pods/put", pod("put", {"image": "busybox:1.37"})),
        put("pods/put", pod("other")),
        put("pods/put", pod("put", {"command": ["a"]}, restartPolicy="Never")),
        put("pods/put", {"metadata": {"name": "put"}}),
        get("pods/put"),
    ],
    "versions": [
        post("configmaps", {"metadata": {"name": "v"}, "data": {"a": "1"}}),
        put("configmaps/v", {"metadata": {"name": "v", "resourceVersion": "1"}, "data": {"a": "2"}}),
        put("configmaps/v", {"metadata": {"name": "v", "resourceVersion": "x"}, "data": {"a": "2"}}),
        put("configmaps/v", {"metadata": {"name": "v", "resourceVersion": "0"}, "data": {"a": "3"}}),
        put("configmaps/v", {"metadata": {"name": "v", "resourceVersion": ""}, "data": {"a": "4"}}),
        put("configmaps/v", {"metadata": {"name": "v", "uid": "other"}, "data": {"a": "5"}}),
        put("configmaps/v", {"metadata": {"name": "v", "namespace": "default"}, "data": {"a": "6"}}),
        put("configmaps/v", {"metadata": {}, "data": {"a": "7"}}),
        put("configmaps/v", {"data": {"a": "8"}}),
        put("configmaps/v", {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "v"}}),
        put("configmaps/v", {"kind": "ConfigMap", "apiVersion": "v9", "metadata": {"name": "v"}}),
        patch("configmaps/v", {"metadata": {"resourceVersion": "1"}, "data": {"a": "9"}}),
        patch("configmaps/v", {"metadata": {"uid": "other"}}),
        patch("configmaps/v", {"metadata": {"name": "w"}}),
        patch("configmaps/v", {"metadata": {"namespace": "default"}}),
        patch(
            "configmaps/v",
            {
                "metadata": {
                    "creationTimestamp": "2020-01-01T00:00:00Z",
                    "generation": 9,
                    "deletionTimestamp": "2020-01-01T00:00:00Z",
                }
            },
        ),
        patch("configmaps/v", {"apiVersion": "v9"}),
        put("configmaps/v?dryRun=All", {"metadata": {"name": "v"}, "data": {"a": "dry"}}),
        patch("configmaps/v?dryRun=All", {"data": {"a": "dry"}}),
        patch("configmaps/v?dryRun=Some", {"data": {"a": "dry"}}),
        get("configmaps/v"),
    ],
    "meta": [
        post(
            "configmaps",
            {
                "metadata": {
                    "name": "meta",
                    "labels": {"a": "b"},
                    "annotations": {"c": "d"},
                    "finalizers": ["podium.test/a"],
                }
            },
        ),
        patch("configmaps/meta", {"metadata": {"labels": {"a": None}, "annotations": None}}),
        patch("configmaps/meta", {"metadata": {"finalizers": ["podium.test/b"]}}, STRATEGIC),
        patch("configmaps/meta", {"metadata": {"finalizers": ["bad one"]}}),
        patch("configmaps/meta", {"metadata": {"ownerReferences": [{"kind": "Pod"}]}}),
        patch("configmaps/meta", {"metadata": {"managedFields": []}}),
        patch("configmaps/meta", {"metadata": {"managedFields": [{}]}}),
        patch("configmaps/meta", {"metadata": {"finalizers": None}}),
        get("configmaps/meta"),
    ],
    "put-creates-not": [put("configmaps/none", {"metadata": {"name": "none"}})],
    "patch-creates-not": [patch("configmaps/none", {"data": {}}, kind) for kind in (MERGE, STRATEGIC)]
    + [patch("configmaps/none", [], JSON_PATCH)],
}
