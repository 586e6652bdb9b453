"""Turns a pod that ended badly into a text that a tired person can act on.

Works on manifests as plain dictionaries and never prints a pod's spec, whose environment may hold anything.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from podium import waiting
from podium.causes import cause, without_frames
from podium.endings import (
    CONTAINER_REASONS,
    EXIT_CODES,
    POD_REASONS,
    Ending,
    disruption,
    failed_init_container,
    statuses,
    stopped,
)
from podium.redaction import redacted

Manifest = Mapping[str, Any]

LOG_LINES: Final = 15
# So much of a log is looked through for the cause: the frames of a few stacks are no more.
CAUSE_LINES: Final = 200
LINE_LENGTH: Final = 400

RUNBOOK: Final = "Follow the runbook of this task in the DAG's docs, mend the cause, then clear the task."
# All but the tabulator: a text for people neither moves their cursor nor ends in the middle.
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def container_outcome(pod: Manifest, container: str) -> tuple[str, str, int | None]:
    """What became of a container.

    :param pod: manifest with status.
    :param container: its name.
    :returns: reason, message (both may be empty) and exit code (None unless it terminated).
    """
    status = pod.get("status") or {}
    for entry in statuses(pod):
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
    restarted = last_run(pod, main_container(pod)) is not None or failed_init_container(pod) is not None
    return phase == "Failed" or bool(waiting.reason(pod)) or restarted


def last_run(pod: Manifest, container: str) -> tuple[int, int] | None:
    """How often a container that is not up has restarted, and the exit code of its last run; None if it never did."""
    for entry in statuses(pod):
        ended = (entry.get("lastState") or {}).get("terminated")
        if entry.get("name") == container and ended and not entry.get("ready"):
            return entry.get("restartCount", 0), ended.get("exitCode", -1)
    return None


def telling_container(pod: Manifest, container: str) -> str:
    """The container whose end and log say why a pod did not do its work: an init container that failed, or its own."""
    return failed_init_container(pod) or container


def explain_pod(
    pod: Manifest | None, container: str, events: Iterable[Manifest] = (), log_tail: Sequence[str] = ()
) -> str:
    """Why a pod did not do its work: the cause, exit code and reason, warnings, last log lines, and what to do.

    :param pod: its manifest with status, None when it is gone.
    :param container: the container that matters; where an init container kept it from its work, that is told instead.
    :param events: the pod's events.
    :param log_tail: the last lines of the log of `telling_container`.
    :returns: several lines, the first of which is the cause.
    """
    if pod is None:
        return "its pod is gone: somebody, or the cluster, deleted it.\nClear the task to run it again."
    name = f"{pod['metadata'].get('namespace', '')}/{pod['metadata']['name']}"
    init, container = failed_init_container(pod), telling_container(pod, container)
    what = f"init container {container}" if init else f"container {container}"
    reason, message, exit_code = container_outcome(pod, container)
    phase = (pod.get("status") or {}).get("phase", "Unknown")
    previous = last_run(pod, container)
    if previous:
        restarts, code = previous
        happened = f"Pod {name}: {what} has restarted {restarts} time(s), last after exit code {code}."
    elif exit_code is not None:
        happened = f"Pod {name}: {what} ended with exit code {exit_code}"
        happened += f" ({reason})." if reason and reason != "Error" else "."
    else:
        happened = f"Pod {name} is {phase}" + (f": {reason}." if reason else ".")
    ending = _ending(pod, container, reason, exit_code)
    # Under FallbackToLogsOnError the message of a failed container is the end of its log: not twice.
    said = list(log_tail) or message.split("\n")
    why = cause(said)
    first = ending.words if ending and ending.mend else why or (ending.words if ending else "")
    lines = [*(_shown([first])[:1] if first else ()), happened]
    if ending and ending.message and ending.message != message:
        lines += _indented("The cluster says:", ending.message.split("\n"))
    if message and not log_tail:
        lines += _indented("Message:", message.split("\n")[-LOG_LINES:])
    warnings = [event for event in events if event.get("type") == "Warning"]
    lines += _indented("Events:", [f"{event.get('reason')}: {event.get('message')}" for event in warnings[-5:]])
    lines += _indented("Last log lines:", without_frames(log_tail)[-LOG_LINES:])
    lines.append(ending.mend if ending and ending.mend else RUNBOOK)
    return "\n".join(lines)


def _ending(pod: Manifest, container: str, reason: str, exit_code: int | None) -> Ending | None:
    """What the cluster did to the pod; else what it says of the container."""
    if found := (stopped(pod, container) if exit_code is not None else disruption(pod)):
        return found
    if reason in CONTAINER_REASONS:
        return Ending(*CONTAINER_REASONS[reason])
    if exit_code is None and reason in POD_REASONS:
        return Ending(*POD_REASONS[reason])
    return Ending(*EXIT_CODES[exit_code]) if exit_code in EXIT_CODES else None


def _indented(title: str, lines: Sequence[str]) -> list[str]:
    return [title, *(f"  {line}" for line in _shown(lines))] if lines else []


def _shown(lines: Sequence[str]) -> list[str]:
    """Lines as people may see them: without credentials, and of a line that was redrawn what a terminal shows last."""
    last = (line.rstrip().rpartition("\r")[2] for line in lines)
    hidden = redacted("\n".join(last)).split("\n")
    return [_CONTROL.sub(_escaped, line)[:LINE_LENGTH] for line in hidden]


def _escaped(match: re.Match[str]) -> str:
    return f"\\x{ord(match[0]):02x}"
