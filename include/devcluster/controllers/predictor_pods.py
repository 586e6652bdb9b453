"""What a predictor's pods say about it: which serve, which drain, which are missing, and what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from include.devcluster.controllers.objects import (
    Manifest,
    container_statuses,
    is_deleting,
    is_ready,
    labels_of,
    phase,
    shorten,
)
from include.devcluster.controllers.predictors import APP_LABEL, Predictor

WAITING_TROUBLES = frozenset(
    {
        "CrashLoopBackOff", "ImagePullBackOff", "ErrImagePull", "InvalidImageName",
        "CreateContainerConfigError", "CreateContainerError", "RunContainerError",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Trouble:
    """Why a pod is not ready."""

    pod: str
    reason: str
    message: str
    exit_code: int = 0


@dataclass(frozen=True)
class Pods:
    """A predictor's pods sorted by what to do with them."""

    missing: tuple[str, ...]
    serving: tuple[Manifest, ...]
    draining: tuple[Manifest, ...]
    dead: tuple[Manifest, ...]
    ready: int
    troubles: tuple[Trouble, ...]
    rolled_out: bool


def sort_pods(predictor: Predictor, pods: Sequence[Manifest]) -> Pods:
    """Compare a predictor's pods with what is wanted.

    Pods of an older template serve on until enough new ones are ready; then they drain. Pods that have ended
    (evicted, or their node lost) are dead and make room for new ones.
    """
    wanted = [f"{predictor.workload}-{predictor.hash}-{index}" for index in range(predictor.replicas)]
    own = [pod for pod in pods if labels_of(pod).get(APP_LABEL) == f"isvc.{predictor.workload}"]
    dead = [pod for pod in own if phase(pod) in ("Failed", "Succeeded")]
    alive = [pod for pod in own if pod not in dead]
    current = [pod for pod in alive if pod["metadata"]["name"] in wanted]
    older = [pod for pod in alive if pod["metadata"]["name"] not in wanted]
    ready = [pod for pod in current if is_ready(pod)]
    rolled_out = len(ready) >= predictor.replicas
    existing = {pod["metadata"]["name"] for pod in own}
    troubles = [trouble for pod in current if (trouble := trouble_of(pod)) is not None]
    return Pods(
        missing=tuple(name for name in wanted if name not in existing),
        serving=tuple(ready + ([] if rolled_out else [pod for pod in older if is_ready(pod)])),
        draining=tuple(older if rolled_out else []),
        dead=tuple(dead),
        ready=len(ready),
        troubles=tuple(troubles),
        rolled_out=rolled_out,
    )


def orphans(predictors: Sequence[Predictor], pods: Sequence[Manifest]) -> list[Manifest]:
    """Pods of predictors that the service does not have any more."""
    wanted = {f"isvc.{predictor.workload}" for predictor in predictors}
    return [pod for pod in pods if labels_of(pod).get(APP_LABEL) not in wanted]


def trouble_of(pod: Manifest) -> Trouble | None:
    """What keeps a pod from being ready, when it is more than the time it takes to start."""
    name = pod["metadata"]["name"]
    if is_ready(pod) or is_deleting(pod):
        return None
    for status in container_statuses(pod):
        waiting = (status.get("state") or {}).get("waiting") or {}
        last = (status.get("lastState") or {}).get("terminated") or (status.get("state") or {}).get("terminated") or {}
        code = int(last.get("exitCode") or 0)
        died = f"container {status['name']} exited with code {code}" if last else ""
        said = str(last.get("message") or waiting.get("message") or "").strip()
        text = shorten(": ".join(part for part in (died, said) if part))
        if waiting.get("reason") in WAITING_TROUBLES:
            return Trouble(name, waiting["reason"], text, code)
        if last:
            return Trouble(name, last.get("reason") or "Error", text, code)
    for condition in (pod.get("status") or {}).get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return Trouble(name, condition.get("reason") or "Unschedulable", condition.get("message") or "")
    return None
