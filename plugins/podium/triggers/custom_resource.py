"""Waits until a custom resource is done, and follows the log of the pod that matters meanwhile."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from airflow.providers.cncf.kubernetes.hooks.kubernetes import AsyncKubernetesHook
from airflow.triggers.base import BaseTrigger, TriggerEvent

from podium.hooks.watch import snapshots
from podium.kinds import KINDS, Judgement, Kind

if TYPE_CHECKING:
    from kubernetes_asyncio.client import CoreV1Api, CustomObjectsApi

# How long the rest of a log may take once the object is done, and how long a log may take to begin.
LOG_REST_S: Final = 10.0
LOG_BEGIN_S: Final = 2.0
LONGEST_LOG_S: Final = 7 * 24 * 3600


class CustomResourceTrigger(BaseTrigger):
    """Fires once when the object has succeeded, failed, gone or run out of time.

    The event: `status` (succeeded, failed, gone, timeout), `reason`, `message`.

    :param kind: name of the kind, a key of `podium.kinds.KINDS`.
    :param namespace: where the object is.
    :param name: the object.
    :param uid: of the object: another one under the same name is not the one that was waited for.
    :param conn_id: the Kubernetes connection.
    :param deadline: seconds since the epoch, None for ever.
    :param condition: a condition that must be True beyond what the kind asks for.
    :param follow_log: write the log of the pod that matters into the task's log.
    :param delete_on_kill: delete the object when somebody ends the task.
    """

    def __init__(
        self,
        *,
        kind: str,
        namespace: str,
        name: str,
        uid: str,
        conn_id: str,
        deadline: float | None = None,
        condition: str | None = None,
        follow_log: bool = True,
        delete_on_kill: bool = True,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.arguments: dict[str, Any] = {
            "kind": kind,
            "namespace": namespace,
            "name": name,
            "uid": uid,
            "conn_id": conn_id,
            "deadline": deadline,
            "condition": condition,
            "follow_log": follow_log,
            "delete_on_kill": delete_on_kill,
        }
        self.kind: Kind = KINDS[kind]
        self.namespace, self.name, self.uid = namespace, name, uid
        self.conn_id, self.deadline, self.condition = conn_id, deadline, condition
        self.follow_log, self.delete_on_kill = follow_log, delete_on_kill
        self._copying = False
        self._copied = asyncio.Event()

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """As Airflow stores it."""
        return (f"{type(self).__module__}.{type(self).__qualname__}", self.arguments)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, then fire once."""
        from kubernetes_asyncio.client import CoreV1Api, CustomObjectsApi

        remaining = None if self.deadline is None else max(0.0, self.deadline - time.time())
        async with self._hook().get_conn() as connection:
            follower = asyncio.create_task(self._follow(CoreV1Api(connection))) if self.follow_log else None
            try:
                async with asyncio.timeout(remaining):
                    payload = await self._wait(CustomObjectsApi(connection))
            except TimeoutError:
                payload = {"status": "timeout", "reason": "DeadlineExceeded", "message": ""}
            if follower is not None:
                await self._finish(follower, is_over=payload["status"] in ("succeeded", "failed"))
        yield TriggerEvent(payload)  # type: ignore[no-untyped-call]

    async def on_kill(self) -> None:
        """Delete the object: Airflow calls this only when somebody ended the task, not when a triggerer stops."""
        from kubernetes_asyncio.client import ApiException, CustomObjectsApi

        if not self.delete_on_kill:
            return
        self.log.info("The task was ended: deleting %s %s/%s", self.kind.name, self.namespace, self.name)
        async with self._hook().get_conn() as connection:
            try:
                await CustomObjectsApi(connection).delete_namespaced_custom_object(
                    self.kind.group,
                    self.kind.version,
                    self.namespace,
                    self.kind.plural,
                    self.name,
                    propagation_policy="Background",
                )
            except ApiException as error:
                if error.status != 404:
                    raise

    async def _wait(self, api: "CustomObjectsApi") -> dict[str, str]:
        call = partial(
            api.list_namespaced_custom_object,
            self.kind.group,
            self.kind.version,
            self.namespace,
            self.kind.plural,
        )
        said: Judgement | None = None
        async for found in snapshots(call, field_selector=f"metadata.name={self.name}"):
            manifest = found.get(self.name)
            if manifest is None or manifest["metadata"]["uid"] != self.uid:
                return {"status": "gone", "reason": "Deleted", "message": ""}
            judgement = self.kind.judge(manifest)
            if judgement != said:
                self.log.info(
                    "%s %s is %s %s", self.kind.name, self.name, judgement.phase, judgement.reason or judgement.message
                )
                said = judgement
            if judgement.phase.is_final and self._holds(manifest):
                return {"status": judgement.phase.value, "reason": judgement.reason, "message": judgement.message}
        raise RuntimeError("a watch never ends by itself")

    def _holds(self, manifest: dict[str, Any]) -> bool:
        if self.condition is None:
            return True
        conditions = (manifest.get("status") or {}).get("conditions") or ()
        return any(c["type"] == self.condition and c.get("status") == "True" for c in conditions)

    async def _follow(self, api: "CoreV1Api") -> None:
        """Copy the log of the newest pod that matters; when another takes its place, that one's too."""
        done: set[str] = set()
        selector = self.kind.pod_selector.format(name=self.name)
        call = partial(api.list_namespaced_pod, self.namespace)
        async for pods in snapshots(call, label_selector=selector):
            for pod in sorted(pods.values(), key=lambda pod: str(pod["metadata"].get("creationTimestamp"))):
                uid = pod["metadata"]["uid"]
                if uid not in done and _has_started(pod, self.kind.container):
                    done.add(uid)
                    await self._copy_log(api, pod["metadata"]["name"])

    async def _copy_log(self, api: "CoreV1Api", pod: str) -> None:
        self.log.info("Log of pod %s:", pod)
        self._copying = True
        self._copied.clear()
        # Typed as the text that it is when the client reads it itself.
        response: Any = await api.read_namespaced_pod_log(
            pod,
            self.namespace,
            container=self.kind.container,
            follow=True,
            _preload_content=False,
            _request_timeout=LONGEST_LOG_S,
        )
        async with response:
            rest = b""
            async for chunk in response.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    self.log.info("%s", line.decode("utf-8", "backslashreplace"))
            if rest:
                self.log.info("%s", rest.decode("utf-8", "backslashreplace"))
        self._copying = False
        self._copied.set()

    async def _finish(self, follower: "asyncio.Task[None]", *, is_over: bool) -> None:
        """Give the log of finished work time to end; the follower itself never does, since pods may be replaced."""
        if is_over:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOG_REST_S if self._copying else LOG_BEGIN_S):
                    await self._copied.wait()
        follower.cancel()
        try:
            await follower
        except asyncio.CancelledError:
            pass
        except Exception:
            # The log is for reading along; what became of the work is known without it.
            self.log.warning("The log could not be followed to its end", exc_info=True)

    def _hook(self) -> AsyncKubernetesHook:
        return AsyncKubernetesHook(conn_id=self.conn_id)


def _has_started(pod: dict[str, Any], container: str) -> bool:
    for status in (pod.get("status") or {}).get("containerStatuses") or ():
        if status.get("name") == container:
            state = status.get("state") or {}
            return bool(state.get("running") or state.get("terminated"))
    return False
