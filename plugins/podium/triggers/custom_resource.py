"""Waits until a custom resource is done."""

from functools import partial
from typing import TYPE_CHECKING, Any

from podium.hooks.watch import snapshots
from podium.kinds import KINDS, Judgement, Kind
from podium.triggers.work import Payload, WorkTrigger

if TYPE_CHECKING:
    from kubernetes_asyncio.client import ApiClient


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
        """Wait until the object's own status says that it is over."""
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
