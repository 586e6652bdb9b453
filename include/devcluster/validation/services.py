"""Rules of services."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from include.devcluster.core.objects import Object
from include.devcluster.validation import formats
from include.devcluster.validation.containers import target_port
from include.devcluster.validation.rules import (
    Cause,
    Place,
    Table,
    between,
    check,
    duplicate,
    each,
    forbidden,
    form,
    invalid,
    labels,
    missing,
    one_of,
    unsupported,
)  # fmt: skip

_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")


def _ports(value: Any, at: Place) -> Iterator[Cause]:
    if not value and at.parent.get("type") != "ExternalName" and at.parent.get("clusterIP") != "None":
        yield missing(at.path)
    names: set[str] = set()
    seen: set[tuple[Any, Any]] = set()
    for place, port in enumerate(value or []):
        path, own = f"{at.path}[{place}]", port.get("name") or ""
        if not own and len(value) > 1:
            yield missing(f"{path}.name")
        if own and own in names:
            yield duplicate(f"{path}.name", own)
        names.add(own)
        key = (port.get("port"), port.get("protocol"))
        if key in seen:
            yield path, "Duplicate value: " + _port_key(port)
        seen.add(key)
        if port.get("nodePort") and at.parent.get("type", "ClusterIP") not in ("NodePort", "LoadBalancer"):
            yield forbidden(
                f"{path}.nodePort", f"may not be used when `type` is '{at.parent.get('type', 'ClusterIP')}'"
            )


def _port_key(port: Object) -> str:
    return f'{{"Name":"","Protocol":"{port.get("protocol", "")}","AppProtocol":null,"Port":{port.get("port", 0)},"TargetPort":0,"NodePort":0}}'  # noqa: E501


def _name(value: Any, at: Place) -> Iterator[Cause]:
    if at.parent.get("type") != "ExternalName":
        return
    if not value:
        yield missing(at.path)
    else:
        yield from (invalid(at.path, value, wrong) for wrong in formats.dns_subdomain(value.removesuffix(".")))


def _addresses(value: Any, at: Place) -> Iterator[Cause]:
    if value and at.parent.get("type") == "ExternalName":
        yield forbidden(at.path, "may not be set for ExternalName services")
        return
    for place, text in enumerate(value or []):
        if text != "None":
            yield from (invalid(f"{at.path}[{place}]", text, wrong) for wrong in formats.address(text))


def _timeout(value: Any, at: Place) -> Iterator[Cause]:
    if not 0 < (value or 0) <= 86400:
        yield invalid(at.path, value or 0, "must be greater than 0 and less than 86400")


def _families(value: Any, at: Place) -> Iterator[Cause]:
    for place, family in enumerate(value or []):
        if family not in ("IPv4", "IPv6"):
            yield unsupported(f"{at.path}[{place}]", family, ("IPv4", "IPv6"))


def _outside(value: Any, at: Place) -> Iterator[Cause]:
    if (
        value
        and at.parent.get("type", "ClusterIP") not in ("NodePort", "LoadBalancer")
        and not at.parent.get("externalIPs")
    ):
        yield invalid(at.path, value, "may only be set for externally-accessible services")


def _ranges(value: Any, at: Place) -> Iterator[Cause]:
    if value and at.parent.get("type") != "LoadBalancer":
        yield forbidden("spec.LoadBalancerSourceRanges", "may only be used when `type` is 'LoadBalancer'")


TABLE: Table = {
    "ServiceSpec": {
        "ports": [_ports],
        "selector": [labels],
        "type": [one_of(*_TYPES)],
        "sessionAffinity": [one_of("ClientIP", "None")],
        "externalName": [_name],
        "clusterIPs": [_addresses],
        "externalIPs": [each(form(formats.address))],
        "internalTrafficPolicy": [one_of("Cluster", "Local")],
        "externalTrafficPolicy": [_outside],
        "ipFamilies": [_families],
        "ipFamilyPolicy": [one_of("SingleStack", "PreferDualStack", "RequireDualStack")],
        "loadBalancerSourceRanges": [_ranges],
    },
    "ServicePort": {
        "name": [form(formats.dns_label)],
        "port": [lambda value, at: between(1, 65535)(value or 0, at)],
        "targetPort": [target_port],
        "protocol": [one_of("SCTP", "TCP", "UDP")],
    },
    "ClientIPConfig": {"timeoutSeconds": [_timeout]},
}


def causes(service: Object) -> Iterator[Cause]:
    """Everything that is wrong with a service."""
    yield from check(service, "Service", TABLE)


def change_causes(old: Object, new: Object) -> Iterator[Cause]:
    """What of a service stays as it is."""
    was, now = old["spec"].get("clusterIPs") or [], new["spec"].get("clusterIPs") or []
    if (
        old["spec"].get("type") != "ExternalName"
        and new["spec"].get("type") != "ExternalName"
        and was
        and was[:1] != now[:1]
    ):
        yield invalid("spec.clusterIPs[0]", now, "may not change once set")
