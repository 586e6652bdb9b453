"""From a backendRef to the Service that it names, and from that to its pods."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass

from include.devcluster.controllers.gateway import Backend, Endpoint, service_cluster_name
from include.devcluster.controllers.objects import Manifest, is_deleting, is_ready, key_of, labels_of, phase
from include.devcluster.controllers.route_spec import ServiceRef

HTTP_PROTOCOLS = ("", "http", "kubernetes.io/http")


@dataclass(frozen=True)
class Unresolved:
    """Why a reference leads nowhere, as the condition ResolvedRefs says it."""

    reason: str
    message: str


@dataclass(frozen=True)
class Surroundings:
    """What references are resolved against.

    :param service: a Service by namespace and name.
    :param leaving: addresses and ports that another controller is about to take away: they get nothing new.
    """

    service: Callable[[tuple[str, str]], Manifest | None]
    pods: Iterable[Manifest]
    leaving: Set[tuple[str, int]] = frozenset()


def resolve(ref: ServiceRef, namespace: str, around: Surroundings) -> Backend | Unresolved:
    """The Envoy cluster of a reference. One whose Service has no ready pod resolves too: Envoy answers 503 for it."""
    where = ref.namespace or namespace
    text = f"{ref.kind} {where}/{ref.name}"
    if (ref.group, ref.kind) != ("", "Service"):
        return Unresolved("InvalidKind", f"{text}: this gateway sends to Services alone")
    if where != namespace:
        return Unresolved("RefNotPermitted", f"{text} is in another namespace: a route names Services of its own")
    service = around.service((where, ref.name))
    if service is None or is_deleting(service):
        return Unresolved("BackendNotFound", f"{text} does not exist")
    ports = service["spec"].get("ports") or []
    known = [int(port["port"]) for port in ports]
    if ref.port not in known:
        return Unresolved("BackendNotFound", f"{text} has no port {ref.port or 'that the reference names'}: {known}")
    port = ports[known.index(ref.port)]
    if port.get("protocol", "TCP") != "TCP" or port.get("appProtocol", "") not in HTTP_PROTOCOLS:
        spoken = port.get("appProtocol") or port["protocol"]
        return Unresolved("UnsupportedProtocol", f"{text} port {ref.port} speaks {spoken}, this gateway HTTP/1.1")
    name = service_cluster_name(where, ref.name, 0 if ref.port == known[0] else ref.port)
    return Backend(name, 0, tuple(_endpoints(service, port, around)))


def selects(service: Manifest, pod: Manifest) -> bool:
    """Whether a Service has the pod behind it."""
    selector = service["spec"].get("selector") or {}
    same = key_of(service)[0] == key_of(pod)[0]
    return same and bool(selector) and selector.items() <= labels_of(pod).items()


def _endpoints(service: Manifest, port: Manifest, around: Surroundings) -> Iterable[Endpoint]:
    for pod in around.pods:
        address = (pod.get("status") or {}).get("podIP")
        number = _target(pod, port.get("targetPort") or port["port"])
        # The address of a pod that has ended may be another pod's by now.
        if not selects(service, pod) or phase(pod) != "Running" or not address or not number:
            continue
        if is_deleting(pod):
            yield Endpoint(address, number, draining=True)
        elif is_ready(pod):
            yield Endpoint(address, number, (address, number) in around.leaving)


def _target(pod: Manifest, port: int | str) -> int | None:
    """The number of a port, which a Service may call by its name in the pod."""
    if isinstance(port, int):
        return port
    named = [p for container in pod["spec"]["containers"] for p in container.get("ports") or []]
    return next((int(p["containerPort"]) for p in named if p.get("name") == port), None)
