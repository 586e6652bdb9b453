"""Tables for `kubectl get`: the columns that the API server prints."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from typing import Any

from include.devcluster.core.errors import bad_request
from include.devcluster.core.objects import Object, condition, dig, parse_time
from include.devcluster.core.resources import Resource

Row = list[Any]


def make(resource: Resource, found: list[Object], meta: Object, include: str = "Metadata") -> Object:
    """A `metav1.Table`. `include` says what each row carries beside its cells: None, Metadata or Object."""
    if include not in ("", "None", "Metadata", "Object"):
        wrong = f"includeObject: Invalid value: \"{include}\": must be 'Metadata', 'Object', 'None', or empty"
        raise bad_request(f"Unable to convert to Table as requested: {wrong}")
    columns, cells = _COLUMNS.get(resource.key) or _custom(resource)
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": meta,
        "columnDefinitions": [_column(text) for text in columns],
        "rows": [{"cells": cells(obj), **_carried(obj, include)} for obj in found],
    }


def _column(text: str) -> Object:
    """`Name`, or `*Node` for one that only `-o wide` shows."""
    name = text.lstrip("*")
    kind = {"Value": "integer", "Global-Default": "boolean", "Created At": "date"}.get(name, "string")
    form = "name" if name == "Name" else ""
    return {"name": name, "type": kind, "format": form, "description": name, "priority": int(text.startswith("*"))}


def _carried(obj: Object, include: str) -> Object:
    if include == "None":
        return {"object": None}
    if include == "Object":
        return {"object": obj}
    return {"object": {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}}


def age(moment: str | None) -> str:
    """How long ago, as kubectl says it: 90s, 12m, 3h20m, 4d."""
    if not moment:
        return "<unknown>"
    seconds = int((dt.datetime.now(dt.UTC) - parse_time(moment)).total_seconds())
    return duration(max(0, seconds))


def duration(seconds: int) -> str:
    """A time span as kubectl prints it."""
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if seconds < 120:
        return f"{seconds}s"
    if minutes < 10:
        return f"{minutes}m{seconds % 60}s" if seconds % 60 else f"{minutes}m"
    if hours < 3:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if days < 2:
        return f"{hours}h"
    return f"{days}d{hours % 24}h" if days < 8 and hours % 24 else f"{days}d"


def _born(obj: Object) -> str:
    return age(obj["metadata"].get("creationTimestamp"))


def _pod(obj: Object) -> Row:
    statuses = obj["status"].get("containerStatuses") or []
    inits = obj["status"].get("initContainerStatuses") or []
    ready = sum(bool(s.get("ready")) for s in statuses)
    restarts = sum(s.get("restartCount", 0) for s in [*statuses, *inits])
    last = max((dig(s, "lastState.terminated.finishedAt") or "" for s in [*statuses, *inits]), default="")
    text = f"{restarts} ({age(last)} ago)" if restarts and last else str(restarts)
    gates = obj["spec"].get("readinessGates") or []
    return [
        obj["metadata"]["name"],
        f"{ready}/{len(obj['spec']['containers'])}",
        pod_reason(obj),
        text,
        _born(obj),
        obj["status"].get("podIP") or "<none>",
        obj["spec"].get("nodeName") or "<none>",
        obj["status"].get("nominatedNodeName") or "<none>",
        f"0/{len(gates)}" if gates else "<none>",
    ]


def pod_reason(obj: Object) -> str:
    """The STATUS column: phase, unless something explains it better."""
    status = obj["status"]
    if obj["metadata"].get("deletionTimestamp"):
        return "Terminating"
    reason = str(status.get("reason") or status["phase"])
    inits = status.get("initContainerStatuses") or []
    return _init_reason(inits) or _main_reason(obj, status.get("containerStatuses") or [], reason)


def _init_reason(inits: list[Object]) -> str | None:
    """`Init:1/2` and the like, for the first init container that is not through."""
    for index, init in enumerate(inits):
        done, waiting = dig(init, "state.terminated"), dig(init, "state.waiting.reason")
        if (done and done["exitCode"] == 0) or (init.get("started") and dig(init, "state.running")):
            continue
        if done:
            return f"Init:{done.get('reason') or 'ExitCode:' + str(done['exitCode'])}"
        return f"Init:{index}/{len(inits)}" if waiting in (None, "PodInitializing") else f"Init:{waiting}"
    return None


def _main_reason(obj: Object, containers: list[Object], reason: str) -> str:
    running = False
    for container in reversed(containers):
        if waiting := dig(container, "state.waiting.reason"):
            reason = waiting
        elif done := dig(container, "state.terminated"):
            reason = done.get("reason") or f"ExitCode:{done['exitCode']}"
        elif container.get("ready"):
            running = True
    if reason == "Completed" and running:
        ready = condition(obj, "Ready")
        return "Running" if ready and ready["status"] == "True" else "NotReady"
    return reason


def _node(obj: Object) -> Row:
    ready = condition(obj, "Ready")
    status = "Ready" if ready and ready["status"] == "True" else "NotReady"
    if obj["spec"].get("unschedulable"):
        status += ",SchedulingDisabled"
    info = dig(obj, "status.nodeInfo") or {}
    roles = sorted(
        key.removeprefix("node-role.kubernetes.io/")
        for key in obj["metadata"].get("labels") or {}
        if key.startswith("node-role.kubernetes.io/")
    )
    return [
        obj["metadata"]["name"], status, ",".join(roles) or "<none>", _born(obj), info.get("kubeletVersion", ""),
        _address(obj, "InternalIP"), _address(obj, "ExternalIP"), info.get("osImage", "<unknown>"),
        info.get("kernelVersion", "<unknown>"), info.get("containerRuntimeVersion", "<unknown>"),
    ]  # fmt: skip


def _address(obj: Object, kind: str) -> str:
    for address in dig(obj, "status.addresses") or []:
        if address["type"] == kind:
            return str(address["address"])
    return "<none>"


def _event(obj: Object) -> Row:
    about = obj.get("involvedObject") or {}
    source = obj.get("source") or {}
    return [
        age(obj.get("lastTimestamp") or obj.get("eventTime") or obj["metadata"].get("creationTimestamp")),
        obj.get("type", ""), obj.get("reason", ""),
        f"{about.get('kind', '').lower()}/{about.get('name', '')}", about.get("fieldPath", ""),
        ", ".join(filter(None, [source.get("component") or obj.get("reportingComponent"), source.get("host")])),
        (obj.get("message") or "").strip(), age(obj.get("firstTimestamp") or obj["metadata"].get("creationTimestamp")),
        obj.get("count") or 1, obj["metadata"]["name"],
    ]  # fmt: skip


def _claim(obj: Object) -> Row:
    modes = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}
    return [
        obj["metadata"]["name"], dig(obj, "status.phase") or "", obj["spec"].get("volumeName") or "",
        dig(obj, "status.capacity.storage") or "",
        ",".join(modes.get(m, m) for m in obj["spec"].get("accessModes") or []),
        obj["spec"].get("storageClassName") or "", "<unset>", _born(obj), obj["spec"].get("volumeMode", ""),
    ]  # fmt: skip


def _service(obj: Object) -> Row:
    spec = obj["spec"]
    ports = ",".join(f"{p['port']}/{p.get('protocol', 'TCP')}" for p in spec.get("ports") or [])
    selector = ",".join(f"{k}={v}" for k, v in (spec.get("selector") or {}).items())
    return [
        obj["metadata"]["name"], spec.get("type", "ClusterIP"), spec.get("clusterIP") or "<none>", "<none>",
        ports or "<none>", _born(obj), selector or "<none>",
    ]  # fmt: skip


_COLUMNS: dict[str, tuple[list[str], Callable[[Object], Row]]] = {
    "pods": (
        ["Name", "Ready", "Status", "Restarts", "Age", "*IP", "*Node", "*Nominated Node", "*Readiness Gates"],
        _pod,
    ),
    "nodes": (
        ["Name", "Status", "Roles", "Age", "Version", "*Internal-IP", "*External-IP", "*OS-Image", "*Kernel-Version",
         "*Container-Runtime"],
        _node,
    ),
    "events": (
        ["Last Seen", "Type", "Reason", "Object", "*Subobject", "*Source", "Message", "*First Seen", "*Count", "*Name"],
        _event,
    ),
    "configmaps": (
        ["Name", "Data", "Age"],
        lambda o: [o["metadata"]["name"], len(o.get("data") or {}) + len(o.get("binaryData") or {}), _born(o)],
    ),
    "secrets": (
        ["Name", "Type", "Data", "Age"],
        lambda o: [o["metadata"]["name"], o.get("type", ""), len(o.get("data") or {}), _born(o)],
    ),
    "namespaces": (
        ["Name", "Status", "Age"], lambda o: [o["metadata"]["name"], dig(o, "status.phase") or "", _born(o)],
    ),
    "serviceaccounts": (
        ["Name", "Secrets", "Age"], lambda o: [o["metadata"]["name"], len(o.get("secrets") or []), _born(o)],
    ),
    "persistentvolumeclaims": (
        ["Name", "Status", "Volume", "Capacity", "Access Modes", "StorageClass", "VolumeAttributesClass", "Age",
         "*VolumeMode"],
        _claim,
    ),
    "services": (["Name", "Type", "Cluster-IP", "External-IP", "Port(s)", "Age", "*Selector"], _service),
    "leases.coordination.k8s.io": (
        ["Name", "Holder", "Age"],
        lambda o: [o["metadata"]["name"], dig(o, "spec.holderIdentity") or "", _born(o)],
    ),
    "priorityclasses.scheduling.k8s.io": (
        ["Name", "Value", "Global-Default", "Age", "PreemptionPolicy"],
        lambda o: [
            o["metadata"]["name"], o.get("value", 0), o.get("globalDefault", False), _born(o), o["preemptionPolicy"],
        ],
    ),
    "customresourcedefinitions.apiextensions.k8s.io": (
        ["Name", "Created At"], lambda o: [o["metadata"]["name"], o["metadata"]["creationTimestamp"]],
    ),
}  # fmt: skip


def _custom(resource: Resource) -> tuple[list[str], Callable[[Object], Row]]:
    """Name, the kind's own columns, and the age unless they have it."""
    own = list(resource.columns) or [{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}]
    names = ["Name", *(("*" if c.get("priority") else "") + c["name"] for c in own)]

    def cells(obj: Object) -> Row:
        return [obj["metadata"]["name"], *(_cell(obj, c) for c in own)]

    return names, cells


def _cell(obj: Object, column: Object) -> Any:
    value = json_path(obj, column["jsonPath"])
    if column.get("type") == "date" and isinstance(value, str):
        return age(value)
    return value


def json_path(obj: Any, path: str) -> Any:
    """The first value at a JSONPath as definitions use them: `.status.conditions[?(@.type=="Ready")].status`."""
    found = [obj]
    for step in re.findall(r"\[\?\(@\.[^\]]*\)\]|\[[^\]]*\]|[^.\[\]]+(?:\\\.[^.\[\]]+)*", path.strip("{}")):
        found = [inner for value in found for inner in _step(value, step)]
    return found[0] if found else None


def _step(value: Any, step: str) -> list[Any]:
    if match := re.match(r"\[\?\(@\.([\w.]+)\s*==\s*[\"']([^\"']*)[\"']\)\]", step):
        return [item for item in value or [] if str(dig(item, match[1])) == match[2]] if isinstance(value, list) else []
    if step.startswith("["):
        key = step[1:-1].strip("'\"")
        if isinstance(value, list):
            index = int(key) if re.fullmatch(r"-?\d+", key) else 0
            return value if key == "*" else value[index : index + 1 or None]
        return [value[key]] if isinstance(value, dict) and key in value else []
    key = step.replace("\\.", ".")
    return [value[key]] if isinstance(value, dict) and key in value else []
