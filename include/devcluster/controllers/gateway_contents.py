"""All that the gateway serves, of whoever adds to it: each change applies all of it at once, as it is now."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass

from include.devcluster.controllers.gateway import Backend, Endpoint, Service
from include.devcluster.controllers.gateway_hosts import Entry
from include.devcluster.controllers.gateway_sync import GatewaySync
from include.devcluster.controllers.informer import Informer


@dataclass(frozen=True)
class Routed:
    """What HTTPRoutes ask for: their matches, and the clusters of the Services that they name."""

    entries: tuple[Entry, ...] = ()
    backends: tuple[Backend, ...] = ()


class GatewayContents:
    """Brings what each controller wants together, and hands it to Envoy, one change after the other."""

    def __init__(self, sync: GatewaySync, *informers: Informer) -> None:
        """Nothing is applied before each of ``informers`` knows what there is: it would take routes away."""
        self._sync = sync
        self._informers = informers
        self._applying = asyncio.Lock()
        self.in_force = False
        """Whether Envoy has said so of the latest change."""
        self._services: Callable[[], Iterable[Service]] = tuple
        self._routed: Callable[[Set[tuple[str, int]]], Routed] = lambda _: Routed()

    def serve_services(self, services: Callable[[], Iterable[Service]]) -> None:
        """Ask ``services`` for the InferenceServices, from now on."""
        self._services = services

    def serve_routes(self, routed: Callable[[Set[tuple[str, int]]], Routed]) -> None:
        """Ask ``routed`` for the HTTPRoutes, from now on; it gets the addresses and ports that must get nothing new."""
        self._routed = routed

    async def apply(self) -> bool:
        """Make Envoy serve what there is now. Returns whether Envoy has said that it does (see `GatewaySync.apply`)."""
        await asyncio.gather(*(informer.synced.wait() for informer in self._informers))
        async with self._applying:
            services = list(self._services())
            ends = [endpoint for service in services for backend in service.backends for endpoint in backend.endpoints]
            routed = self._routed({(e.address, e.port) for e in ends if e.draining})
            self.in_force = await self._sync.apply(services, routed.entries, routed.backends)
            return self.in_force

    async def in_flight(self) -> dict[Endpoint, int] | None:
        """Active requests per draining endpoint (see `GatewaySync.in_flight`)."""
        return await self._sync.in_flight()
