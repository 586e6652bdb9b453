"""Pure helpers on Kubernetes objects as the API sends them (JSON dictionaries)."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Manifest = dict[str, Any]

EVENT_MESSAGE_LIMIT = 1024
"""Longest message that the API server accepts in an Event (kubernetes pkg/apis/core/validation/events.go)."""


@dataclass(frozen=True)
class Resource:
    """Where a kind lives in the API."""

    group: str
    version: str
    plural: str
    kind: str

    @property
    def api_version(self) -> str:
        """As manifests write it."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str, name: str = "", subresource: str = "") -> str:
        """URL path of the collection, of one object, or of a sub-resource of it."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        parts = [root, f"namespaces/{namespace}" if namespace else "", self.plural, name, subresource]
        return "/".join(part for part in parts if part)


PODS = Resource("", "v1", "pods", "Pod")
EVENTS = Resource("", "v1", "events", "Event")
CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")
SECRETS = Resource("", "v1", "secrets", "Secret")
SERVICES = Resource("", "v1", "services", "Service")


def utc_now() -> dt.datetime:
    """The present time in UTC, to the second, as Kubernetes stores times."""
    return dt.datetime.now(dt.UTC).replace(microsecond=0)


def to_rfc3339(moment: dt.datetime) -> str:
    """A time as the API writes it, to the second."""
    return moment.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def from_rfc3339(text: str) -> dt.datetime:
    """The inverse of :func:`to_rfc3339`; fractions are understood."""
    return dt.datetime.fromisoformat(text)


def key_of(obj: Mapping[str, Any]) -> tuple[str, str]:
    """Namespace and name."""
    metadata = obj["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def owner_reference(owner: Manifest) -> Manifest:
    """The controller reference that makes garbage collection take the child with its owner."""
    metadata = owner["metadata"]
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": metadata["name"],
        "uid": metadata["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def controller_of(obj: Mapping[str, Any]) -> Manifest | None:
    """The owner reference that is marked as controller, if there is one."""
    for reference in obj["metadata"].get("ownerReferences") or []:
        if reference.get("controller"):
            return dict(reference)
    return None


def is_controlled_by(obj: Mapping[str, Any], owner: Mapping[str, Any]) -> bool:
    """True when ``owner`` (by uid, so never a namesake) controls ``obj``."""
    reference = controller_of(obj)
    return reference is not None and reference["uid"] == owner["metadata"]["uid"]


def labels_of(obj: Mapping[str, Any]) -> dict[str, str]:
    """The object's labels, perhaps none."""
    return dict(obj["metadata"].get("labels") or {})


def is_deleting(obj: Mapping[str, Any]) -> bool:
    """True when the object has been deleted and is on its way out."""
    return bool(obj["metadata"].get("deletionTimestamp"))


def phase(pod: Mapping[str, Any]) -> str:
    """The pod's phase; a new pod without status is Pending."""
    return str((pod.get("status") or {}).get("phase") or "Pending")


def is_ready(pod: Mapping[str, Any]) -> bool:
    """True when the pod's Ready condition holds and the pod is not on its way out."""
    if is_deleting(pod):
        return False
    return has_condition((pod.get("status") or {}).get("conditions") or [], "Ready")


def has_condition(conditions: Iterable[Mapping[str, Any]], kind: str) -> bool:
    """True when the condition is there and its status is "True"."""
    return any(c["type"] == kind and c["status"] == "True" for c in conditions)


def dated(conditions: Iterable[Manifest], before: Iterable[Manifest], now: dt.datetime) -> list[Manifest]:
    """Keep the time of conditions whose status did not change; sorted by type as knative does."""
    old = {c["type"]: c for c in before}
    result = []
    for condition in sorted(conditions, key=lambda c: str(c["type"])):
        same = old.get(condition["type"], {}).get("status") == condition["status"]
        since = old[condition["type"]]["lastTransitionTime"] if same else to_rfc3339(now)
        result.append({**condition, "lastTransitionTime": since})
    return result


def container_statuses(pod: Mapping[str, Any]) -> list[Manifest]:
    """Statuses of the pod's containers, perhaps none yet."""
    return list((pod.get("status") or {}).get("containerStatuses") or [])


def terminated_state(pod: Mapping[str, Any], container: str | None = None) -> Manifest | None:
    """How the container (by default the first that failed) ended, or ``None`` while nothing ended."""
    for status in container_statuses(pod):
        state = (status.get("state") or {}).get("terminated")
        if state and (status["name"] == container if container else state.get("exitCode")):
            return dict(state)
    return None


def failure_text(pod: Mapping[str, Any], container: str | None = None) -> str:
    """Why the pod failed, in one sentence: exit code, reason, and the last words of the container."""
    name = pod["metadata"]["name"]
    state = terminated_state(pod, container)
    status = pod.get("status") or {}
    if state is None:
        reason = status.get("reason") or "no container status"
        return f"pod {name} failed: {reason} {status.get('message') or ''}".strip()
    text = f"pod {name} exited with code {state.get('exitCode')} ({state.get('reason') or 'Error'})"
    last_words = str(state.get("message") or "").strip()
    return f"{text}: {last_words}" if last_words else text


def shorten(message: str, limit: int = EVENT_MESSAGE_LIMIT) -> str:
    """Keep the head of a message (what) and its tail (the last log lines), within ``limit`` characters."""
    if len(message) <= limit:
        return message
    head = limit // 4
    return f"{message[:head]} ... {message[len(message) - (limit - head - 5) :]}"


def short_hash(value: object, length: int = 8) -> str:
    """A stable hash of any JSON value, fit for a name or label."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def merge(base: Any, override: Any) -> Any:
    """``override`` over ``base``: maps merge, everything else (lists too) is replaced."""
    if isinstance(base, dict) and isinstance(override, dict):
        return {**base, **{key: merge(base.get(key), value) for key, value in override.items()}}
    return override


def with_env(container: Manifest, variables: Sequence[Manifest]) -> Manifest:
    """The container with ``variables`` appended to its environment; what it sets itself wins."""
    own = container.get("env") or []
    names = {variable["name"] for variable in own}
    return {**container, "env": [*own, *(v for v in variables if v["name"] not in names)]}
