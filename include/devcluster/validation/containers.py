"""Rules of containers: env, resources, ports, mounts, probes, hooks, security."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from include.devcluster.core.objects import Object
from include.devcluster.core.quantity import parse
from include.devcluster.validation import formats
from include.devcluster.validation.rules import (
    Cause,
    Place,
    Rule,
    Table,
    at_most_one,
    between,
    duplicate,
    forbidden,
    form,
    invalid,
    missing,
    named,
    not_negative,
    one_of,
    positive,
    required,
    unsupported,
)  # fmt: skip

PORT = between(1, 65535)
ID = between(0, 2**31 - 1)
HANDLERS = at_most_one(
    "exec", "httpGet", "tcpSocket", "grpc", "sleep",
    wrong="may not specify more than 1 handler type", none="must specify a handler type",
)  # fmt: skip
_STANDARD = {"cpu", "memory", "ephemeral-storage"}
_WHOLE = {"pods", "services"}
_ENV_FIELDS = {
    "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName", "status.hostIP",
    "status.hostIPs", "status.podIP", "status.podIPs",
}  # fmt: skip
RESOURCE_FIELDS = tuple(
    f"{kind}.{what}" for kind in ("limits", "requests") for what in ("cpu", "ephemeral-storage", "memory")
)
_DIVISORS = {
    "cpu": ("1m", "1"),
    "memory": ("1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"),
}
_SUBSCRIPT = re.compile(r"^(metadata\.(?:labels|annotations))\['(.*)'\]$")


# ------------------------------------------------------------------ env


def _source(value: Any, at: Place) -> Iterator[Cause]:
    if value is None:
        return
    if at.parent.get("value"):
        yield invalid(at.path, "", "may not be specified when `value` is not empty")
    if not value:
        yield invalid(
            at.path, "", "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`"
        )
    elif len(value) > 1:
        yield invalid(at.path, "", "may not have more than one field specified at a time")


def _env_from(value: Any, at: Place) -> Iterator[Cause]:
    for item in value or []:
        found = [key for key in ("configMapRef", "secretRef") if key in item]
        if not found:
            yield invalid(at.path, "", "must specify one of: `configMapRef` or `secretRef`")
        elif len(found) > 1:
            yield invalid(at.path, "", "may not have more than one field specified at a time")


def field_path(value: Any, at: Place) -> Iterator[Cause]:
    """What an environment variable may be taken from."""
    if not value:
        return
    path, where = value.get("fieldPath") or "", at.child("fieldPath")
    if not path:
        yield missing(where)
    elif match := _SUBSCRIPT.match(path):
        yield from (invalid(at.path, match[2], wrong) for wrong in formats.qualified_name(match[2]))
    elif path in ("metadata.labels", "metadata.annotations"):
        yield unsupported(where, path, sorted(_ENV_FIELDS))
    elif path not in _ENV_FIELDS:
        yield invalid(where, path, f"error converting fieldPath: field label not supported: {path}")


def resource_field(value: Any, at: Place) -> Iterator[Cause]:
    """A resource of a container, in units of a divisor."""
    if not value:
        return
    name, divisor = value.get("resource") or "", value.get("divisor") or "0"
    if not name:
        yield missing(at.child("resource"))
    elif name not in RESOURCE_FIELDS and not name.partition(".")[2].startswith("hugepages-"):
        yield unsupported(at.child("resource"), name, RESOURCE_FIELDS)
    elif divisor not in ("0", *(allowed := _DIVISORS["cpu" if name.endswith("cpu") else "memory"])):
        kind = name.partition(".")[2]
        listed = "1m and 1 are" if kind == "cpu" else ", ".join(allowed) + " are"
        yield invalid(at.child("divisor"), name, f"only divisor's values {listed} supported with the {kind} resource")


# ------------------------------------------------------------------ resources


def resource_name(name: str, path: str) -> Iterator[Cause]:
    """The name of a resource that a container may ask for."""
    wrong = [invalid(path, name, text) for text in formats.qualified_name(name)]
    yield from wrong
    if "/" not in name:
        if name not in _STANDARD and not name.startswith("hugepages-"):
            if not wrong:
                yield invalid(path, name, "must be a standard resource type or fully qualified")
            yield invalid(path, name, "must be a standard resource for containers")
    elif not is_native(name) and name.startswith("requests."):
        yield invalid(path, name, "doesn't follow extended resource name standard")


def is_native(name: str) -> bool:
    """Whether the resource is one of Kubernetes' own."""
    return "/" not in name or "kubernetes.io/" in name


def is_extended(name: str) -> bool:
    """Whether the resource is one that nodes advertise, such as GPUs."""
    return not is_native(name) and not name.startswith("requests.") and not list(formats.qualified_name(name))


def _amount(name: str, text: str, path: str) -> Iterator[Cause]:
    value = parse(text)
    if value < 0:
        yield invalid(path, text, "must be greater than or equal to 0")
    elif (is_extended(name) or name in _WHOLE) and value % 1:
        yield invalid(path, text, "must be an integer")
    elif name.startswith("hugepages-") and value % parse(name.removeprefix("hugepages-")):
        yield invalid(path, text, f"{text} is not positive integer multiple of {name}")


def resources(value: Any, at: Place) -> Iterator[Cause]:
    """Requests and limits: names, amounts, and that no request is above its limit."""
    limits, requests = (value or {}).get("limits") or {}, (value or {}).get("requests") or {}
    for kind, amounts in (("limits", limits), ("requests", requests)):
        for name, text in amounts.items():
            path = f"{at.path}.{kind}[{name}]"
            yield from resource_name(name, path)
            yield from _amount(name, text, path)
    fixed = [name for name in requests if is_extended(name) or name.startswith("hugepages-")]
    for name, text in requests.items():
        if name not in limits:
            if name in fixed:
                yield missing(f"{at.path}.limits", "Limit must be set for non overcommitable resources")
        elif name in fixed and parse(text) != parse(limits[name]):
            yield invalid(f"{at.path}.requests", text, f"must be equal to {name} limit of {limits[name]}")
        elif parse(text) > parse(limits[name]):
            yield invalid(f"{at.path}.requests", text, f"must be less than or equal to {name} limit of {limits[name]}")
    huge = any(name.startswith("hugepages-") for name in {*limits, *requests})
    if huge and not {"cpu", "memory"} & {*limits, *requests}:
        yield forbidden(at.path, "HugePages require cpu or memory")
    yield from _claims((value or {}).get("claims") or [], at)


def _claims(value: list[Object], at: Place) -> Iterator[Cause]:
    known = [claim.get("name") for claim in at.root["spec"].get("resourceClaims") or []]
    for place, claim in enumerate(value):
        if claim.get("name") not in known:
            which = "which is empty" if not known else "" + ", ".join(map(str, known))
            text = f'Not found: "{claim.get("name", "")}": must be one of the names in pod.spec.resourceClaims {which}'
            yield f"{at.path}.claims[{place}]", text


# ------------------------------------------------------------------ ports


def ports(value: Any, at: Place) -> Iterator[Cause]:
    """Ports of a container; a name is its own within the container."""
    names: set[str] = set()
    for place, port in enumerate(value or []):
        path = f"{at.path}[{place}]"
        if own := port.get("name"):
            wrong = [invalid(f"{path}.name", own, text) for text in formats.port_name(own)]
            yield from wrong
            if not wrong and own in names:
                yield duplicate(f"{path}.name", own)
            names.add(own)
        host, number = port.get("hostPort") or 0, port.get("containerPort") or 0
        if host and at.root["spec"].get("hostNetwork") and host != number:
            yield invalid(f"{path}.hostPort", host, "must match `containerPort` when `hostNetwork` is true")


def host_ports(spec: Object) -> Iterator[Cause]:
    """No two containers ask for one port of the node."""
    seen: set[str] = set()
    for number, container in enumerate(spec.get("containers") or []):
        for place, port in enumerate(container.get("ports") or []):
            if host := port.get("hostPort"):
                key = f"{port.get('protocol', 'TCP')}/{port.get('hostIP', '')}/{host}"
                if key in seen:
                    yield duplicate(f"spec.containers[{number}].ports[{place}].hostPort", key)
                seen.add(key)


def target_port(value: Any, at: Place) -> Iterator[Cause]:
    """A port by number or by name."""
    if isinstance(value, str) and value:
        yield from (invalid(at.path, value, wrong) for wrong in formats.port_name(value))
    else:
        yield from PORT(value or 0, at)


# ------------------------------------------------------------------ mounts


def _mounts(value: Any, at: Place) -> Iterator[Cause]:
    volumes = {volume.get("name") for volume in at.root["spec"].get("volumes") or []}
    privileged = (at.parent.get("securityContext") or {}).get("privileged")
    seen: set[str] = set()
    for place, mount in enumerate(value or []):
        path, name = f"{at.path}[{place}]", mount.get("name") or ""
        if not name:
            yield missing(f"{path}.name")
        if name not in volumes:
            yield f"{path}.name", f'Not found: "{name}"'
        where = mount.get("mountPath") or ""
        if not where:
            yield missing(f"{path}.mountPath")
        if where in seen:
            yield invalid(f"{path}.mountPath", where, "must be unique")
        seen.add(where)
        for field in ("subPath", "subPathExpr"):
            yield from (
                invalid(f"{at.path}.{field}", mount[field], wrong) for wrong in relative(mount.get(field) or "")
            )
        if mount.get("subPath") and mount.get("subPathExpr"):
            yield invalid(f"{path}.subPathExpr", mount["subPathExpr"], "subPathExpr and subPath are mutually exclusive")
        yield from _sharing(mount, at.path, bool(privileged))


def _sharing(mount: Object, path: str, privileged: bool) -> Iterator[Cause]:
    propagation = mount.get("mountPropagation")
    if propagation and propagation not in ("Bidirectional", "HostToContainer", "None"):
        yield unsupported(f"{path}.mountPropagation", propagation, ("Bidirectional", "HostToContainer", "None"))
    elif propagation == "Bidirectional" and not privileged:
        yield forbidden(
            f"{path}.mountPropagation", "Bidirectional mount propagation is available only to privileged containers"
        )
    if mount.get("recursiveReadOnly", "Disabled") != "Disabled" and not mount.get("readOnly"):
        yield forbidden(f"{path}.recursiveReadOnly", "may only be specified when readOnly is true")


def _devices(value: Any, at: Place) -> Iterator[Cause]:
    volumes = {volume.get("name"): volume for volume in at.root["spec"].get("volumes") or []}
    for place, device in enumerate(value or []):
        path, name = f"{at.path}[{place}]", device.get("name") or ""
        if not name:
            yield missing(f"{path}.name")
        elif name not in volumes:
            yield f"{path}.name", f'Not found: "{name}"'
        elif not {"persistentVolumeClaim", "ephemeral"} & volumes[name].keys():
            yield invalid(
                f"{path}.name",
                name,
                "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode",
            )
        if not device.get("devicePath"):
            yield missing(f"{path}.devicePath")


def relative(path: str) -> Iterator[str]:
    """What is wrong with a path that must stay below a volume."""
    if path.startswith("/"):
        yield "must be a relative path"
    if ".." in path.split("/"):
        yield "must not contain '..'"


# ------------------------------------------------------------------ probes, hooks, security


def _once(value: Any, at: Place) -> Iterator[Cause]:
    if value and value.get("successThreshold", 1) not in (0, 1):
        yield invalid(at.child("successThreshold"), value["successThreshold"], "must be 1")


def _no_grace(value: Any, at: Place) -> Iterator[Cause]:
    if value and value.get("terminationGracePeriodSeconds") is not None:
        seconds = value["terminationGracePeriodSeconds"]
        yield invalid(at.child("terminationGracePeriodSeconds"), seconds, "must not be set for readinessProbes")


def _headers(value: Any, at: Place) -> Iterator[Cause]:
    for item in value or []:
        yield from (invalid(at.path, item.get("name", ""), wrong) for wrong in formats.header(item.get("name", "")))


def _sleep(value: Any, at: Place) -> Iterator[Cause]:
    grace = at.root["spec"].get("terminationGracePeriodSeconds") or 0
    if value and not 0 <= value.get("seconds", 0) <= grace:
        text = f"must be non-negative and less than terminationGracePeriodSeconds ({grace})"
        yield invalid(at.path, value.get("seconds", 0), text)


def _security(value: Any, at: Place) -> Iterator[Cause]:
    if value and value.get("allowPrivilegeEscalation") is False:
        if value.get("privileged"):
            yield invalid(at.path, value, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true")
        elif "CAP_SYS_ADMIN" in ((value.get("capabilities") or {}).get("add") or []):
            text = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
            yield invalid(at.path, value, text)


def _seccomp(value: Any, at: Place) -> Iterator[Cause]:
    kind, profile = value.get("type") or "", value.get("localhostProfile")
    if not kind:
        yield missing(at.child("type"), "type is required when seccompProfile is set")
    elif kind not in (kinds := ("Localhost", "RuntimeDefault", "Unconfined")):
        yield unsupported(at.child("type"), kind, kinds)
    elif kind == "Localhost" and not profile:
        yield missing(at.child("localhostProfile"), "must be set when seccomp type is Localhost")
    elif kind != "Localhost" and profile:
        yield invalid(at.child("localhostProfile"), profile, "can only be set when seccomp type is Localhost")


def _resize(value: Any, at: Place) -> Iterator[Cause]:
    for policy in value or []:
        for field, supported in (
            ("resourceName", ("cpu", "memory")),
            ("restartPolicy", ("NotRequired", "RestartContainer")),
        ):
            if policy.get(field) not in supported:
                yield unsupported(at.path, policy.get(field) or "", supported)


def _image(value: Any, at: Place) -> Iterator[Cause]:
    if not value:
        yield missing(at.path)
    elif value.strip() != value:
        yield invalid(at.path, value, "must not have leading or trailing whitespace")


CONTAINER: dict[str, list[Rule]] = {
    "name": [form(formats.dns_label, needed=True)],
    "image": [_image],
    "imagePullPolicy": [one_of("Always", "IfNotPresent", "Never")],
    "terminationMessagePolicy": [one_of("File", "FallbackToLogsOnError")],
    "envFrom": [_env_from],
    "resources": [resources],
    "ports": [ports],
    "volumeMounts": [_mounts],
    "volumeDevices": [_devices],
    "livenessProbe": [_once],
    "startupProbe": [_once],
    "readinessProbe": [_no_grace],
    "securityContext": [_security],
    "resizePolicy": [_resize],
}
TABLE: Table = {
    "Container": CONTAINER,
    "EnvVar": {"name": [form(formats.variable, needed=True)], "valueFrom": [_source]},
    "EnvVarSource": {"fieldRef": [field_path], "resourceFieldRef": [resource_field]},
    "ConfigMapKeySelector": {"name": [named(formats.dns_subdomain)], "key": [form(formats.config_key, needed=True)]},
    "SecretKeySelector": {"name": [named(formats.dns_subdomain)], "key": [form(formats.config_key, needed=True)]},
    "EnvFromSource": {"prefix": [form(formats.variable)]},
    "ConfigMapEnvSource": {"name": [form(formats.dns_subdomain, needed=True)]},
    "SecretEnvSource": {"name": [form(formats.dns_subdomain, needed=True)]},
    "ContainerPort": {
        "containerPort": [between(1, 65535, needed=True)],
        "hostPort": [PORT],
        "protocol": [one_of("SCTP", "TCP", "UDP", empty=False)],
    },
    "Probe": {
        "": [HANDLERS],
        "initialDelaySeconds": [not_negative],
        "timeoutSeconds": [not_negative],
        "periodSeconds": [not_negative],
        "successThreshold": [not_negative],
        "failureThreshold": [not_negative],
        "terminationGracePeriodSeconds": [positive],
    },
    "LifecycleHandler": {"": [HANDLERS], "sleep": [_sleep]},
    "ExecAction": {"command": [required]},
    "HTTPGetAction": {
        "port": [target_port],
        "scheme": [one_of("HTTP", "HTTPS", empty=False)],
        "path": [required],
        "httpHeaders": [_headers],
    },
    "TCPSocketAction": {"port": [target_port]},
    "GRPCAction": {"port": [lambda value, at: PORT(value or 0, at)]},
    "SecurityContext": {"runAsUser": [ID], "runAsGroup": [ID], "procMount": [one_of("Default", "Unmasked")]},
    "SeccompProfile": {"": [_seccomp]},
}


def whole(text: str) -> bool:
    """Whether a quantity is a whole number that fits into 64 bits: what bytes must be."""
    value = parse(text)
    return value == value.to_integral_value() and value < Decimal(2**64)
