"""Turns a pod that ended badly into a text that a tired person can act on.

Works on manifests as plain dictionaries and never prints a pod's spec, whose environment may hold anything.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from podium import waiting

Manifest = Mapping[str, Any]

LOG_LINES: Final = 15
LINE_LENGTH: Final = 400

# Credentials as they turn up in logs: in addresses, in assignments, in headers.
_SECRETS: Final = (
    (re.compile(r"(\w://[^\s:/@]*:)[^\s@]+@"), r"\1***@"),
    (
        re.compile(
            r"(?i)((?:password|passwd|secret|token|access[_-]?key|api[_-]?key)\w*[\"']?\s*[=:]\s*[\"']?)[^\s\"',;&]+"
        ),
        r"\1***",
    ),
    (re.compile(r"(?i)(\bbearer\s+)[\w.~+/-]+=*"), r"\1***"),
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"), "***"),
)

RUNBOOK: Final = "Follow the runbook of this task in the DAG's docs, mend the cause, then clear the task."

# Reason as Kubernetes gives it -> what a person does about it.
MENDS: Final[dict[str, str]] = {
    "OOMKilled": "It used more memory than its limit: give the task more `memory`.",
    "ErrImagePull": "The image cannot be had: correct it under images in include/config, or build and push it.",
    "ImagePullBackOff": "The image cannot be had: correct it under images in include/config, or build and push it.",
    "InvalidImageName": "The image's name is malformed: correct it under images in include/config.",
    "CreateContainerConfigError": "A ConfigMap or Secret it refers to is missing: apply the platform's manifests.",
    "Unschedulable": "No node fits: see the event; free the pool, or ask for less, or add nodes to the pool.",
    "Evicted": "The node ran short and evicted it: clear the task; if it recurs, raise its requests.",
    "DeadlineExceeded": "It ran into its deadline: raise the task's execution_timeout, or find what made it slow.",
    "NodeLost": "The node went away: clear the task.",
}


def redacted(text: str) -> str:
    """A text without what looks like a credential.

    >>> redacted("cannot reach postgresql://lake:hunter2@db/lake")
    'cannot reach postgresql://lake:***@db/lake'
    """
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def container_outcome(pod: Manifest, container: str) -> tuple[str, str, int | None]:
    """What became of a container.

    :param pod: manifest with status.
    :param container: its name.
    :returns: reason, message (both may be empty) and exit code (None unless it terminated).
    """
    status = pod.get("status") or {}
    for entry in status.get("containerStatuses") or ():
        if entry.get("name") != container:
            continue
        state = entry.get("state") or {}
        for phase in ("terminated", "waiting"):
            if details := state.get(phase):
                return details.get("reason") or "", details.get("message") or "", details.get("exitCode")
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return condition.get("reason") or "", condition.get("message") or "", None
    return status.get("reason") or "", status.get("message") or "", None


def main_container(pod: Manifest) -> str:
    """The name of a pod's first container."""
    return str(pod["spec"]["containers"][0]["name"])


def is_in_trouble(pod: Manifest) -> bool:
    """Whether a pod has failed, or cannot start."""
    phase = (pod.get("status") or {}).get("phase")
    return phase == "Failed" or bool(waiting.reason(pod)) or last_run(pod, main_container(pod)) is not None


def last_run(pod: Manifest, container: str) -> tuple[int, int] | None:
    """How often a container that is not up has restarted, and the exit code of its last run; None if it never did."""
    for entry in (pod.get("status") or {}).get("containerStatuses") or ():
        ended = (entry.get("lastState") or {}).get("terminated")
        if entry.get("name") == container and ended and not entry.get("ready"):
            return entry.get("restartCount", 0), ended.get("exitCode", -1)
    return None


def explain_pod(
    pod: Manifest | None, container: str, events: Iterable[Manifest] = (), log_tail: Sequence[str] = ()
) -> str:
    """Why a pod did not do its work: exit code and reason, warnings, last log lines, and what to do.

    :param pod: its manifest with status, None when it is gone.
    :param container: the container that matters.
    :param events: the pod's events.
    :param log_tail: the last lines of that container's log.
    """
    if pod is None:
        return "Its pod is gone: somebody, or the cluster, deleted it. Clear the task to run it again."
    name = f"{pod['metadata'].get('namespace', '')}/{pod['metadata']['name']}"
    reason, message, exit_code = container_outcome(pod, container)
    phase = (pod.get("status") or {}).get("phase", "Unknown")
    if previous := last_run(pod, container):
        restarts, code = previous
        happened = f"Pod {name}: container {container} has restarted {restarts} time(s), last after exit code {code}."
    elif exit_code is not None:
        happened = f"Pod {name}: container {container} ended with exit code {exit_code}"
        happened += f" ({reason})." if reason and reason != "Error" else "."
    else:
        happened = f"Pod {name} is {phase}" + (f": {reason}." if reason else ".")
    lines = [happened]
    # Under FallbackToLogsOnError the message of a failed container is the end of its log: not twice.
    if message and not log_tail:
        lines += _indented("Message:", message.splitlines())
    warnings = [event for event in events if event.get("type") == "Warning"]
    lines += _indented("Events:", [f"{event.get('reason')}: {event.get('message')}" for event in warnings[-5:]])
    lines += _indented("Last log lines:", log_tail[-LOG_LINES:])
    lines.append(MENDS.get(reason, RUNBOOK))
    return "\n".join(lines)


def _indented(title: str, lines: Sequence[str]) -> list[str]:
    if not lines:
        return []
    return [title, *(f"  {redacted(line.rstrip())[:LINE_LENGTH]}" for line in lines)]
