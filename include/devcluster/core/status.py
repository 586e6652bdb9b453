"""A pod's status from the state of its containers, as the kubelet computes it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from include.devcluster.core.objects import Object, now


@dataclass
class ContainerState:
    """What the kubelet knows of one container.

    :param state: `{waiting|running|terminated: {...}}`.
    :param last: the same, of the run before.
    """

    state: Object
    last: Object = field(default_factory=dict)
    restarts: int = 0
    ready: bool = False
    started: bool = False
    container_id: str = ""
    image_id: str = ""

    @property
    def terminated(self) -> Object | None:
        """How it ended, if it has."""
        return self.state.get("terminated")

    @property
    def succeeded(self) -> bool:
        """Whether it has ended, and well."""
        return self.terminated is not None and self.terminated["exitCode"] == 0

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return "running" in self.state


def make(pod: Object, inits: dict[str, ContainerState], mains: dict[str, ContainerState]) -> Object:
    """The complete status; reason and message of a pod that was failed as a whole are kept."""
    spec, old = pod["spec"], pod["status"]
    status: Object = {
        k: v for k, v in old.items() if k not in ("conditions", "containerStatuses", "initContainerStatuses")
    }
    status["phase"] = phase(spec["restartPolicy"], list(inits.values()), list(mains.values()))
    for container in spec.get("initContainers") or []:
        if container.get("restartPolicy") != "Always":
            # One that is to end is ready when it has ended well: pkg/kubelet/prober/prober_manager.go.
            inits[container["name"]].ready = inits[container["name"]].succeeded
    if inits:
        status["initContainerStatuses"] = [_container(c, inits[c["name"]]) for c in spec["initContainers"]]
    status["containerStatuses"] = [_container(c, mains[c["name"]]) for c in spec["containers"]]
    status["conditions"] = _conditions(pod, status["phase"], inits, mains)
    return status


def phase(policy: str, inits: list[ContainerState], mains: list[ContainerState]) -> str:
    """Pending, Running, Succeeded or Failed."""
    for init in inits:
        if init.started and init.running:
            continue
        done = init.terminated
        if done is None or done["exitCode"] != 0:
            return "Failed" if done and policy == "Never" else "Pending"
    if all(c.terminated for c in mains) and policy != "Always":
        if all(c.succeeded for c in mains):
            return "Succeeded"
        if policy == "Never":
            return "Failed"
    begun = any(c.running or c.terminated or c.last for c in mains)
    stuck = any("waiting" in c.state and not c.last for c in mains)
    return "Running" if begun and not stuck else "Pending"


def _container(container: Object, state: ContainerState) -> Object:
    return {
        "name": container["name"],
        "image": container["image"],
        "imageID": state.image_id,
        "containerID": state.container_id,
        "ready": state.ready,
        "started": state.started,
        "restartCount": state.restarts,
        "state": state.state,
        "lastState": state.last,
    }


def _conditions(
    pod: Object, current: str, inits: dict[str, ContainerState], mains: dict[str, ContainerState]
) -> list[Object]:
    unready = [name for name, c in mains.items() if not c.ready]
    sidecars = {c["name"] for c in pod["spec"].get("initContainers") or [] if c.get("restartPolicy") == "Always"}
    pending_inits = [n for n, c in inits.items() if not c.succeeded and not (n in sidecars and c.started and c.running)]
    done = current == "Succeeded"
    reason: tuple[str, str] | None = None
    if done:
        reason = ("PodCompleted", "")
    elif current == "Failed":
        reason = ("PodFailed", "")
    elif unready:
        reason = ("ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]")
    initialized = None if done or not pending_inits else (
        "ContainersNotInitialized", f"containers with incomplete status: [{' '.join(pending_inits)}]"
    )  # fmt: skip
    started = any(c.running or c.terminated or c.last for c in [*inits.values(), *mains.values()])
    wanted: list[tuple[str, bool, tuple[str, str] | None]] = [
        ("PodReadyToStartContainers", started and current not in ("Succeeded", "Failed"), None),
        ("Initialized", initialized is None, initialized or (reason if done else None)),
        ("Ready", reason is None, reason),
        ("ContainersReady", reason is None, reason),
        ("PodScheduled", True, None),
    ]
    return [_condition(pod, *item) for item in wanted]


def _condition(pod: Object, kind: str, holds: bool, why: tuple[str, str] | None) -> Object:
    value: dict[str, Any] = {"type": kind, "status": "True" if holds else "False", "lastProbeTime": None}
    if why:
        value["reason"] = why[0]
        if why[1]:
            value["message"] = why[1]
    before = next((c for c in pod["status"].get("conditions") or [] if c["type"] == kind), None)
    same = before is not None and before["status"] == value["status"]
    value["lastTransitionTime"] = before["lastTransitionTime"] if before and same else now()
    return value
