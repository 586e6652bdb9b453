"""The Gateways that are ours, and which routes they take: Envoy has one listener, for HTTP on one port.

https://gateway-api.sigs.k8s.io/reference/spec/#gateway
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from include.devcluster.controllers.objects import Manifest, Resource, is_deleting
from include.devcluster.controllers.route_spec import GROUP, ParentRef, Part, told

GATEWAYS = Resource(GROUP, "v1", "gateways", "Gateway")
GATEWAY_CLASSES = Resource(GROUP, "v1", "gatewayclasses", "GatewayClass")
HTTP_ROUTES = Resource(GROUP, "v1", "httproutes", "HTTPRoute")
CLASS = "podium"
CONTROLLER_NAME = "podium.dev/gateway-controller"


class _Namespaces(Part):
    from_: Literal["Same"] = "Same"

    model_config = Part.model_config | {"alias_generator": lambda name: name.rstrip("_")}


class _Kind(Part):
    group: Literal["gateway.networking.k8s.io"] = "gateway.networking.k8s.io"
    kind: Literal["HTTPRoute"]


class _AllowedRoutes(Part):
    namespaces: _Namespaces = _Namespaces()
    kinds: tuple[_Kind, ...] = ()


class _Listener(Part):
    name: str
    port: int
    protocol: str
    allowed_routes: _AllowedRoutes = _AllowedRoutes()


@dataclass(frozen=True)
class Verdict:
    """Whether something is accepted, and why (not)."""

    accepted: bool
    reason: str = "Accepted"
    message: str = ""


def wanted(namespace: str, port: int) -> list[tuple[Resource, str, Manifest]]:
    """The GatewayClass and the Gateway that are there from the start, both called :data:`CLASS`.

    :returns: of each its kind, its namespace and its spec.
    """
    listener = {"name": "http", "port": port, "protocol": "HTTP"}
    return [
        (GATEWAY_CLASSES, "", {"controllerName": CONTROLLER_NAME}),
        (GATEWAYS, namespace, {"gatewayClassName": CLASS, "listeners": [listener]}),
    ]


def is_ours(gateway: Manifest) -> bool:
    """Whether this controller looks after a Gateway."""
    return bool(gateway["spec"].get("gatewayClassName") == CLASS)


def listener_verdict(listener: dict[str, Any], port: int) -> Verdict:
    """Whether Envoy serves a listener.

    :param port: that Envoy listens on.
    """
    try:
        parsed = _Listener.model_validate(listener)
    except ValidationError as error:
        return Verdict(False, "UnsupportedValue", "; ".join(told(error, f"listener {listener['name']}")))
    if parsed.protocol != "HTTP":
        return Verdict(False, "UnsupportedProtocol", f"this gateway speaks HTTP, not {parsed.protocol}")
    if parsed.port != port:
        return Verdict(False, "PortUnavailable", f"this gateway listens on port {port}, not {parsed.port}")
    return Verdict(True)


def parent_verdict(
    ref: ParentRef, namespace: str, gateway: Callable[[tuple[str, str]], Manifest | None], port: int
) -> Verdict | None:
    """Whether a route is attached to a parent; ``None`` when the parent is for another controller to judge."""
    if (ref.group, ref.kind) != (GROUP, "Gateway") or (ref.namespace or namespace) != namespace:
        return None
    found = gateway((namespace, ref.name))
    if found is None or is_deleting(found):
        return Verdict(False, "NoMatchingParent", f"Gateway {namespace}/{ref.name} does not exist")
    if not is_ours(found):
        return None
    return _attached(ref, found["spec"]["listeners"], port)


def _attached(ref: ParentRef, listeners: Sequence[dict[str, Any]], port: int) -> Verdict:
    served = [listener for listener in listeners if listener_verdict(listener, port).accepted]
    for listener in served:
        if ref.section_name in ("", listener["name"]) and ref.port in (0, listener["port"]):
            return Verdict(True)
    known = ", ".join(f"{listener['name']} (port {listener['port']})" for listener in served) or "none"
    return Verdict(False, "NoMatchingParent", f"Gateway {ref.name} has no such listener; it serves {known}")
