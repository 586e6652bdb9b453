"""HTTPRoute (gateway.networking.k8s.io/v1): requests by host, path and headers to Services, by weight.

The status is written after the gateway has taken the configuration over: ``observedGeneration`` of the conditions
equal to ``metadata.generation`` means that what the route says is in force.
"""

from __future__ import annotations

from collections.abc import Iterator, Set

from include.devcluster.controllers.client import KubeApi
from include.devcluster.controllers.gateway import Backend
from include.devcluster.controllers.gateway_contents import GatewayContents, Routed
from include.devcluster.controllers.gateway_hosts import Entry
from include.devcluster.controllers.gateway_listeners import HTTP_ROUTES
from include.devcluster.controllers.informer import Informer
from include.devcluster.controllers.objects import Manifest, is_deleting, key_of, utc_now
from include.devcluster.controllers.reconciler import Controller, Key
from include.devcluster.controllers.route_status import Plan, plan, status_of
from include.devcluster.controllers.service_backends import Surroundings, selects

UNCONFIRMED_RETRY_S = 1.0


class HTTPRouteController(Controller):
    """Moves the gateway, then says so."""

    resource = HTTP_ROUTES

    def __init__(
        self,
        api: KubeApi,
        owners: Informer,
        pods: Informer,
        services: Informer,
        gateways: Informer,
        contents: GatewayContents,
        port: int,
    ) -> None:
        super().__init__(api, owners, pods)
        self._services = services
        self._gateways = gateways
        self._contents = contents
        self._port = port
        contents.serve_routes(self._routed)
        services.subscribe(self._enqueue_routes_to)
        pods.subscribe(self._enqueue_routes_to_pod)
        gateways.subscribe(lambda _: self._enqueue_all())

    async def gone(self, key: Key) -> None:
        """Take the route away."""
        await self._contents.apply()

    async def reconcile(self, owner: Manifest) -> float | None:
        """Gateway, then status. Nothing is said of what Envoy has not confirmed."""
        if not await self._contents.apply():
            return UNCONFIRMED_RETRY_S
        await self.update_status(owner, status_of(owner, self._plan(owner, frozenset()), utc_now()))
        return None

    def _routed(self, leaving: Set[tuple[str, int]]) -> Routed:
        entries: list[Entry] = []
        backends: dict[str, Backend] = {}
        for route in self.owners:
            made = self._plan(route, leaving)
            if made.attached and not is_deleting(route):
                entries += made.entries
                backends |= {backend.cluster: backend for backend in made.backends}
        return Routed(tuple(entries), tuple(backends.values()))

    def _plan(self, route: Manifest, leaving: Set[tuple[str, int]]) -> Plan:
        around = Surroundings(self._services.get, self.pods, leaving)
        return plan(route, self._gateways.get, self._port, around)

    def _enqueue_all(self) -> None:
        for route in self.owners:
            self.queue.add(key_of(route))

    def _enqueue_routes_to_pod(self, pod: Manifest) -> None:
        for service in self._services:
            if selects(service, pod):
                self._enqueue_routes_to(service)

    def _enqueue_routes_to(self, service: Manifest) -> None:
        for route in self.owners:
            if key_of(service)[1] in _named(route):
                self.queue.add(key_of(route))


def _named(route: Manifest) -> Iterator[str]:
    """The names of all Services in a route."""
    for rule in route["spec"].get("rules") or []:
        mirrors = [f.get("requestMirror", {}).get("backendRef") for f in rule.get("filters") or []]
        for ref in [*(rule.get("backendRefs") or []), *filter(None, mirrors)]:
            yield ref["name"]
