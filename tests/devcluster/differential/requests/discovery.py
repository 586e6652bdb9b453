"""What a client asks before it asks anything: versions, groups, resources."""

from __future__ import annotations

from tests.devcluster.differential.case import Cases, Request, get

CASES: Cases = {
    "core": [get("/api"), get("/api/v1")],
    "groups": [
        get("/apis"),
        get("/apis/coordination.k8s.io"),
        get("/apis/coordination.k8s.io/v1"),
        get("/apis/scheduling.k8s.io/v1"),
        get("/apis/apiextensions.k8s.io/v1"),
    ],
    "health": [
        get("/healthz"),
        get("/livez"),
        get("/readyz"),
        get("/api/v1/nothing"),
        get("/nothing"),
        get("/apis/x"),
        get("/api/v1/"),
    ],
    "methods": [
        Request("POST", "/api/v1", {}),
        Request("PUT", "/healthz", {}),
        Request("OPTIONS", "configmaps"),
        Request("HEAD", "configmaps"),
    ],
    "slashes": [get("configmaps/"), get("/api/v1//namespaces/{ns}/configmaps"), get("/api/")],
    "escaped": [get("configmaps/a%2Fb"), get("configmaps/%C3%A4"), get("/api/v1/namespaces/A%20b/configmaps")],
}
