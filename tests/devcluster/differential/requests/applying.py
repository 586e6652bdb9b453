"""Server-side apply: who owns what, and what becomes of it."""

from __future__ import annotations

from typing import Any

from tests.devcluster.differential.case import (
    APPLY,
    MERGE,
    STRATEGIC,
    Cases,
    Request,
    apply,
    get,
    patch,
    pod,
    post,
    put,
)


def _map(name: str, /, **more: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **more.pop("metadata", {})}, **more}


def _data(name: str, *steps: Any) -> list[Request]:
    """Data that managers apply one after the other: `data`, or `(manager, data)`, or `(manager, data, "force")`."""
    made = []
    for step in steps:
        manager, data, *force = step if isinstance(step, tuple) else ("one", step)
        body = _map(name) if data is Ellipsis else _map(name, data=data)
        made.append(apply(f"configmaps/{name}", body, manager, **({"force": "true"} if force else {})))
    return made


def _pod(name: str, *steps: Any) -> list[Request]:
    """The same for fields of the pod's spec."""
    made = []
    for manager, spec, *force in steps:
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
        made.append(apply(f"pods/{name}", body, manager, **({"force": "true"} if force else {})))
    return made


_SPEC = pod("x")["spec"]


def _main(**container: Any) -> dict[str, Any]:
    return {"containers": [{"name": "main", "image": "busybox:1.36", **container}]}


CASES: Cases = {
    "data": _data("data", {"a": "1"}, {"a": "2", "b": "1"}, {"b": "1"}, {"b": "1"}, {}, ...),
    "empty-then-key": _data("empty-then-key", {}, {"key1": "new"}, {"key1": "new", "key2": "x"}, {}, {"key1": "again"}),
    "none-then-key": _data("none-then-key", ..., {"a": "1"}, ..., {"a": "1"}),
    "null-data": _data("null-data", {"a": "1"}, None, {"a": None}, {"a": "", "b": "1"}, {"b": None}),
    "two-managers": _data("two-managers", {"a": "1"}, ("two", {"b": "2"}), ("one", {}), ("two", ...)),
    "shared": _data("shared", {"a": "1"}, ("two", {"a": "1"}), ("one", {}), ("two", {"a": "2"}), ("one", {"a": "2"})),
    "conflict": _data(
        "conflict",
        {"a": "1", "b": "1"},
        ("two", {"a": "2", "b": "2", "c": "3"}),
        ("two", {"a": "2"}, "force"),
        {"a": "1"},
        {"b": "1"},
    ),
    "conflict-with-update": [
        post("configmaps?fieldManager=creator", _map("cwu", data={"a": "1"})),
        *_data("cwu", {"a": "2"}, {"a": "1"}, ("one", {"a": "2"}, "force")),
        patch("configmaps/cwu?fieldManager=creator", {"data": {"a": "3"}}),
        *_data("cwu", {"a": "2"}),
        put("configmaps/cwu?fieldManager=putter", _map("cwu", data={"z": "1"})),
        *_data("cwu", {"z": "1"}, {}),
    ],
    "update-then-apply-less": [
        *_data("utal", {"a": "1", "b": "2"}),
        patch("configmaps/utal?fieldManager=x", {"data": {"a": None}}),
        *_data("utal", {"b": "2"}),
        patch("configmaps/utal?fieldManager=x", {"data": None}),
        get("configmaps/utal"),
        *_data("utal", {"b": "2"}),
    ],
    "metadata": [
        apply(
            "configmaps/meta",
            _map("meta", metadata={"labels": {"a": "1"}, "annotations": {"b": "2"}, "finalizers": ["podium.test/a"]}),
        ),
        apply("configmaps/meta", _map("meta", metadata={"labels": {"c": "1"}, "finalizers": ["podium.test/b"]}), "two"),
        apply("configmaps/meta", _map("meta", metadata={"labels": {"a": "1"}})),
        apply("configmaps/meta", _map("meta"), "two"),
        apply("configmaps/meta", _map("meta", metadata={"labels": {"bad one": "1"}}), "two"),
    ],
    "pod": _pod(
        "pod",
        (
            "one",
            {
                **_SPEC,
                "containers": [
                    {
                        "name": "main",
                        "image": "busybox:1.36",
                        "env": [{"name": "A", "value": "1"}],
                        "ports": [{"containerPort": 80}],
                        "resources": {"requests": {"cpu": "1000m"}},
                    }
                ],
            },
        ),
        ("two", _main(image="busybox:1.37")),
        ("two", _main(image="busybox:1.37"), "force"),
        ("one", _SPEC),
        ("two", {"activeDeadlineSeconds": 50}),
        ("two", {"tolerations": [{"key": "a", "operator": "Exists"}]}),
        ("two", {"nodeSelector": {}}),
    ),
    "pod-lists": _pod(
        "pod-lists",
        (
            "one",
            {
                **_SPEC,
                "containers": [{"name": "main", "image": "x:1", "args": ["a"]}, {"name": "side", "image": "y:1"}],
                "volumes": [{"name": "v"}],
            },
        ),
        ("two", {"containers": [{"name": "side", "image": "y:1"}]}),
        ("two", {"containers": [{"image": "y:1"}]}),
        ("two", {"containers": [{"name": "side"}, {"name": "side"}]}),
        ("two", {"containers": {}}),
    ),
    "ports": [
        apply(
            "services/ports",
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": "ports"},
                "spec": {"ports": [{"port": 80, "name": "a"}], "selector": {"a": "b"}},
            },
        ),
        apply(
            "services/ports",
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": "ports"},
                "spec": {"ports": [{"port": 81, "name": "b"}]},
            },
            "two",
        ),
        apply(
            "services/ports",
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": "ports"},
                "spec": {"ports": [{"port": 80, "protocol": "UDP", "name": "c"}]},
            },
            "three",
        ),
        apply(
            "services/ports",
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": "ports"},
                "spec": {"ports": [{"port": 80, "name": "a"}]},
            },
        ),
        apply(
            "services/ports",
            {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "ports"}, "spec": {"selector": {"c": "d"}}},
            "four",
        ),
        apply("services/ports", {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "ports"}}, "two"),
        patch("services/ports", {"spec": {"ports": [{"port": 80, "protocol": "TCP", "targetPort": 9}]}}, STRATEGIC),
    ],
    "secret": [
        apply("secrets/s", {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"a": "1"}}),
        apply("secrets/s", {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"a": "2"}}),
        apply("secrets/s", {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"b": "MQ=="}}),
        apply("secrets/s", {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"b": "!"}}),
    ],
    "status": [
        post("pods", pod("st")),
        apply(
            "pods/st/status",
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": "st"},
                "status": {"message": "m", "conditions": [{"type": "a.b/c", "status": "True"}]},
            },
        ),
        apply(
            "pods/st/status",
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": "st"},
                "status": {"conditions": [{"type": "a.b/d", "status": "True"}]},
            },
            "two",
        ),
        apply("pods/st/status", {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "st"}, "status": {}}),
        get("pods/st"),
    ],
    "refused": [
        Request("PATCH", "configmaps/none", _map("none"), APPLY),
        apply("configmaps/none", {"metadata": {"name": "none"}}),
        apply("configmaps/none", {"kind": "ConfigMap", "metadata": {"name": "none"}}),
        apply("configmaps/none", {**_map("none"), "apiVersion": "v9"}),
        apply("configmaps/none", {**_map("none"), "kind": "Secret"}),
        apply("configmaps/none", _map("other")),
        apply("configmaps/none", {"apiVersion": "v1", "kind": "ConfigMap"}),
        apply("configmaps/none", _map("none", metadata={"managedFields": []})),
        apply("configmaps/none", _map("none", metadata={"managedFields": [{"manager": "x"}]})),
        apply("configmaps/none", _map("none", metadata={"resourceVersion": "5"})),
        apply("configmaps/none", _map("none", metadata={"uid": "5"})),
        apply("configmaps/none", _map("none", metadata={"namespace": "default"})),
        apply("configmaps/none", _map("none", unknown={"a": 1})),
        apply("configmaps/none", _map("none", data={"a": 1})),
        apply("configmaps/none", _map("none", data=["a"])),
        apply("configmaps/none", _map("none"), force="maybe"),
        apply("configmaps/none", []),
        apply("configmaps/none", "x"),
        apply("configmaps/Bad", _map("Bad")),
        apply("configmaps/none", _map("none"), "m" * 129),
        apply("configmaps/none", _map("none"), "a%0Ab"),
    ],
    "dry-run": [apply("configmaps/dry", _map("dry", data={"a": "1"}), dryRun="All"), get("configmaps/dry")],
    "yaml": [
        Request(
            "PATCH",
            "configmaps/yaml?fieldManager=one",
            b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: yaml\ndata:\n  a: '1'\n",
            APPLY,
        )
    ],
    "version-given": [
        *_data("vg", {"a": "1"}),
        apply("configmaps/vg", _map("vg", metadata={"resourceVersion": "1"}, data={"a": "2"})),
        apply("configmaps/vg", _map("vg", metadata={"uid": "other"}, data={"a": "2"})),
    ],
    "same-again": [
        *_data("same", {"a": "1"}, {"a": "1"}),
        patch("configmaps/same?fieldManager=one", {"data": {"a": "2"}}, MERGE),
        *_data("same", {"a": "2"}),
        *_data("same", {"a": "3"}, {"a": "3"}),
    ],
}
