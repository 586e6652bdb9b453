"""Waits until a custom resource is done."""

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from podium.gang import Loss
from podium.hooks.watch import snapshots
from podium.kinds import KINDS, Judgement, Kind
from podium.triggers.work import Payload, WorkTrigger, stop

if TYPE_CHECKING:
    from kubernetes_asyncio.client import ApiClient

WORKER_LOST: Final = "WorkerLost"
# How long whoever leads a gang may take to notice that a member is lost: its log then tells what the ranks saw.
NOTICES_S: Final = 60.0
# And how long the controller may take to tell what it knows, where nobody leads.
NOTICED_S: Final = 10.0


class CustomResourceTrigger(WorkTrigger):
    """Fires once when the object has succeeded, failed, gone or run out of time.

    The event: `status` (succeeded, failed, gone, timeout), `reason`, `message`.

    :param kind: name of the kind, a key of `podium.kinds.KINDS`.
    :param condition: a condition that must be True beyond what the kind asks for.
    :param further: arguments of WorkTrigger.
    """

    def __init__(self, *, kind: str, condition: str | None = None, **further: Any) -> None:
        super().__init__(kind=kind, condition=condition, **further)
        self.kind: Kind = KINDS[kind]
        self.condition = condition

    @property
    def title(self) -> str:
        """Kind and name."""
        return f"{self.kind.name} {self.namespace}/{self.name}"

    @property
    def container(self) -> str:
        """That of the kind's pod that matters."""
        return self.kind.container

    @property
    def log_pods(self) -> dict[str, str]:
        """The kind's pods that matter."""
        return {"label_selector": self.kind.pod_selector.format(name=self.name)}

    @property
    def all_pods(self) -> dict[str, str]:
        """All pods of the object."""
        return {"label_selector": self.kind.all_pods_selector.format(name=self.name)}

    async def wait(self, connection: "ApiClient") -> Payload:
        """Wait until the object's own status says that it is over, or it is clear that it never will."""
        ways = [self._status(connection)]
        if self.kind.gang is not None:
            ways.append(self._loss(connection))
        if self.kind.refused:
            ways.append(self._refusal(connection))
        tasks = [asyncio.ensure_future(way) for way in ways]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            return min(done, key=tasks.index).result()
        finally:
            for task in tasks:
                await stop(task)

    async def _status(self, connection: "ApiClient") -> Payload:
        from kubernetes_asyncio.client import CustomObjectsApi

        kind = self.kind
        call = partial(
            CustomObjectsApi(connection).list_namespaced_custom_object,
            kind.group,
            kind.version,
            self.namespace,
            kind.plural,
        )
        said: Judgement | None = None
        async for found in snapshots(call, field_selector=f"metadata.name={self.name}"):
            manifest = found.get(self.name)
            if manifest is None or manifest["metadata"]["uid"] != self.uid:
                return {"status": "gone", "reason": "Deleted", "message": ""}
            judgement = kind.judge(manifest)
            if judgement != said:
                why = ": ".join(part for part in (judgement.reason, judgement.message) if part)
                self.log.info("%s %s is %s%s", kind.name, self.name, judgement.phase, f" ({why})" if why else "")
                said = judgement
            if judgement.phase.is_final and self._holds(manifest):
                return {"status": judgement.phase.value, "reason": judgement.reason, "message": judgement.message}
        raise RuntimeError("a watch never ends by itself")

    async def _loss(self, connection: "ApiClient") -> Payload:
        """Wait until members of the gang are lost, and nobody else has noticed for a while."""
        from kubernetes_asyncio.client import CoreV1Api

        gang = self.kind.gang
        if gang is None:
            raise RuntimeError(f"{self.kind.name} is no gang")
        changes = aiter(snapshots(partial(CoreV1Api(connection).list_namespaced_pod, self.namespace), **self.all_pods))
        pending = asyncio.ensure_future(anext(changes))
        loss: Loss | None = None
        since = 0.0
        try:
            while True:
                patience = NOTICES_S if loss and loss.is_led else NOTICED_S
                left = None if loss is None else since + patience - time.monotonic()
                done, _ = await asyncio.wait({pending}, timeout=None if left is None else max(0.0, left))
                if not done and loss is not None:
                    who = f"pod{'s' if len(loss.members) > 1 else ''} {', '.join(loss.members)}"
                    text = f"{who} of {self.title} ended before the work did, and it cannot go on without"
                    return {"status": "failed", "reason": WORKER_LOST, "message": text}
                found = gang.lost(pending.result().values())
                if found is None or loss is None:
                    since = time.monotonic()
                loss = found
                pending = asyncio.ensure_future(anext(changes))
        finally:
            await stop(pending)

    async def _refusal(self, connection: "ApiClient") -> Payload:
        """Wait until the controller says that it does nothing about the object."""
        from kubernetes_asyncio.client import CoreV1Api

        call = partial(CoreV1Api(connection).list_namespaced_event, self.namespace)
        async for events in snapshots(call, field_selector=f"involvedObject.name={self.name}"):
            for event in events.values():
                if event.get("reason") in self.kind.refused and event["involvedObject"].get("uid") == self.uid:
                    text = f"its controller does not work with {self.title}: {event.get('message')}"
                    return {"status": "failed", "reason": event["reason"], "message": text}
        raise RuntimeError("a watch never ends by itself")

    async def delete(self, connection: "ApiClient") -> None:
        """Delete the object and, in the background, what it owns."""
        from kubernetes_asyncio.client import ApiException, CustomObjectsApi

        kind = self.kind
        try:
            await CustomObjectsApi(connection).delete_namespaced_custom_object(
                kind.group, kind.version, self.namespace, kind.plural, self.name, propagation_policy="Background"
            )
        except ApiException as error:
            if error.status != 404:
                raise

    def _holds(self, manifest: dict[str, Any]) -> bool:
        if self.condition is None:
            return True
        conditions = (manifest.get("status") or {}).get("conditions") or ()
        return any(c["type"] == self.condition and c.get("status") == "True" for c in conditions)
