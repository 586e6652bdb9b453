"""Fields that a kind does not have, and how strictly that is taken."""

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
    put,
)


def _map(name: str, /, **more: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, **more}


def _wrong(name: str) -> dict[str, Any]:
    return {**pod(name, {"imge": "x", "env": [{"name": "A", "valeu": "1"}]}, restartPolice="Never"), "extra": {"a": 1}}


_TWICE = b'{"metadata": {"name": "twice"}, "data": {"a": "1", "a": "2"}, "data": {"b": "1"}}'
_TWICE_POD = b'{"metadata": {"name": "twice-pod"}, "spec": {"schedulerName": "nobody", "containers": [{"name": "a", "image": "b", "image": "c"}]}}'

CASES: Cases = {}
for mode in ("Strict", "Warn", "Ignore", "", "Mine"):
    label = mode.lower() or "default"
    asked = f"?fieldValidation={mode}" if mode else ""
    CASES |= {
        f"unknown-{label}": [post("pods" + asked, _wrong(f"unknown-{label}"))],
        f"unknown-metadata-{label}": [
            post("configmaps" + asked, {"metadata": {"name": f"um-{label}", "lables": {"a": "b"}}})
        ],
        f"twice-{label}": [Request("POST", "configmaps" + asked, _TWICE.replace(b"twice", f"twice-{label}".encode()))],
        f"twice-pod-{label}": [
            Request("POST", "pods" + asked, _TWICE_POD.replace(b"twice", f"twice-{label}".encode()))
        ],
        f"patch-{label}": [
            post("configmaps", _map(f"patch-{label}")),
            patch(f"configmaps/patch-{label}{asked}", {"dta": {"a": "b"}}, MERGE),
            patch(f"configmaps/patch-{label}{asked}", {"dta": {"a": "b"}}, STRATEGIC),
            patch(f"configmaps/patch-{label}{asked}", [{"op": "add", "path": "/dta", "value": {}}], JSON_PATCH),
            put(f"configmaps/patch-{label}{asked}", _map(f"patch-{label}", dta={})),
        ],
        f"apply-{label}": [
            Request(
                "PATCH",
                f"configmaps/apply-{label}?fieldManager=me{asked.replace('?', '&')}",
                _map(f"apply-{label}", dta={"a": "b"}),
                APPLY,
            ),
        ],
    }
CASES |= {
    "case-differs": [post("configmaps", {"metadata": {"name": "case-differs"}, "Data": {"a": "b"}})],
    "case-differs-strict": [
        post("configmaps?fieldValidation=Strict", {"metadata": {"name": "cds"}, "Data": {"a": "b"}})
    ],
    "nulls": [
        post(
            "pods",
            {
                **pod(
                    "nulls",
                    {"command": None, "env": None, "resources": None, "livenessProbe": None},
                    volumes=None,
                    nodeSelector=None,
                )
            },
        ),
        get("pods/nulls"),
    ],
    "empties": [
        post(
            "pods",
            pod(
                "empties",
                {"command": [], "env": [], "resources": {}},
                volumes=[],
                nodeSelector={},
                affinity={},
                tolerations=[],
            ),
        )
    ],
    "data-null": [post("configmaps", _map("data-null", data={"x": None}))],
    "data-all-null": [post("configmaps", _map("data-all-null", data=None, binaryData=None, immutable=None))],
    "type-errors-first": [post("pods", pod("te", {"name": 1, "image": 2}))],
    "several-types-wrong": [post("services", {"metadata": {"name": 5}, "spec": {"ports": "x"}})],
    "int-overflow": [post("pods", pod("io", {"ports": [{"containerPort": 99999999999}]}))],
    "int-exponent": [
        Request(
            "POST",
            "pods",
            b'{"metadata":{"name":"ie"},"spec":{"schedulerName":"nobody","containers":[{"name":"a","image":"b","ports":[{"containerPort":8e1}]}]}}',
        )
    ],
}
