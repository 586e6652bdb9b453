"""What the API server itself does to pods: defaults, validation and what may change later."""

from __future__ import annotations

import copy
import re
from typing import Any

from include.devcluster.core import quantity
from include.devcluster.core.errors import ApiError, invalid
from include.devcluster.core.objects import Object, name

_DNS_LABEL = re.compile(r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")
_TOLERATED = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")

CONTAINER_DEFAULTS: Object = {
    "resources": {},
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
}
PROBE_DEFAULTS: Object = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}


def containers(spec: Object) -> list[Object]:
    """Init containers, then containers."""
    return [*(spec.get("initContainers") or []), *spec["containers"]]


def set_defaults(pod: Object) -> None:
    """Fill in what the API server fills in, so that clients see the pod they would see in a cluster."""
    spec = pod["spec"]
    for key, value in {
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "securityContext": {},
        "schedulerName": "default-scheduler",
        "enableServiceLinks": True,
        "preemptionPolicy": "PreemptLowerPriority",
        "priority": 0,
    }.items():
        if spec.get(key) is None:
            spec[key] = value
    spec["serviceAccountName"] = spec.get("serviceAccountName") or spec.get("serviceAccount") or "default"
    spec["serviceAccount"] = spec["serviceAccountName"]
    tolerations = spec.setdefault("tolerations", None) or []
    for key in _TOLERATED:
        if not any(t.get("key") == key and t.get("effect") in ("NoExecute", None) for t in tolerations):
            tolerations = [
                *tolerations,
                {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
            ]
    spec["tolerations"] = tolerations
    for container in containers(spec):
        _container_defaults(container)
    for volume in spec.get("volumes") or []:
        if len(volume) == 1:
            volume["emptyDir"] = {}
        for kind in ("configMap", "secret", "downwardAPI", "projected"):
            if isinstance(volume.get(kind), dict):
                volume[kind].setdefault("defaultMode", 0o644)
    pod["status"] = {"phase": "Pending", "qosClass": qos_class(spec)}


def _container_defaults(container: Object) -> None:
    for key, value in CONTAINER_DEFAULTS.items():
        if container.get(key) is None:
            container[key] = copy.deepcopy(value)
    if not container.get("imagePullPolicy"):
        tag = str(container.get("image", "")).rpartition("/")[2].partition(":")[2]
        container["imagePullPolicy"] = "Always" if tag in ("", "latest") else "IfNotPresent"
    for port in container.get("ports") or []:
        port.setdefault("protocol", "TCP")
    resources = container["resources"]
    if limits := resources.get("limits"):
        resources["requests"] = {**limits, **(resources.get("requests") or {})}
    for variable in container.get("env") or []:
        reference = (variable.get("valueFrom") or {}).get("fieldRef")
        if reference:
            reference.setdefault("apiVersion", "v1")
    for kind in ("livenessProbe", "readinessProbe", "startupProbe"):
        if container.get(kind):
            _probe_defaults(container[kind])


def _probe_defaults(probe: Object) -> None:
    for key, value in PROBE_DEFAULTS.items():
        probe.setdefault(key, value)
    if get := probe.get("httpGet"):
        get.setdefault("path", "/")
        get.setdefault("scheme", "HTTP")


def qos_class(spec: Object) -> str:
    """Guaranteed, Burstable or BestEffort."""
    every = [c.get("resources") or {} for c in containers(spec)]
    if not any(r.get("requests") or r.get("limits") for r in every):
        return "BestEffort"
    for resources in every:
        limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
        if not {"cpu", "memory"} <= limits.keys() or any(requests.get(k, v) != v for k, v in limits.items()):
            return "Burstable"
    return "Guaranteed"


def validate(pod: Object) -> None:
    """The checks that catch what people get wrong. Raises 422 with every cause."""
    causes: list[tuple[str, str]] = []
    spec = pod["spec"]
    if spec["restartPolicy"] not in ("Always", "OnFailure", "Never"):
        causes.append(
            (
                "spec.restartPolicy",
                f'Unsupported value: "{spec["restartPolicy"]}": supported values: "Always", "Never", "OnFailure"',
            )
        )
    if not spec.get("containers"):
        causes.append(("spec.containers", "Required value"))
    volumes = {v.get("name") for v in spec.get("volumes") or []}
    seen: set[Any] = set()
    for field in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(field) or []):
            causes += _container_causes(f"spec.{field}[{index}]", container, volumes, seen)
    if causes:
        raise invalid("Pod", name(pod), *causes)


def _container_causes(where: str, container: Object, volumes: set[Any], seen: set[Any]) -> list[tuple[str, str]]:
    causes = []
    own = container.get("name")
    if not own:
        causes.append((f"{where}.name", "Required value"))
    elif not _DNS_LABEL.match(own):
        causes.append(
            (
                f"{where}.name",
                f'Invalid value: "{own}": a lowercase RFC 1123 label must consist of lower case alphanumeric '
                "characters or '-', and must start and end with an alphanumeric character",
            )
        )
    elif own in seen:
        causes.append((f"{where}.name", f'Duplicate value: "{own}"'))
    seen.add(own)
    if not container.get("image"):
        causes.append((f"{where}.image", "Required value"))
    for index, mount in enumerate(container.get("volumeMounts") or []):
        if mount.get("name") not in volumes:
            causes.append((f"{where}.volumeMounts[{index}].name", f'Not found: "{mount.get("name")}"'))
    for section in ("requests", "limits"):
        for key, value in ((container.get("resources") or {}).get(section) or {}).items():
            try:
                quantity.parse(value)
            except ValueError:
                causes.append(
                    (
                        f"{where}.resources.{section}[{key}]",
                        f'Invalid value: "{value}": quantities must match the regular expression '
                        "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
                    )
                )
    return causes


def check_change(old: Object, new: Object) -> None:
    """Refuse what may not change in a pod. Raises 422."""

    def fixed(pod: Object) -> Object:
        spec = {
            k: v
            for k, v in pod["spec"].items()
            if k not in ("activeDeadlineSeconds", "terminationGracePeriodSeconds", "tolerations")
        }
        for field in ("initContainers", "containers"):
            spec[field] = [{k: v for k, v in c.items() if k != "image"} for c in spec.get(field) or []]
        return spec

    if fixed(old) != fixed(new):
        raise ApiError(
            422,
            "Invalid",
            f'Pod "{name(new)}" is invalid: spec: Forbidden: pod updates may not change fields other than '
            "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,"
            "`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` "
            "(allow it to be set to 1 if it was previously negative)",
            {"name": name(new), "kind": "Pod", "causes": [{"reason": "FieldValueForbidden", "field": "spec"}]},
        )


def grace_period(pod: Object) -> int:
    """Seconds between the request to stop and the kill."""
    seconds = pod["spec"].get("terminationGracePeriodSeconds")
    return 30 if seconds is None else int(seconds)
