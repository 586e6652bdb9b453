"""Brings a running Envoy to a wanted set of services without losing a request, and asks it what is in flight."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import aiohttp

from include.devcluster.controllers import gateway
from include.devcluster.controllers.gateway import Backend, Endpoint, Service
from include.devcluster.controllers.gateway_hosts import Entry

log = logging.getLogger(__name__)

ACKNOWLEDGE_S = 5.0
POLL_S = 0.02


def made_before_broken(applied: Mapping[str, Backend], wanted: Mapping[str, Backend]) -> dict[str, Backend]:
    """The state between two: all that is, in the condition it is in, and all healthy pods that are wanted."""
    between = dict(applied)
    for cluster, backend in wanted.items():
        present = {(e.address, e.port): e for e in applied[cluster].endpoints} if cluster in applied else {}
        healthy = {(e.address, e.port): e for e in backend.endpoints if not e.draining}
        between[cluster] = Backend(cluster, backend.weight, tuple({**present, **healthy}.values()))
    return between


class GatewaySync:
    """Makes before it breaks: new clusters and pods, then the routes, and only then does anything drain or go.

    Envoy's admin port confirms each step. Without one (``admin_url`` empty, or Envoy not running) the files are
    written all the same: Envoy reads them when it starts.
    """

    def __init__(self, gateway_dir: Path, admin_url: str = "", token: str = "") -> None:
        self._dir = gateway_dir.resolve()
        self._headers = {"Authorization": f"Bearer {token}"}
        self._admin_url = admin_url.rstrip("/")
        gateway.prepare(self._dir)
        # What an earlier process left is still routed to: it goes only once the routes have gone.
        self._applied = {backend.cluster: backend for backend in gateway.read_backends(self._dir)}

    async def apply(
        self, services: Iterable[Service], entries: Iterable[Entry] = (), backends: Iterable[Backend] = ()
    ) -> bool:
        """Make this all that the gateway serves. Returns when Envoy has taken it over, or cannot be asked.

        One call at a time: the caller holds the lock under which it computed what is served.

        :param entries: what HTTPRoutes ask for.
        :param backends: of the Services that they name.
        :returns: whether Envoy has said that all of it is in force; true too where there is no port to ask it at.
        """
        services = list(services)
        wanted = {backend.cluster: backend for service in services for backend in service.backends}
        wanted |= {backend.cluster: backend for backend in backends}
        done = [await self._set_backends(made_before_broken(self._applied, wanted))]
        routes = gateway.routes(services, entries)
        self._write(gateway.ROUTES_FILE, routes)
        done.append(await self._confirm("routes", lambda: self._has_routes(routes["version_info"])))
        done.append(await self._set_backends(wanted))
        self._applied = wanted
        live = {gateway.endpoints_file(cluster) for cluster in wanted}
        for path in self._dir.glob(gateway.endpoints_file("*")):
            if path.name not in live:
                path.unlink()
        return all(done)

    async def _set_backends(self, backends: Mapping[str, Backend]) -> bool:
        for backend in backends.values():
            self._write(gateway.endpoints_file(backend.cluster), gateway.endpoints(backend))
        self._write(gateway.CLUSTERS_FILE, gateway.clusters(backends.values(), self._dir))
        return await self._confirm("endpoints", lambda: self._has_hosts(backends.values()))

    async def in_flight(self) -> dict[Endpoint, int] | None:
        """Active requests per draining endpoint; ``None`` when Envoy cannot be asked (then it serves none)."""
        hosts = await self._hosts()
        if hosts is None:
            return None
        active: Counter[Endpoint] = Counter()
        for _, endpoint, requests in hosts:  # a pod may be in several clusters: its predictor's and those of Services
            if endpoint.draining:
                active[endpoint] += requests
        return dict(active)

    def _write(self, name: str, content: dict[str, Any]) -> None:
        gateway.write_atomically(self._dir / name, content)

    async def _confirm(self, what: str, check: Callable[[], Awaitable[bool | None]]) -> bool:
        """Wait until ``check`` holds; give up at once when Envoy is not there, with a warning when it does not."""
        end = time.monotonic() + ACKNOWLEDGE_S
        while (answer := await check()) is False:
            if time.monotonic() > end:
                log.warning("gateway: Envoy has not taken over the %s after %.0f s (see its log)", what, ACKNOWLEDGE_S)
                return False
            await asyncio.sleep(POLL_S)
        if answer is None:
            log.debug("gateway: Envoy's admin port does not answer, %s are written only", what)
        return answer is True or not self._admin_url

    async def _has_hosts(self, backends: Iterable[Backend]) -> bool | None:
        hosts = await self._hosts()
        if hosts is None:
            return None
        names = await self._get("/config_dump?resource=dynamic_active_clusters&mask=cluster.name")
        active = {entry["cluster"]["name"] for entry in (names or {}).get("configs", [])}
        have = {(cluster, endpoint) for cluster, endpoint, _ in hosts}
        wanted = {(backend.cluster, endpoint) for backend in backends for endpoint in backend.endpoints}
        return wanted <= have and {backend.cluster for backend in backends} <= active

    async def _has_routes(self, version: str) -> bool | None:
        dump = await self._get("/config_dump?resource=dynamic_route_configs&mask=version_info")
        if dump is None:
            return None
        return any(entry.get("version_info") == version for entry in dump.get("configs", []))

    async def _hosts(self) -> list[tuple[str, Endpoint, int]] | None:
        """Every host that Envoy has: cluster, endpoint, active requests."""
        answer = await self._get("/clusters?format=json")
        if answer is None:
            return None
        found = []
        for cluster in answer.get("cluster_statuses", []):
            for host in cluster.get("host_statuses", []):
                address = host["address"].get("socket_address")
                if address is None:  # Envoy's own admin interface, or another server on a Unix socket: no pod
                    continue
                health = (host.get("health_status") or {}).get("eds_health_status")
                endpoint = Endpoint(address["address"], address["port_value"], health == "DRAINING")
                active = [int(s.get("value", 0)) for s in host.get("stats", []) if s["name"] == "rq_active"]
                found.append((cluster["name"], endpoint, sum(active)))
        return found

    async def _get(self, path: str) -> dict[str, Any] | None:
        if not self._admin_url:
            return None
        timeout = aiohttp.ClientTimeout(total=2)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, headers=self._headers) as session,
                session.get(self._admin_url + path) as response,
            ):
                response.raise_for_status()
                answer: dict[str, Any] = await response.json(content_type=None)
                return answer
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return None
