"""What pods that do not run yet wait for, in the words of the cluster."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

Manifest = Mapping[str, Any]

NAMES: Final = 3
# On the way to a running container, and soon over.
PASSING: Final = frozenset({"", "ContainerCreating", "PodInitializing"})


def reason(pod: Manifest) -> str:
    """Why a pod does not run; empty when it does, or when nothing is known yet.

    :param pod: manifest with status.
    """
    status = pod.get("status") or {}
    if status.get("phase") != "Pending" or (pod.get("metadata") or {}).get("deletionTimestamp"):
        return ""
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return _joined(condition.get("reason"), condition.get("message"))
    for entry in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        waiting = (entry.get("state") or {}).get("waiting") or {}
        if (waiting.get("reason") or "") not in PASSING:
            return _joined(waiting.get("reason"), waiting.get("message"))
    return ""


def reasons(pods: Iterable[Manifest]) -> list[str]:
    """One line for each reason, with the pods that have it.

    >>> pod = {"metadata": {"name": "fit-0"}, "status": {"phase": "Pending", "conditions": [
    ...     {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}]}}
    >>> reasons([pod])
    ['Waiting: 1 pod (fit-0) is pending: Unschedulable: 0/3 nodes']
    """
    waiting: dict[str, list[str]] = {}
    for pod in pods:
        if why := reason(pod):
            waiting.setdefault(why, []).append(pod["metadata"]["name"])
    return [f"Waiting: {_named(sorted(names))} pending: {why}" for why, names in sorted(waiting.items())]


def has_started(pod: Manifest, container: str) -> bool:
    """Whether a container of a pod runs, or has run: it has a log."""
    found = pod.get("status") or {}
    for status in (*(found.get("initContainerStatuses") or ()), *(found.get("containerStatuses") or ())):
        if status.get("name") == container:
            state = status.get("state") or {}
            return bool(state.get("running") or state.get("terminated"))
    return False


def _named(names: list[str]) -> str:
    shown = ", ".join(names[:NAMES]) + (", …" if len(names) > NAMES else "")
    return f"{len(names)} pod{'s' if len(names) > 1 else ''} ({shown}) {'are' if len(names) > 1 else 'is'}"


def _joined(*parts: Any) -> str:
    return ": ".join(str(part) for part in parts if part)
