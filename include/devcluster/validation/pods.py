"""Rules of pods as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from include.devcluster.core.objects import Object
from include.devcluster.validation import containers, formats, scheduling, volumes
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
    not_negative,
    one_of,
    required,
    unique,
    unsupported,
)  # fmt: skip

_DEADLINE = between(1, 2**31 - 1)


def _distinct(spec: Any, at: Place) -> Iterator[Cause]:
    """A container's name is its own in the pod."""
    seen = {c.get("name") for c in spec.get("containers") or []}
    for field in ("initContainers", "ephemeralContainers"):
        for place, container in enumerate(spec.get(field) or []):
            if container.get("name") and container["name"] in seen:
                yield duplicate(f"{at.child(field)}[{place}].name", container["name"])
            seen.add(container.get("name"))


def _inits(value: Any, at: Place) -> Iterator[Cause]:
    for place, container in enumerate(value or []):
        path = f"{at.path}[{place}]"
        if container.get("restartPolicy") != "Always":
            for field in ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe"):
                if container.get(field) is not None:
                    yield forbidden(
                        f"{path}.{field}", "may not be set for init containers without restartPolicy=Always"
                    )


def _never_at_first(value: Any, at: Place) -> Iterator[Cause]:
    if value:
        yield forbidden(at.path, "cannot be set on create")


def _dns(spec: Any, at: Place) -> Iterator[Cause]:
    config = spec.get("dnsConfig") or {}
    if spec.get("dnsPolicy") == "None" and not spec.get("dnsConfig"):
        yield missing(at.child("dnsConfig"), "must provide `dnsConfig` when `dnsPolicy` is None")
    elif spec.get("dnsPolicy") == "None" and not config.get("nameservers"):
        yield missing(
            at.child("dnsConfig.nameservers"), "must provide at least one DNS nameserver when `dnsPolicy` is None"
        )
    if len(config.get("nameservers") or []) > 3:
        yield invalid(at.child("dnsConfig.nameservers"), config["nameservers"], "must not have more than 3 nameservers")
    for place, server in enumerate(config.get("nameservers") or []):
        yield from (
            invalid(at.child(f"dnsConfig.nameservers[{place}]"), server, wrong) for wrong in formats.address(server)
        )


def _subdomain(value: Any, at: Place) -> Iterator[Cause]:
    if value and "." in value:
        yield invalid(at.path, value, "must not contain dots")
    elif value:
        yield from form(formats.dns_label)(value, at)


def _processes(spec: Any, at: Place) -> Iterator[Cause]:
    if spec.get("hostPID") and spec.get("shareProcessNamespace"):
        where = at.child("securityContext.shareProcessNamespace")
        yield invalid(where, True, "ShareProcessNamespace and HostPID cannot both be enabled")


def _system(value: Any, at: Place) -> Iterator[Cause]:
    name = (value or {}).get("name")
    if value is not None and name not in ("linux", "windows"):
        yield unsupported(at.path, name or "", ("linux", "windows")) if name else missing(at.child("name"))


def _gates(value: Any, at: Place) -> Iterator[Cause]:
    for place, gate in enumerate(value or []):
        yield from (
            invalid(f"{at.path}[{place}]", gate.get("name", ""), w)
            for w in formats.qualified_name(gate.get("name", ""))
        )
    yield from unique("name", "")(value, at)


def _sysctls(value: Any, at: Place) -> Iterator[Cause]:
    import re

    pattern = r"^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"
    for place, item in enumerate(value or []):
        name = item.get("name") or ""
        if not name:
            yield missing(f"{at.path}[{place}].name")
        elif not re.match(pattern, name):
            yield invalid(
                f"{at.path}[{place}].name", name, f"must have at most 253 characters and match regex {pattern}"
            )


def _host_ports(value: Any, at: Place) -> Iterator[Cause]:
    yield from containers.host_ports(value)


TABLE: Table = {
    **containers.TABLE, **volumes.TABLE, **scheduling.TABLE,
    "PodSpec": {
        "": [_distinct, _dns, _processes, _host_ports],
        "volumes": [unique("name")],
        "containers": [required, unique("name")],
        "initContainers": [_inits, unique("name")],
        "ephemeralContainers": [_never_at_first],
        "restartPolicy": [one_of("Always", "OnFailure", "Never", empty=False)],
        "dnsPolicy": [one_of("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")],
        "activeDeadlineSeconds": [_DEADLINE],
        "terminationGracePeriodSeconds": [not_negative],
        "nodeName": [form(formats.dns_subdomain)],
        "hostname": [form(formats.dns_label)],
        "subdomain": [_subdomain],
        "serviceAccountName": [form(formats.dns_subdomain)],
        "nodeSelector": [labels],
        "priorityClassName": [form(formats.dns_subdomain)],
        "runtimeClassName": [form(formats.dns_subdomain)],
        "preemptionPolicy": [one_of("PreemptLowerPriority", "Never")],
        "schedulingGates": [_gates],
        "os": [_system],
    },
    "PodReadinessGate": {"conditionType": [form(formats.qualified_name)]},
    "HostAlias": {"ip": [form(formats.address)], "hostnames": [each(form(formats.dns_subdomain))]},
    "PodSecurityContext": {
        "runAsUser": [containers.ID], "runAsGroup": [containers.ID], "fsGroup": [containers.ID],
        "supplementalGroups": [each(containers.ID)],
        "fsGroupChangePolicy": [one_of("Always", "OnRootMismatch")],
        "sysctls": [_sysctls],
    },
}  # fmt: skip


def causes(pod: Object) -> Iterator[Cause]:
    """Everything that is wrong with a new pod."""
    yield from check(pod, "Pod", TABLE)


def warnings(pod: Object) -> Iterator[str]:
    """What a server stores and warns of."""
    spec = pod["spec"]
    for place, secret in enumerate(spec.get("imagePullSecrets") or []):
        if not secret.get("name"):
            yield f'spec.imagePullSecrets[{place}].name: invalid empty name ""'
    for field in ("initContainers", "containers"):
        for place, container in enumerate(spec.get(field) or []):
            yield from _container_warnings(container, f"spec.{field}[{place}]")


def _container_warnings(container: Object, path: str) -> Iterator[str]:
    resources = container.get("resources") or {}
    for kind in ("requests", "limits"):
        for name, text in (resources.get(kind) or {}).items():
            if name in ("memory", "ephemeral-storage") and not containers.whole(text):
                yield f'{path}.resources.{kind}[{name}]: fractional byte value "{text}" is invalid, must be an integer'
    seen: set[str] = set()
    for place, variable in enumerate(container.get("env") or []):
        if variable.get("name") in seen:
            yield f'{path}.env[{place}]: hides previous definition of "{variable["name"]}", which may be dropped when using apply'  # noqa: E501
        seen.add(variable.get("name", ""))
    ports: dict[tuple[Any, ...], int] = {}
    for place, port in enumerate(container.get("ports") or []):
        if port.get("hostIP") and not port.get("hostPort"):
            listed = (f"{{Name:{port.get('name', '')} HostPort:0 ContainerPort:{port.get('containerPort', 0)} "
                      f"Protocol:{port.get('protocol', '')} HostIP:{port['hostIP']}}}")  # fmt: skip
            yield f"{path}.ports[{place}]: hostIP set without hostPort: {listed}"
        key = (port.get("containerPort"), port.get("protocol"), port.get("hostPort"), port.get("hostIP"))
        if key in ports:
            yield f"{path}.ports[{place}]: duplicate port definition with {path}.ports[{ports[key]}]"
        ports.setdefault(key, place)
