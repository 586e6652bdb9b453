"""JSON, merge and strategic merge patches."""

from __future__ import annotations

from typing import Any

from tests.devcluster.differential.case import (
    APPLY,
    JSON_PATCH,
    MERGE,
    STRATEGIC,
    Cases,
    Request,
    get,
    patch,
    pod,
    post,
)

_MAP = {"data": {"a": "1", "b": "2"}}


def _on_map(name: str, *changes: Any, kind: str = JSON_PATCH) -> list[Request]:
    return [
        post("configmaps", {"metadata": {"name": name}, **_MAP}),
        *(patch(f"configmaps/{name}", c, kind) for c in changes),
    ]


def _op(op: str, path: str, **more: Any) -> list[dict[str, Any]]:
    return [{"op": op, "path": path, **more}]


_RICH = pod(
    "rich",
    {
        "ports": [{"containerPort": 80, "name": "a"}, {"containerPort": 80, "protocol": "UDP", "name": "b"}],
        "env": [{"name": "A", "value": "1"}],
    },
    volumes=[{"name": "v"}, {"name": "w"}],
    metadata={"labels": {"a": "b"}, "finalizers": ["podium.test/a", "podium.test/b"]},
)

CASES: Cases = {
    "json": _on_map(
        "json",
        _op("add", "/data/c", value="3"),
        _op("replace", "/data/a", value="9"),
        _op("remove", "/data/b"),
        _op("test", "/data/a", value="9"),
        _op("copy", "/data/d", **{"from": "/data/a"}),
        _op("move", "/data/e", **{"from": "/data/d"}),
        _op("add", "/metadata/labels", value={"x": "y"}),
        _op("add", "/metadata/labels/a~1b", value="z"),
        [],
        _op("add", "/data/n", value=1),
        _op("add", "/data/n", value=None),
    ),
    "json-impossible": _on_map(
        "json-impossible",
        _op("test", "/data/a", value="x"),
        _op("remove", "/data/none"),
        _op("replace", "/data/none", value="1"),
        _op("add", "/none/deep", value="1"),
        _op("move", "/data/x", **{"from": "/data/none"}),
        _op("copy", "/data/x", **{"from": "/data/none"}),
        _op("jump", "/data/a"),
        _op("add", "data/a", value="1"),
        _op("add", "/data/a"),
        _op("remove", ""),
        _op("replace", "", value={}),
        {"op": "add"},
        [1],
        "x",
        None,
        [{"path": "/data/a"}],
        [{"op": "add"}],
        _op("test", "/data/none", value=None),
    ),
    "json-list": [
        post("pods", {**_RICH, "metadata": {"name": "json-list", "finalizers": ["podium.test/a"]}}),
        patch("pods/json-list", _op("add", "/metadata/finalizers/-", value="podium.test/b"), JSON_PATCH),
        patch("pods/json-list", _op("add", "/metadata/finalizers/0", value="podium.test/c"), JSON_PATCH),
        patch("pods/json-list", _op("remove", "/metadata/finalizers/9"), JSON_PATCH),
        patch("pods/json-list", _op("remove", "/metadata/finalizers/-1"), JSON_PATCH),
        patch("pods/json-list", _op("replace", "/spec/containers/0/image", value="x:1"), JSON_PATCH),
        patch("pods/json-list", _op("add", "/spec/containers/01/image", value="x:1"), JSON_PATCH),
        patch("pods/json-list", _op("remove", "/metadata/finalizers"), JSON_PATCH),
    ],
    "merge": _on_map(
        "merge",
        {"data": {"a": None, "c": "3"}},
        {},
        {"data": {}},
        {"data": None},
        {"data": {"x": {"y": None}}},
        {"metadata": {"labels": {"a": "b"}}},
        [],
        "x",
        None,
        7,
        kind=MERGE,
    ),
    "strategic": [
        post("pods", _RICH),
        patch("pods/rich", {"metadata": {"labels": {"c": "d"}}}, STRATEGIC),
        patch("pods/rich", {"metadata": {"labels": {"$patch": "replace", "e": "f"}}}, STRATEGIC),
        patch("pods/rich", {"metadata": {"finalizers": ["podium.test/c"]}}, STRATEGIC),
        patch("pods/rich", {"metadata": {"$deleteFromPrimitiveList/finalizers": ["podium.test/a"]}}, STRATEGIC),
        patch(
            "pods/rich",
            {
                "metadata": {
                    "$setElementOrder/finalizers": ["podium.test/c", "podium.test/b"],
                    "finalizers": ["podium.test/c"],
                }
            },
            STRATEGIC,
        ),
        patch("pods/rich", {"spec": {"containers": [{"name": "main", "image": "x:2"}]}}, STRATEGIC),
        patch("pods/rich", {"spec": {"containers": [{"image": "x:2"}]}}, STRATEGIC),
        patch("pods/rich", {"spec": {"containers": [{"name": "main", "$patch": "delete"}]}}, STRATEGIC),
        patch("pods/rich", {"spec": {"volumes": [{"name": "v", "$patch": "delete"}]}}, STRATEGIC),
        patch("pods/rich", {"spec": {"tolerations": [{"key": "x", "operator": "Exists"}]}}, STRATEGIC),
        patch("pods/rich", {"spec": {"$retainKeys": ["containers"]}}, STRATEGIC),
        patch("pods/rich", {"metadata": {"$patch": "sideways"}}, STRATEGIC),
        patch("pods/rich", {"metadata": {"labels": "x"}}, STRATEGIC),
        patch("pods/rich", {"spec": {"containers": {}}}, STRATEGIC),
        patch("pods/rich", [], STRATEGIC),
        get("pods/rich"),
    ],
    "strategic-map": _on_map(
        "strategic-map",
        {"data": {"a": None, "c": "3"}},
        {"data": {"$patch": "replace", "z": "1"}},
        {"data": None},
        {"data": {"$patch": "delete"}},
        {"$patch": "replace", "metadata": {"name": "strategic-map"}},
        kind=STRATEGIC,
    ),
    "content-types": [
        post("configmaps", {"metadata": {"name": "types"}}),
        Request("PATCH", "configmaps/types", {"data": {}}, "application/json"),
        Request("PATCH", "configmaps/types", b"data: {a: b}", "application/yaml"),
        Request("PATCH", "configmaps/types", b"", MERGE),
        Request("PATCH", "configmaps/types", b"{", MERGE),
        Request("PATCH", "configmaps/types", b"{", JSON_PATCH),
        Request("PATCH", "configmaps/types", b"{", STRATEGIC),
        Request("PATCH", "configmaps/types?fieldManager=x", b"{", APPLY),
        Request("PATCH", "configmaps/types?force=true", {"data": {}}, MERGE),
    ],
}
