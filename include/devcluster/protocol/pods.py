"""What the API server fills in for pods."""

from __future__ import annotations

import copy
from decimal import Decimal

from include.devcluster.core.objects import Object, now
from include.devcluster.core.quantity import parse

_TOLERATED = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")

CONTAINER_DEFAULTS: Object = {
    "resources": {},
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
}
PROBE_DEFAULTS: Object = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}


def containers(spec: Object) -> list[Object]:
    """Init containers, then containers."""
    return [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]


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
    }.items():
        spec.setdefault(key, value)
    account = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if account:
        spec["serviceAccountName"] = spec["serviceAccount"] = account
    if spec["terminationGracePeriodSeconds"] < 0:
        spec["terminationGracePeriodSeconds"] = 1
    for container in containers(spec):
        _container_defaults(container)
        if spec.get("hostNetwork"):
            for port in container.get("ports") or []:
                port.setdefault("hostPort", port.get("containerPort", 0))
    for volume in spec.get("volumes") or []:
        _volume_defaults(volume)


def _volume_defaults(volume: Object) -> None:
    if volume.keys() <= {"name"}:
        volume["emptyDir"] = {}
    for kind in ("configMap", "secret", "downwardAPI", "projected"):
        if kind in volume:
            volume[kind].setdefault("defaultMode", 0o644)
    if "hostPath" in volume:
        volume["hostPath"].setdefault("type", "")
    sources = [volume, *((volume.get("projected") or {}).get("sources") or [])]
    for source in sources:
        _source_defaults(source)
    if (template := (volume.get("ephemeral") or {}).get("volumeClaimTemplate")) is not None:
        template["spec"].setdefault("volumeMode", "Filesystem")


def _source_defaults(source: Object) -> None:
    if "serviceAccountToken" in source:
        source["serviceAccountToken"].setdefault("expirationSeconds", 3600)
    for item in (source.get("downwardAPI") or {}).get("items") or []:
        if "fieldRef" in item:
            item["fieldRef"].setdefault("apiVersion", "v1")


def set_admitted(pod: Object) -> None:
    """What admission adds to a new pod: its account, and that it stays for a while on a node that is lost."""
    spec = pod["spec"]
    if not spec.get("serviceAccountName"):
        spec["serviceAccountName"] = spec["serviceAccount"] = "default"
    settle(pod)
    pod["status"] = {"phase": "Pending", "qosClass": qos_class(spec)}
    if spec.get("schedulingGates"):
        pod["status"]["conditions"] = [
            {
                "type": "PodScheduled",
                "status": "False",
                "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates",
                "lastProbeTime": None,
                "lastTransitionTime": now(),
            }
        ]


def settle(pod: Object) -> None:
    """What every write of a pod goes through: fields of features that are off go, tolerations come, in place."""
    spec = pod["spec"]
    for container in spec.get("containers") or []:
        container.pop("restartPolicy", None)
    for container in spec.get("initContainers") or []:
        if container.get("restartPolicy") != "Always":
            container.pop("restartPolicy", None)
    tolerations = spec.get("tolerations") or []
    for key in _TOLERATED:
        if not any(_tolerates(t, key) for t in tolerations):
            tolerations = [
                *tolerations,
                {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
            ]
    spec["tolerations"] = tolerations


def _tolerates(toleration: Object, key: str) -> bool:
    return toleration.get("key") in (None, "", key) and toleration.get("effect") in ("NoExecute", None, "")


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
        source = variable.get("valueFrom") or {}
        if "fieldRef" in source:
            source["fieldRef"].setdefault("apiVersion", "v1")
    for kind in ("livenessProbe", "readinessProbe", "startupProbe"):
        if kind in container:
            _probe_defaults(container[kind])


def _probe_defaults(probe: Object) -> None:
    for key, value in PROBE_DEFAULTS.items():
        probe.setdefault(key, value)
    if (get := probe.get("httpGet")) is not None:
        get.setdefault("path", "/")
        get.setdefault("scheme", "HTTP")
    if (call := probe.get("grpc")) is not None:
        call.setdefault("service", "")


def qos_class(spec: Object) -> str:
    """Guaranteed, Burstable or BestEffort: cpu and memory alone count."""
    every = [spec["resources"]] if spec.get("resources") else [c.get("resources") or {} for c in containers(spec)]
    if not any(_counted(r.get(kind)) for r in every for kind in ("requests", "limits")):
        return "BestEffort"
    for resources in every:
        limits, requests = _counted(resources.get("limits")), _counted(resources.get("requests"))
        if limits.keys() != {"cpu", "memory"} or {**limits, **requests} != limits:
            return "Burstable"
    return "Guaranteed"


def _counted(amounts: Object | None) -> dict[str, Decimal]:
    found = {name: parse(text) for name, text in (amounts or {}).items() if name in ("cpu", "memory")}
    return {name: value for name, value in found.items() if value > 0}


def grace_period(pod: Object) -> int:
    """Seconds between the request to stop and the kill."""
    seconds = pod["spec"].get("terminationGracePeriodSeconds")
    return 30 if seconds is None else int(seconds)
