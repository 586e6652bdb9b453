"""Why a pod ended, by what the cluster says of it: its own reason, its disruption, its containers' ends.

What the cluster did to a pod comes before how the processes took it: one that was told to stop may well end with 0.
"""

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

Manifest = Mapping[str, Any]

# Of the API's times: what seems a second apart may have been in one moment.
RESOLUTION: Final = dt.timedelta(seconds=1)
AGAIN: Final = "Nothing is wrong with the work: clear the task, or let it retry."
MORE_MEMORY: Final = "Give the task more `memory`, or have it hold less at a time."
NO_IMAGE: Final = "Correct it under images in include/config, or build and push it."

# https://kubernetes.io/docs/concepts/scheduling-eviction/: `status.reason` of a pod -> what happened, what to do.
POD_REASONS: Final[dict[str, tuple[str, str]]] = {
    "Evicted": (
        "the node ran short and its kubelet evicted the pod",
        "Clear the task; if it recurs, raise its requests.",
    ),
    "Preempting": ("the node's kubelet ended it to make room for a critical pod", AGAIN),
    "Preempted": ("it had to make room for a pod of higher priority", AGAIN),
    "NodeLost": ("its node does not answer any more", AGAIN),
    "NodeShutdown": ("its node was about to shut down and did not take it", AGAIN),
    "Terminated": ("its node was shut down", AGAIN),
    "Shutdown": ("its node was shut down", AGAIN),
    "DeadlineExceeded": (
        "it ran into its deadline",
        "Raise the task's execution_timeout, or find what made it slow.",
    ),
    "UnexpectedAdmissionError": ("its node could not give it the devices that it asks for", AGAIN),
    "NodeAffinity": ("its node does not carry the labels any more that it asks for", AGAIN),
    "TopologyAffinityError": ("its node could not place its CPUs and devices together", AGAIN),
}
# https://kubernetes.io/docs/concepts/workloads/pods/disruptions/#pod-disruption-conditions
DISRUPTIONS: Final[dict[str, tuple[str, str]]] = {
    "PreemptionByScheduler": ("it had to make room for a pod of higher priority", AGAIN),
    "DeletionByTaintManager": ("its node got a taint that it does not tolerate: it went away, or was taken out", AGAIN),
    "EvictionByEvictionAPI": ("its node was drained", AGAIN),
    "TerminationByKubelet": ("its node ended it: it ran short, or was shut down", AGAIN),
    "DeletionByPodGC": ("its node is gone", AGAIN),
}
CONTAINER_REASONS: Final[dict[str, tuple[str, str]]] = {
    "OOMKilled": ("it used more memory than its limit", MORE_MEMORY),
    "ErrImagePull": ("the image cannot be had", NO_IMAGE),
    "ImagePullBackOff": ("the image cannot be had", NO_IMAGE),
    "InvalidImageName": ("the image's name is malformed", "Correct it under images in include/config."),
    "CreateContainerConfigError": (
        "a ConfigMap or Secret that it refers to is missing",
        "Apply the platform's manifests.",
    ),
    "ContainerCannotRun": ("the runtime cannot run its command", "Correct the task's arguments, or the image."),
    "StartError": ("the runtime cannot start its command", "Correct the task's arguments, or the image."),
    "Unschedulable": (
        "no node fits",
        "See the event; free the pool, or ask for less, or add nodes to the pool.",
    ),
    "DeadlineExceeded": POD_REASONS["DeadlineExceeded"],
}
# https://tldp.org/LDP/abs/html/exitcodes.html: 128 and the number of a signal.
EXIT_CODES: Final[dict[int, tuple[str, str]]] = {
    126: ("its command cannot be executed", "Correct the task's arguments, or the image."),
    127: ("its command is not in the image", "Correct the task's arguments, or the image."),
    132: ("it used an instruction that this CPU does not have (SIGILL)", "Run it on another node pool."),
    134: ("it aborted itself (SIGABRT)", ""),
    137: (
        "it was killed (SIGKILL), not for its own memory limit: by a node that ran out, or by somebody",
        "See the pod's events; if it recurs, raise its `memory`.",
    ),
    139: ("it crashed (SIGSEGV)", ""),
    143: ("it was told to stop (SIGTERM) before it was done", AGAIN),
}
SHORT_OF: Final = (
    (re.compile(r"low on resource: memory"), "Raise the task's `memory`: what asks for little is evicted first."),
    (
        re.compile(r"ephemeral|emptydir|inodes|low on resource: (?:nodefs|imagefs)", re.IGNORECASE),
        "It, or its node, ran out of disk: have it write less, or to the object store.",
    ),
)


@dataclass(frozen=True)
class Ending:
    """What the cluster says.

    :param words: what happened, as the end of a sentence.
    :param mend: what a person does about it; empty where the log says more.
    :param message: the cluster's own words.
    """

    words: str
    mend: str = ""
    message: str = ""


def disruption(pod: Manifest) -> Ending | None:
    """What the cluster did to a pod to end it; None where it did nothing."""
    status = pod.get("status") or {}
    reason, message = status.get("reason") or "", status.get("message") or ""
    if reason.startswith("OutOf"):
        return Ending(f"its node had no {reason.removeprefix('OutOf')} left when it came", AGAIN, message)
    if reason in POD_REASONS:
        words, mend = POD_REASONS[reason]
        short = next((what for pattern, what in SHORT_OF if pattern.search(message)), mend)
        return Ending(words, short if reason == "Evicted" else mend, message)
    for condition in status.get("conditions") or ():
        if condition.get("type") == "DisruptionTarget" and condition.get("status") == "True":
            why = condition.get("reason") or ""
            words, mend = DISRUPTIONS.get(why, (f"the cluster ended it ({why})", AGAIN))
            return Ending(words, mend, condition.get("message") or "")
    return None


def stopped(pod: Manifest, container: str) -> Ending | None:
    """Why a container that ended did so before it was done; None where nobody told it to.

    A process that is told to stop may end with 0: that is no success. One that had ended before is not touched by what
    became of its pod later.
    """
    ended = terminated(pod, container)
    metadata = pod.get("metadata") or {}
    told = _told_at(pod)
    if ended is None or (told is not None and _moment(ended.get("finishedAt")) < told - RESOLUTION):
        return None
    if found := disruption(pod):
        return found
    if metadata.get("deletionTimestamp"):
        return Ending("its pod was deleted while it was at work", AGAIN)
    return None


def terminated(pod: Manifest, container: str) -> Manifest | None:
    """The terminated state of a container, init containers among them; None while it has none."""
    for entry in statuses(pod):
        if entry.get("name") == container and (found := (entry.get("state") or {}).get("terminated")):
            ended: Manifest = found
            return ended
    return None


def statuses(pod: Manifest) -> list[Manifest]:
    """The statuses of all containers of a pod, in the order in which they start."""
    status = pod.get("status") or {}
    return [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]


def failed_init_container(pod: Manifest) -> str | None:
    """The init container that keeps a pod from its work: one that failed, or that is started again and again."""
    for entry in (pod.get("status") or {}).get("initContainerStatuses") or ():
        ends = [(entry.get(which) or {}).get("terminated") or {} for which in ("state", "lastState")]
        if any(end.get("exitCode") for end in ends) and not entry.get("ready"):
            return str(entry["name"])
    return None


def _told_at(pod: Manifest) -> dt.datetime | None:
    """When the cluster first let the pod's processes know that they are to end, as far as it is known."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    moments = [
        _moment(condition.get("lastTransitionTime"))
        for condition in conditions
        if condition.get("type") == "DisruptionTarget" and condition.get("status") == "True"
    ]
    metadata = pod.get("metadata") or {}
    if metadata.get("deletionTimestamp"):
        # That is when the grace will be over.
        grace = dt.timedelta(seconds=metadata.get("deletionGracePeriodSeconds") or 0)
        moments.append(_moment(metadata["deletionTimestamp"]) - grace)
    return min(moments, default=None)


def _moment(text: str | None) -> dt.datetime:
    """A time of the API; what is missing was as late as can be."""
    if not text:
        return dt.datetime.max.replace(tzinfo=dt.UTC)
    return dt.datetime.fromisoformat(text).astimezone(dt.UTC)
