"""What the API server fills in, kind by kind, and what it makes of an object that nobody has written to yet."""

from __future__ import annotations

import base64

from include.devcluster.core.objects import Object
from include.devcluster.core.resources import Resource
from include.devcluster.kinds.decode import Decoder
from include.devcluster.protocol import pods


def fill(resource: Resource, obj: Object) -> None:
    """Defaults of a built-in kind, in place; of an object that is there already they change nothing."""
    match resource.kind:
        case "Pod":
            pods.set_defaults(obj)
        case "Secret":
            _secret(obj)
        case "Service":
            _service(obj["spec"])
        case "PersistentVolumeClaim":
            _claim(obj)
        case "PriorityClass":
            obj.setdefault("preemptionPolicy", "PreemptLowerPriority")
        case "CustomResourceDefinition":
            _definition(obj["spec"])
        case "Namespace":
            obj["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = obj["metadata"].get("name", "")


def blank(resource: Resource, obj: Object) -> Object:
    """An empty object of the kind: what the first writer is held against."""
    if resource.custom:
        return {"apiVersion": obj["apiVersion"], "kind": obj["kind"], "metadata": {}}
    return Decoder().object({"apiVersion": obj["apiVersion"], "kind": obj["kind"]}, resource.kind)


def _secret(obj: Object) -> None:
    data = obj.get("data") or {}
    for key, value in (obj.pop("stringData", None) or {}).items():
        data[key] = base64.b64encode(value.encode()).decode()
    if data:
        obj["data"] = data
    obj.setdefault("type", "Opaque")


def _service(spec: Object) -> None:
    kind = spec.setdefault("type", "ClusterIP")
    affinity = spec.setdefault("sessionAffinity", "None")
    if affinity == "ClientIP":
        config = spec.setdefault("sessionAffinityConfig", {}).setdefault("clientIP", {})
        config.setdefault("timeoutSeconds", 10800)
    elif affinity == "None":
        spec.pop("sessionAffinityConfig", None)
    for port in spec.get("ports") or []:
        port.setdefault("protocol", "TCP")
        if port.get("targetPort") in (None, 0, ""):
            port["targetPort"] = port.get("port", 0)
    if kind in ("NodePort", "LoadBalancer"):
        spec.setdefault("externalTrafficPolicy", "Cluster")
    if kind == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
    if kind != "ExternalName":
        spec.setdefault("internalTrafficPolicy", "Cluster")


def _definition(spec: Object) -> None:
    names = spec.get("names") or {}
    if names.get("kind"):
        names.setdefault("singular", names["kind"].lower())
        names.setdefault("listKind", f"{names['kind']}List")
    spec.setdefault("conversion", {"strategy": "None"})


def _claim(obj: Object) -> None:
    obj["spec"].setdefault("volumeMode", "Filesystem")
    obj.setdefault("status", {}).setdefault("phase", "Pending")
