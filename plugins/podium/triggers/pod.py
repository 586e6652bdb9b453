"""Waits until the container of a pod that matters is done."""

import asyncio
import datetime as dt
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from podium import waiting
from podium.endings import failed_init_container, stopped
from podium.failures import container_outcome
from podium.hooks.watch import snapshots
from podium.triggers.work import Payload, WorkTrigger

if TYPE_CHECKING:
    from kubernetes_asyncio.client import ApiClient


class PodTrigger(WorkTrigger):
    """Fires once when the container has ended, did not start, is gone or out of time.

    A pod may wait for a node for as long as its task may run, but one that has a node must start soon: what keeps it
    from that, a missing image or Secret, does not pass by itself.

    The event, as the provider's operator expects it: `name`, `namespace`, `status` (success, failed, timeout, gone,
    stopped), `message`, and `log_complete`.

    :param base_container: the container that matters.
    :param log_containers: those whose logs are copied, in the order in which they run; default: the one that matters.
    :param startup_timeout_s: how long it may take to start once the pod has a node.
    :param grace_s: how long its processes have to end when somebody ends the task.
    :param further: arguments of WorkTrigger.
    """

    def __init__(
        self,
        *,
        base_container: str,
        startup_timeout_s: float,
        grace_s: int | None,
        log_containers: Sequence[str] | None = None,
        **further: Any,
    ) -> None:
        super().__init__(
            base_container=base_container,
            startup_timeout_s=startup_timeout_s,
            grace_s=grace_s,
            log_containers=log_containers,
            **further,
        )
        self.base_container, self.startup_timeout_s, self.grace_s = base_container, startup_timeout_s, grace_s
        self.log_containers = [base_container] if log_containers is None else list(log_containers)

    @property
    def title(self) -> str:
        """The pod's name."""
        return f"pod {self.namespace}/{self.name}"

    @property
    def container(self) -> str:
        """The base container."""
        return self.base_container

    @property
    def containers(self) -> list[str]:
        """Init containers too, where their logs are wanted."""
        return self.log_containers

    @property
    def log_pods(self) -> dict[str, str]:
        """The pod."""
        return {"field_selector": f"metadata.name={self.name}"}

    @property
    def all_pods(self) -> dict[str, str]:
        """The pod."""
        return self.log_pods

    async def wait(self, connection: "ApiClient") -> Payload:
        """Wait until the container has ended."""
        from kubernetes_asyncio.client import CoreV1Api

        call = partial(CoreV1Api(connection).list_namespaced_pod, self.namespace)
        pod: dict[str, Any] | None = None
        try:
            async with asyncio.timeout(None) as limit:
                async for found in snapshots(call, **self.log_pods):
                    pod = found.get(self.name)
                    if pod is None or pod["metadata"]["uid"] != self.uid:
                        return {"status": "gone", "message": "the pod is gone"}
                    if ended := self._ended(pod):
                        return ended
                    limit.reschedule(self._start_limit(pod))
        except TimeoutError:
            if not limit.expired():
                raise
            why = waiting.reason(pod or {}) or "its container is not created"
            return {"status": "timeout", "message": f"the pod has a node, but did not start: {why}"}
        raise RuntimeError("a watch never ends by itself")

    async def delete(self, connection: "ApiClient") -> None:
        """Delete the pod."""
        from kubernetes_asyncio.client import ApiException, CoreV1Api

        grace: dict[str, Any] = {} if self.grace_s is None else {"grace_period_seconds": self.grace_s}
        try:
            await CoreV1Api(connection).delete_namespaced_pod(self.name, self.namespace, **grace)
        except ApiException as error:
            if error.status != 404:
                raise

    def event(self, payload: Payload) -> Payload:
        """As the provider's operator expects it."""
        return {
            "name": self.name,
            "namespace": self.namespace,
            "status": {"succeeded": "success"}.get(payload["status"], payload["status"]),
            "message": payload.get("message", ""),
            "log_complete": bool(self._logs) and all(log.complete for log in self._logs.values()),
        }

    def _ended(self, pod: dict[str, Any]) -> Payload | None:
        reason, _, exit_code = container_outcome(pod, self.base_container)
        phase = (pod.get("status") or {}).get("phase")
        if exit_code is not None and (ending := stopped(pod, self.base_container)):
            return {"status": "stopped", "message": ending.words}
        if exit_code == 0 or phase == "Succeeded":
            return {"status": "succeeded"}
        if exit_code is not None:
            return {"status": "failed", "message": f"its container ended with exit code {exit_code} ({reason})"}
        if phase == "Failed":
            init = failed_init_container(pod)
            return {
                "status": "failed",
                "message": f"its init container {init} failed" if init else reason or "it failed",
            }
        return None

    def _start_limit(self, pod: dict[str, Any]) -> float | None:
        """When the pod must have started, by the event loop's clock; None while it waits for a node, or runs."""
        if waiting.has_started(pod, self.base_container):
            return None
        for condition in (pod.get("status") or {}).get("conditions") or ():
            if condition.get("type") == "PodScheduled" and condition.get("status") == "True":
                bound = dt.datetime.fromisoformat(condition["lastTransitionTime"])
                waited = (dt.datetime.now(dt.UTC) - bound).total_seconds()
                return asyncio.get_running_loop().time() + max(0.0, self.startup_timeout_s - waited)
        return None
