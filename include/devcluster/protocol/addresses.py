"""Cluster IPs and node ports of services. Nothing routes to them; they are there because every client expects them."""

from __future__ import annotations

import ipaddress
from typing import Any

from include.devcluster.core.objects import Object
from include.devcluster.core.resources import SERVICES
from include.devcluster.core.store import Store

NETWORK = ipaddress.ip_network("10.96.0.0/16")
"""Addresses of services, as kubeadm has them; the first is that of `default/kubernetes`."""

API_SERVER = str(NETWORK[1])
"""Of the service `default/kubernetes`."""

NODE_PORTS = range(30000, 32768)


def assign(service: Object, store: Store) -> None:
    """Give a service the next free address, and the node ports that its type asks for, in place."""
    spec = service["spec"]
    if spec.get("type") == "ExternalName":
        if spec.get("clusterIP"):
            spec.setdefault("clusterIPs", [spec["clusterIP"]])
        return
    if not spec.get("clusterIP"):
        spec["clusterIP"] = _free(store)
    spec.setdefault("clusterIPs", [spec["clusterIP"]])
    if spec["clusterIP"] == "None" and not spec.get("selector") and "ipFamilies" not in spec:
        # nobody knows what it is for: it may be both
        spec["ipFamilies"], policy = ["IPv4", "IPv6"], "RequireDualStack"
    else:
        spec.setdefault("ipFamilies", ["IPv4"])
        policy = "SingleStack"
    spec.setdefault("ipFamilyPolicy", policy)
    if spec["type"] in ("NodePort", "LoadBalancer"):
        taken = {
            port.get("nodePort") for other in store.list(SERVICES.key) for port in other["spec"].get("ports") or []
        }
        free = (port for port in NODE_PORTS if port not in taken)
        for port in spec.get("ports") or []:
            if not port.get("nodePort"):
                port["nodePort"] = next(free)


def keep(old: Object, new: Object) -> None:
    """What an update does not say stays: addresses, families, node ports; in place."""
    was, spec = old["spec"], new["spec"]
    if spec.get("type") == "ExternalName":
        return
    if not spec.get("clusterIP") and was.get("clusterIP"):
        spec["clusterIP"] = was["clusterIP"]
        spec["clusterIPs"] = was.get("clusterIPs", [was["clusterIP"]])
    elif (
        spec.get("clusterIP")
        and spec["clusterIP"] != was.get("clusterIP")
        and spec.get("clusterIPs") == was.get("clusterIPs")
    ):
        spec["clusterIPs"] = [spec["clusterIP"]]
    for field in ("clusterIPs", "ipFamilies", "ipFamilyPolicy"):
        if field not in spec and field in was:
            spec[field] = was[field]
    ports: dict[Any, Any] = {
        (port.get("port"), port.get("protocol")): port.get("nodePort") for port in was.get("ports") or []
    }
    if spec.get("type") in ("NodePort", "LoadBalancer"):
        for port in spec.get("ports") or []:
            if not port.get("nodePort") and (kept := ports.get((port.get("port"), port.get("protocol")))):
                port["nodePort"] = kept


def release(old: Object, new: Object) -> None:
    """What a service that becomes a name in the DNS does not need any more goes, in place."""
    was, spec = old["spec"], new["spec"]
    if spec.get("type") == "ExternalName" != was.get("type"):
        for field in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"):
            if was.get(field) == spec.get(field):
                spec.pop(field, None)


def _free(store: Store) -> str:
    taken = {service["spec"].get("clusterIP") for service in store.list(SERVICES.key)}
    return next(str(address) for address in NETWORK.hosts() if str(address) not in taken)
