"""Why a pod ended, in words: as kubelets, the scheduler and controllers write it into its status."""

from typing import Any

import pytest
from podium.endings import stopped
from podium.failures import explain_pod
from podium.triggers.pod import PodTrigger

EARLY, LATE, LATER = "2026-01-01T00:00:00Z", "2026-01-01T00:10:00Z", "2026-01-01T00:20:00Z"


def pod(
    code: int | None = None, why: str = "Error", phase: str = "Failed", finished: str = LATER, **status: Any
) -> dict[str, Any]:
    metadata = {"name": "fit", "namespace": "podium", "uid": "u", **status.pop("metadata", {})}
    state = {"terminated": {"exitCode": code, "reason": why, "finishedAt": finished}}
    containers = [] if code is None else [{"name": "base", "state": state}]
    return {
        "metadata": metadata,
        "spec": {"containers": [{"name": "base"}]},
        "status": {"phase": phase, "containerStatuses": containers, **status},
    }


def target(reason: str, since: str = LATE) -> dict[str, Any]:
    condition = {"type": "DisruptionTarget", "status": "True", "reason": reason, "lastTransitionTime": since}
    return {"conditions": [condition]}


MEMORY = {"reason": "Evicted", "message": "The node was low on resource: memory. Threshold quantity: 100Mi"}
DISK = {"reason": "Evicted", "message": "Pod ephemeral local storage usage exceeds the total limit of containers 1Gi."}
SHUTDOWN = {"reason": "Terminated", "message": "Pod was terminated in response to imminent node shutdown."}


@pytest.mark.parametrize(
    ("found", "cause", "mend"),
    [
        (pod(137, "OOMKilled"), "used more memory than its limit", "more `memory`"),
        (pod(137, "OOMKilled", **MEMORY), "evicted", "what asks for little is evicted first"),
        (pod(0, "Completed", **MEMORY), "evicted", "what asks for little is evicted first"),
        (pod(None, **DISK), "evicted", "ran out of disk"),
        (pod(137), "killed (SIGKILL), not for its own memory limit", "events"),
        (pod(143), "told to stop (SIGTERM)", "clear the task"),
        (pod(127), "not in the image", "arguments"),
        (pod(128, "StartError"), "cannot start its command", "arguments"),
        (pod(128, "ContainerCannotRun"), "cannot run its command", "arguments"),
        (pod(143, **target("PreemptionByScheduler")), "higher priority", "Nothing is wrong with the work"),
        (pod(0, "Completed", **target("PreemptionByScheduler")), "higher priority", "Nothing is wrong"),
        (pod(143, **target("DeletionByTaintManager")), "taint", "Nothing is wrong"),
        (pod(143, **target("EvictionByEvictionAPI")), "drained", "Nothing is wrong"),
        (pod(143, **target("TerminationByKubelet")), "its node ended it", "Nothing is wrong"),
        (pod(None, **target("DeletionByPodGC")), "its node is gone", "Nothing is wrong"),
        (pod(143, **target("OfTomorrow")), "OfTomorrow", "Nothing is wrong"),
        (pod(143, **SHUTDOWN), "its node was shut down", "Nothing is wrong"),
        (pod(None, reason="NodeLost"), "does not answer", "Nothing is wrong"),
        (pod(None, reason="NodeShutdown"), "about to shut down", "Nothing is wrong"),
        (pod(None, reason="Preempting"), "critical pod", "Nothing is wrong"),
        (pod(None, reason="OutOfcpu"), "its node had no cpu left", "Nothing is wrong"),
        (pod(None, reason="OutOfnvidia.com/gpu"), "its node had no nvidia.com/gpu left", "Nothing is wrong"),
        (pod(None, reason="UnexpectedAdmissionError"), "devices", "Nothing is wrong"),
        (pod(143, reason="DeadlineExceeded"), "deadline", "execution_timeout"),
    ],
)
def test_the_first_line_is_the_cause_and_the_last_what_to_do(found: dict[str, Any], cause: str, mend: str) -> None:
    lines = explain_pod(found, "base").splitlines()
    assert cause in lines[0]
    assert mend in lines[-1]


@pytest.mark.parametrize(
    ("found", "status"),
    [
        (pod(0, "Completed", "Succeeded"), "succeeded"),
        (pod(0, "Completed", **MEMORY), "stopped"),
        (pod(0, "Completed", "Succeeded", **target("PreemptionByScheduler")), "stopped"),
        (pod(0, "Completed", "Succeeded", **target("DeletionByPodGC", LATER), finished=LATE), "succeeded"),
        (pod(0, "Completed", "Succeeded", metadata={"deletionTimestamp": LATER}, finished=LATE), "succeeded"),
        (
            pod(
                0,
                "Completed",
                "Succeeded",
                metadata={"deletionTimestamp": LATER, "deletionGracePeriodSeconds": 900},
                finished=LATE,
            ),
            "stopped",
        ),
        (pod(1), "failed"),
        (pod(143, **SHUTDOWN), "stopped"),
    ],
)
def test_what_was_told_to_stop_has_not_succeeded_but_what_was_done_before_has(
    found: dict[str, Any], status: str
) -> None:
    trigger = PodTrigger(
        base_container="base", startup_timeout_s=1, grace_s=1, namespace="podium", name="fit", uid="u", conn_id="k"
    )
    ended = trigger._ended(found)
    assert ended is not None
    assert ended["status"] == status
    assert (stopped(found, "base") is not None) == (status == "stopped")
