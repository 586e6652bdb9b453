"""Gateway and GatewayClass (gateway.networking.k8s.io/v1): says whether Envoy serves what they ask for, and where."""

from __future__ import annotations

import ipaddress
from urllib.parse import SplitResult

from include.devcluster.controllers.client import ApiError, KubeApi
from include.devcluster.controllers.gateway_contents import GatewayContents
from include.devcluster.controllers.gateway_listeners import (
    CLASS,
    CONTROLLER_NAME,
    GATEWAY_CLASSES,
    GATEWAYS,
    HTTP_ROUTES,
    Verdict,
    is_ours,
    listener_verdict,
)
from include.devcluster.controllers.informer import Informer
from include.devcluster.controllers.objects import Manifest, dated, has_condition, key_of, utc_now
from include.devcluster.controllers.reconciler import Controller
from include.devcluster.controllers.route_status import condition

UNCONFIRMED_RETRY_S = 1.0


class GatewayController(Controller):
    """Envoy is there already: a Gateway of class `podium` only says that it is wanted."""

    resource = GATEWAYS

    def __init__(
        self,
        api: KubeApi,
        owners: Informer,
        pods: Informer,
        routes: Informer,
        contents: GatewayContents,
        url: SplitResult,
    ) -> None:
        super().__init__(api, owners, pods)
        self._routes = routes
        self._contents = contents
        self._host, self._port = url.hostname or "", url.port or 80
        routes.subscribe(lambda _: self._enqueue_all())

    async def reconcile(self, owner: Manifest) -> float | None:
        """Its status, and that of its class."""
        if not is_ours(owner):
            return None
        await self._accept_class()
        programmed = self._contents.in_force or await self._contents.apply()
        await self.update_status(owner, self._status(owner, programmed))
        return None if programmed else UNCONFIRMED_RETRY_S

    def _status(self, owner: Manifest, programmed: bool) -> Manifest:
        before = owner.get("status") or {}
        generation = owner["metadata"]["generation"]
        old = {listener["name"]: listener for listener in before.get("listeners") or []}
        listeners, served = [], False
        for listener in owner["spec"]["listeners"]:
            verdict = listener_verdict(listener, self._port)
            served = served or verdict.accepted
            conditions = [
                condition("Accepted", verdict.accepted, verdict.reason, verdict.message, generation),
                condition("ResolvedRefs", True, "ResolvedRefs", "", generation),
                _programmed(verdict.accepted, programmed, generation),
            ]
            listeners.append(
                {
                    "name": listener["name"],
                    "supportedKinds": [{"group": HTTP_ROUTES.group, "kind": HTTP_ROUTES.kind}],
                    "attachedRoutes": self._attached(owner, listener["name"]) if verdict.accepted else 0,
                    "conditions": dated(conditions, old.get(listener["name"], {}).get("conditions") or [], utc_now()),
                }
            )
        verdict = Verdict(True) if served else Verdict(False, "ListenersNotValid", "no listener can be served")
        conditions = [
            condition("Accepted", verdict.accepted, verdict.reason, verdict.message, generation),
            _programmed(verdict.accepted, programmed, generation),
        ]
        return {
            "addresses": [{"type": _type(self._host), "value": self._host}],
            "conditions": dated(conditions, before.get("conditions") or [], utc_now()),
            "listeners": listeners,
        }

    def _attached(self, owner: Manifest, listener: str) -> int:
        """How many routes are accepted there, as their status says."""
        count = 0
        for route in self._routes:
            parents = (route.get("status") or {}).get("parents") or []
            count += any(
                parent["controllerName"] == CONTROLLER_NAME
                and parent["parentRef"]["name"] == owner["metadata"]["name"]
                and parent["parentRef"].get("sectionName") in (None, listener)
                and has_condition(parent["conditions"], "Accepted")
                for parent in parents
            )
        return count

    async def _accept_class(self) -> None:
        try:
            found = await self.api.get(GATEWAY_CLASSES, "", CLASS)
        except ApiError as error:
            if error.status in (403, 404):  # a cluster may keep its classes from us
                return
            raise
        before = (found.get("status") or {}).get("conditions") or []
        is_controlled = found["spec"]["controllerName"] == CONTROLLER_NAME
        if not is_controlled or has_condition(before, "Accepted"):
            return
        accepted = [condition("Accepted", True, "Accepted", "", found["metadata"]["generation"])]
        await self.api.update_status(
            GATEWAY_CLASSES, {**found, "status": {"conditions": dated(accepted, before, utc_now())}}
        )

    def _enqueue_all(self) -> None:
        for gateway in self.owners:
            self.queue.add(key_of(gateway))


def _programmed(accepted: bool, programmed: bool, generation: int) -> Manifest:
    if not accepted:
        return condition("Programmed", False, "Invalid", "not accepted", generation)
    text = "" if programmed else "Envoy has not confirmed its configuration"
    return condition("Programmed", programmed, "Programmed" if programmed else "Pending", text, generation)


def _type(host: str) -> str:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return "Hostname"
    return "IPAddress"
