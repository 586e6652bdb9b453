"""HTTPRoutes, and what they name, for tests."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from include.devcluster.controllers.gateway import Service
from include.devcluster.controllers.gateway_listeners import CLASS
from include.devcluster.controllers.gateway_sync import GatewaySync
from include.devcluster.controllers.objects import Manifest, key_of
from include.devcluster.controllers.route_status import Plan, plan
from include.devcluster.controllers.service_backends import Surroundings
from tests.devcluster.controllers.upstreams import Predictor

PORT = 8080
GATEWAY = {
    "metadata": {"namespace": "podium", "name": "podium", "generation": 1},
    "spec": {"gatewayClassName": CLASS, "listeners": [{"name": "http", "port": PORT, "protocol": "HTTP"}]},
}


def to(name: str, weight: int | None = None, **fields: Any) -> Manifest:
    """A backendRef."""
    return {"name": name, "port": 80, **({} if weight is None else {"weight": weight}), **fields}


def prefix(path: str, *headers: tuple[str, str]) -> Manifest:
    """A match by prefix and headers."""
    match: Manifest = {"path": {"type": "PathPrefix", "value": path}}
    return match | ({"headers": [{"name": name, "value": value} for name, value in headers]} if headers else {})


def exact(path: str) -> Manifest:
    """A match by path."""
    return {"path": {"type": "Exact", "value": path}}


def mirror(name: str, **share: Any) -> Manifest:
    """A filter."""
    return {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": name, "port": 80}, **share}}


def rewrite(path: str) -> Manifest:
    """A filter."""
    return {"type": "URLRewrite", "urlRewrite": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": path}}}


def rule(
    *backends: Manifest, matches: Iterable[Manifest] = (), filters: Iterable[Manifest] = (), **more: Any
) -> Manifest:
    """A rule; what is not given is left out."""
    given = {"matches": list(matches), "filters": list(filters), "backendRefs": list(backends)}
    return {key: value for key, value in given.items() if value} | more


def route(*rules: Manifest, name: str = "route", created: str = "2026-01-01T00:00:00Z", **spec: Any) -> Manifest:
    """A route as the API server has it."""
    metadata = {"namespace": "podium", "name": name, "generation": 1, "creationTimestamp": created}
    return {"metadata": metadata, "spec": {"parentRefs": [{"name": "podium"}], "rules": list(rules), **spec}}


def service(name: str, *ports: Manifest) -> Manifest:
    """A Service that selects the pods called after it."""
    spec = {"selector": {"app": name}, "ports": list(ports) or [{"port": 80, "targetPort": "http"}]}
    return {"metadata": {"namespace": "podium", "name": name}, "spec": spec}


def pod(server: Predictor, name: str = "", *, ready: bool = True, deleting: bool = False) -> Manifest:
    """A pod whose container is ``server``."""
    container = {"ports": [{"name": "http", "containerPort": server.endpoint.port}]}
    metadata = {"namespace": "podium", "name": server.name, "labels": {"app": name or server.name}}
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    status = {"phase": "Running", "podIP": server.endpoint.address, "conditions": conditions}
    gone = {"deletionTimestamp": "2026-01-01T00:00:00Z"} if deleting else {}
    return {"metadata": metadata | gone, "spec": {"containers": [container]}, "status": status}


class World:
    """A namespace with a Gateway, Services and pods; by default a Service of one ready pod for each server."""

    def __init__(self, *servers: Predictor) -> None:
        self.services = {server.name: service(server.name) for server in servers}
        self.pods = [pod(server) for server in servers]
        self.gateways = [GATEWAY]
        self.leaving: set[tuple[str, int]] = set()

    def plan(self, given: Manifest) -> Plan:
        """What follows from a route."""
        services = {key_of(each): each for each in self.services.values()}
        gateways = {key_of(each): each for each in self.gateways}
        return plan(given, gateways.get, PORT, Surroundings(services.get, self.pods, self.leaving))

    async def serve(self, sync: GatewaySync, *routes: Manifest, services: Iterable[Service] = ()) -> None:
        """Bring Envoy to these routes; it must confirm them."""
        plans = [self.plan(each) for each in routes]
        backends = {backend.cluster: backend for made in plans for backend in made.backends}
        entries = [entry for made in plans for entry in made.entries]
        assert await sync.apply(services, entries, backends.values()), "Envoy has not taken it over"
