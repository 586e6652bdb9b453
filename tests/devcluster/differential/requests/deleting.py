"""Deletion: what it answers, preconditions, grace, propagation, collections."""

from __future__ import annotations

from typing import Any

from tests.devcluster.differential.case import Cases, Request, delete, get, patch, pod, post


def _map(name: str, /, **meta: Any) -> Request:
    return post("configmaps", {"metadata": {"name": name, **meta}})


def _each(name: str, *options: Any) -> list[Request]:
    """Deletions of one config map, which is made anew before each."""
    return [
        step
        for option in options
        for step in (_map(name), delete(f"configmaps/{name}", option), get(f"configmaps/{name}"))
    ]


CASES: Cases = {
    "answers": [
        _map("a"),
        delete("configmaps/a"),
        delete("configmaps/a"),
        post("secrets", {"metadata": {"name": "a"}}),
        delete("secrets/a"),
        post("services", {"metadata": {"name": "a"}, "spec": {"ports": [{"port": 80}]}}),
        delete("services/a"),
        post("serviceaccounts", {"metadata": {"name": "a"}}),
        delete("serviceaccounts/a"),
        post("events", {"metadata": {"name": "a"}, "involvedObject": {"namespace": "{ns}"}}),
        delete("events/a"),
        post("pods", pod("a")),
        delete("pods/a"),
        get("pods/a"),
    ],
    "grace": _each("grace", {"gracePeriodSeconds": 0}, {"gracePeriodSeconds": 30}),
    "grace-wrong": [
        _map("gw"),
        delete("configmaps/gw", {"gracePeriodSeconds": "x"}),
        delete("configmaps/gw", {"gracePeriodSeconds": -1}),
        delete("configmaps/gw?gracePeriodSeconds=x"),
        delete("configmaps/gw?gracePeriodSeconds=5"),
    ],
    "pod-grace": [
        post("pods", pod("pg")),
        delete("pods/pg?gracePeriodSeconds=-1"),
        delete("pods/pg", {"gracePeriodSeconds": 30}),
        get("pods/pg"),
    ],
    "policy": _each(
        "policy",
        {"propagationPolicy": "Background"},
        {"propagationPolicy": "background"},
        {"orphanDependents": False},
        {"propagationPolicy": "Orphan", "orphanDependents": True},
    ),
    "preconditions": _each(
        "preconditions",
        {"preconditions": {"uid": "other"}},
        {"preconditions": {"resourceVersion": "1"}},
        {"preconditions": {}},
        {"preconditions": "x"},
    ),
    "finalizer": [
        _map("f", finalizers=["podium.test/a"]),
        delete("configmaps/f"),
        delete("configmaps/f"),
        get("configmaps/f"),
        patch("configmaps/f", {"metadata": {"finalizers": ["podium.test/a", "podium.test/b"]}}),
        patch("configmaps/f", {"metadata": {"labels": {"a": "b"}}}),
        patch("configmaps/f", {"metadata": {"deletionTimestamp": None}}),
        patch("configmaps/f", {"metadata": {"finalizers": None}}),
        get("configmaps/f"),
    ],
    "body": [
        _map("b"),
        Request("DELETE", "configmaps/b", b"{"),
        Request("DELETE", "configmaps/b", b"null"),
        _map("b"),
        Request("DELETE", "configmaps/b", []),
        Request("DELETE", "configmaps/b", {"kind": "DeleteOptions", "apiVersion": "v1"}),
        _map("b"),
        Request("DELETE", "configmaps/b", {"kind": "Pod", "apiVersion": "v1"}),
        Request("DELETE", "configmaps/b", {"unknown": 1}),
    ],
    "dry-run": [
        _map("d"),
        delete("configmaps/d?dryRun=All"),
        delete("configmaps/d", {"dryRun": ["All"]}),
        delete("configmaps/d", {"dryRun": ["Some"]}),
        delete("configmaps/d?dryRun=Some"),
        get("configmaps/d"),
    ],
    "collection": [
        _map("c1", labels={"case": "c"}),
        _map("c2", labels={"case": "c"}),
        delete("configmaps?labelSelector=case%3Dc&dryRun=All"),
        delete("configmaps?labelSelector=case%3Dc"),
        get("configmaps?labelSelector=case%3Dc"),
        delete("configmaps?labelSelector=case%3Dc"),
        delete("configmaps?labelSelector=case%3D%3D%3D"),
        delete("configmaps?fieldSelector=metadata.x%3D1"),
        post("services", {"metadata": {"name": "c1"}, "spec": {"ports": [{"port": 80}]}}),
        delete("services?fieldSelector=metadata.name%3Dc1"),
    ],
    "eviction": [
        post("pods", pod("ev")),
        post("pods/ev/eviction", {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "ev"}}),
        get("pods/ev"),
        post("pods/none/eviction", {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "none"}}),
    ],
    "binding": [
        post("pods", pod("bind")),
        post("pods/bind/binding", {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "bind"}}),
        post(
            "pods/none/binding",
            {
                "apiVersion": "v1",
                "kind": "Binding",
                "metadata": {"name": "none"},
                "target": {"kind": "Node", "name": "n"},
            },
        ),
    ],
    "logs": [
        post("pods", pod("log")),
        get("pods/log/log"),
        get("pods/none/log"),
        get("pods/log/log?container=other"),
        get("pods/log/log?tailLines=-1"),
        get("pods/log/log?tailLines=x"),
        get("pods/log/log?sinceSeconds=0"),
        get("pods/log/log?sinceSeconds=1&sinceTime=2026-01-01T00:00:00Z"),
        get("pods/log/log?limitBytes=0"),
        get("pods/log/status"),
        get("pods/log/nothing"),
    ],
}
