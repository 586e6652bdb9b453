"""Services: what is filled in, what is refused, what may change."""

from __future__ import annotations

from typing import Any

from tests.devcluster.differential.case import MERGE, STRATEGIC, Cases, delete, get, patch, post, put

WEB = {"port": 80}


def _service(name: str, /, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


SERVICES: dict[str, dict[str, Any]] = {
    "plain": {"ports": [WEB], "selector": {"app": "x"}},
    "port-target": {"ports": [{"port": 80, "targetPort": "http", "protocol": "TCP", "name": "web"}]},
    "port-target-zero": {"ports": [{"port": 80, "targetPort": 0}]},
    "port-target-bad": {"ports": [{"port": 80, "targetPort": "A b"}]},
    "port-target-number": {"ports": [{"port": 80, "targetPort": "8080"}]},
    "ports-none": {"selector": {"app": "x"}},
    "ports-empty": {"ports": []},
    "headless": {"clusterIP": "None", "selector": {"a": "b"}},
    "headless-ports": {"clusterIP": "None", "ports": [WEB]},
    "port-zero": {"ports": [{"port": 0}]},
    "port-none": {"ports": [{"name": "x"}]},
    "port-high": {"ports": [{"port": 70000}]},
    "port-text": {"ports": [{"port": "80"}]},
    "port-protocol": {"ports": [{"port": 80, "protocol": "HTTP"}]},
    "port-app-protocol": {"ports": [{"port": 80, "appProtocol": "kubernetes.io/h2c"}]},
    "two-no-names": {"ports": [{"port": 80}, {"port": 81}]},
    "two-names": {"ports": [{"port": 80, "name": "a"}, {"port": 81, "name": "b"}]},
    "two-same-names": {"ports": [{"port": 80, "name": "a"}, {"port": 81, "name": "a"}]},
    "two-same-ports": {"ports": [{"port": 80, "name": "a"}, {"port": 80, "name": "b"}]},
    "port-name": {"ports": [{"port": 80, "name": "A_b"}]},
    "port-name-long": {"ports": [{"port": 80, "name": "a" * 64}]},
    "type-unknown": {"type": "Public", "ports": [WEB]},
    "type-null": {"type": None, "ports": [WEB]},
    "affinity": {"sessionAffinity": "ClientIP", "ports": [WEB]},
    "affinity-unknown": {"sessionAffinity": "Cookie", "ports": [WEB]},
    "affinity-timeout": {
        "sessionAffinity": "ClientIP",
        "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 0}},
        "ports": [WEB],
    },
    "external-name": {"type": "ExternalName", "externalName": "shop.example.org"},
    "external-name-none": {"type": "ExternalName"},
    "external-name-bad": {"type": "ExternalName", "externalName": "a b"},
    "external-name-ip": {"type": "ExternalName", "externalName": "a.b", "clusterIP": "10.0.0.1"},
    "selector-number": {"selector": {"a": 1}, "ports": [WEB]},
    "selector-bad": {"selector": {"a b": "c"}, "ports": [WEB]},
    "cluster-ip-text": {"clusterIP": "here", "ports": [WEB]},
    "external-ips": {"externalIPs": ["here"], "ports": [WEB]},
    "publish": {"publishNotReadyAddresses": True, "ports": [WEB]},
    "node-port": {"ports": [{"port": 80, "nodePort": 30080}]},
    "external-policy": {"externalTrafficPolicy": "Local", "ports": [WEB]},
    "internal-policy": {"internalTrafficPolicy": "Local", "ports": [WEB]},
    "internal-policy-bad": {"internalTrafficPolicy": "Near", "ports": [WEB]},
    "families": {"ipFamilyPolicy": "SingleStack", "ipFamilies": ["IPv4"], "ports": [WEB]},
    "families-unknown": {"ipFamilies": ["IPv5"], "ports": [WEB]},
    "source-ranges": {"loadBalancerSourceRanges": ["10.0.0.0/8"], "ports": [WEB]},
}

CASES: Cases = {f"s-{name}": [post("services", _service(f"s-{name}", **spec))] for name, spec in SERVICES.items()}
CASES |= {
    "name-digit": [post("services", _service("1st", ports=[WEB]))],
    "name-dot": [post("services", _service("a.b", ports=[WEB]))],
    "name-long": [post("services", _service("a" * 64, ports=[WEB]))],
    "spec-none": [post("services", {"metadata": {"name": "spec-none"}})],
    "kubernetes": [get("/api/v1/namespaces/default/services/kubernetes")],
    "node-port-type": [post("services", _service("np", type="NodePort", ports=[WEB])), delete("services/np")],
    "load-balancer": [post("services", _service("lb", type="LoadBalancer", ports=[WEB])), delete("services/lb")],
    "life": [
        post("services", _service("life", ports=[{"port": 80, "name": "a"}], selector={"a": "b"})),
        patch("services/life", {"spec": {"ports": [{"port": 81, "name": "b"}]}}, STRATEGIC),
        patch("services/life", {"spec": {"ports": [{"port": 80, "name": "a", "targetPort": 8080}]}}, STRATEGIC),
        patch("services/life", {"spec": {"ports": [{"port": 90}]}}, MERGE),
        patch("services/life", {"spec": {"clusterIP": "1.2.3.4"}}, MERGE),
        patch("services/life", {"spec": {"clusterIP": ""}}, MERGE),
        patch("services/life", {"spec": {"clusterIP": "None"}}, MERGE),
        patch("services/life", {"spec": {"type": "ExternalName", "externalName": "a.b"}}, MERGE),
        patch("services/life", {"spec": {"selector": None}}, MERGE),
        get("services/life"),
        delete("services/life"),
        get("services/life"),
    ],
    "put": [
        post("services", _service("put", ports=[WEB])),
        put("services/put", _service("put", ports=[{"port": 81}])),
        put("services/put", _service("put", ports=[])),
    ],
}
