"""The gateway as Envoy configuration: a static bootstrap, and clusters, endpoints and routes as xDS files.

Envoy reads the files anew when they are renamed into place. Names that others rely on (metrics, rollouts):

* cluster: ``<namespace>_<inference service>_<predictor>``, e.g. ``podium_recommender_v3``; ``predictor`` is
  ``spec.predictor.name`` and the word ``predictor`` when that is empty. A promotion keeps the name.
* cluster of a Service that an HTTPRoute names: ``<namespace>_<service>``, e.g. ``podium_recommender-v3-predictor``,
  for the Service's first port, and ``<namespace>_<service>__<port>`` for another. All routes that name it share it;
  copies that are mirrored to it count like requests.
* in ``/stats?format=prometheus`` of the admin port, for who brings the token (`gateway_admin`), all with the label
  ``envoy_cluster_name="<cluster>"``:
  ``envoy_cluster_upstream_rq_xx{envoy_response_code_class="2"|"4"|"5"}`` counts responses by class (what Envoy
  answers itself when a predictor fails counts too); ``envoy_cluster_upstream_rq_total`` counts requests sent;
  ``envoy_cluster_upstream_rq_time_bucket{le=...}``, ``_sum`` and ``_count`` are the latency in milliseconds, cumulative
  since start, refreshed every second, with the bucket limits of :data:`LATENCY_BUCKETS_MS`.
* routes: ``Host: <inference service>.<namespace>.local``, or ``/serving/<namespace>/<inference service>/...`` under any
  host, whose prefix is taken off. An HTTPRoute that matches comes before either.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from include.devcluster.controllers import gateway_admin, gateway_hosts
from include.devcluster.controllers.gateway_hosts import Entry

ROUTE_CONFIG = "inference-services"
CLUSTERS_FILE = "clusters.json"
ROUTES_FILE = "routes.json"
TYPES = "type.googleapis.com/envoy"
CLUSTER_TYPE = f"{TYPES}.config.cluster.v3.Cluster"
ENDPOINTS_TYPE = f"{TYPES}.config.endpoint.v3.ClusterLoadAssignment"
ROUTE_TYPE = f"{TYPES}.config.route.v3.RouteConfiguration"
HTTP_OPTIONS = f"{TYPES}.extensions.upstreams.http.v3.HttpProtocolOptions"

LATENCY_BUCKETS_MS = [
    1, 2, 3, 5, 7, 10, 15, 20, 25, 30, 40, 50, 60, 75, 100, 150, 200, 300, 500, 1000, 2500, 5000, 10000,
]  # fmt: skip
CONNECT_TIMEOUT = "1s"
REQUEST_TIMEOUT = "60s"
# Only what surely never reached a predictor is sent again.
RETRY_POLICY = {"retry_on": "connect-failure,refused-stream,reset-before-request", "num_retries": 2}
UPSTREAM_IDLE_TIMEOUT = "3s"
"""Below uvicorn's keep-alive of 5 s: else the server may close a connection just as Envoy sends a request on it."""


@dataclass(frozen=True)
class Endpoint:
    """Address of one pod. A draining one gets no new request; what it has in flight may end."""

    address: str
    port: int
    draining: bool = False


@dataclass(frozen=True)
class Backend:
    """One predictor: its cluster's name, its share of the traffic in percent, its pods."""

    cluster: str
    weight: int
    endpoints: tuple[Endpoint, ...]


@dataclass(frozen=True)
class Service:
    """One InferenceService as the gateway sees it."""

    namespace: str
    name: str
    backends: tuple[Backend, ...]


def cluster_name(namespace: str, service: str, predictor: str) -> str:
    """The Envoy cluster of a predictor (Kubernetes names hold no underscore, so this is unambiguous)."""
    return f"{namespace}_{service}_{predictor or 'predictor'}"


def service_cluster_name(namespace: str, service: str, port: int = 0) -> str:
    """The Envoy cluster of a Service; ``port`` is that of the Service, 0 for its first."""
    # Two underscores: no predictor's name is empty.
    return f"{namespace}_{service}__{port}" if port else f"{namespace}_{service}"


def service_url(gateway_url: str, namespace: str, service: str) -> str:
    """Where clients call an InferenceService; append the server's own path, e.g. ``/v1/models/NAME:predict``."""
    return f"{gateway_url.rstrip('/')}/serving/{namespace}/{service}"


def bootstrap(
    gateway_dir: Path, listen_port: int, admin_port: int, token: str, host: str = "127.0.0.1"
) -> dict[str, Any]:
    """Envoy's bootstrap configuration, to be written as JSON or YAML, for its owner alone, and passed with ``-c``.

    Call :func:`prepare` before, so that Envoy may start before the controllers. Start it with
    ``--disable-hot-restart``: two on one machine share memory by default.

    :param token: what the admin port asks for; printable ASCII.
    """
    gateway_dir = gateway_dir.resolve()
    dynamic = {"rds": {"route_config_name": ROUTE_CONFIG, "config_source": _file_source(gateway_dir / ROUTES_FILE)}}
    admin = {"name": "admin", "domains": ["*"], "routes": gateway_admin.routes(token)}
    listeners = [
        http_listener("gateway", host, listen_port, dynamic),
        http_listener("admin", host, admin_port, {"route_config": {"name": "admin", "virtual_hosts": [admin]}}),
    ]
    buckets = {"match": {"suffix": "upstream_rq_time"}, "buckets": LATENCY_BUCKETS_MS}
    return {
        "node": {"id": "gateway", "cluster": "podium"},
        "admin": gateway_admin.admin(),
        "stats_config": {"histogram_bucket_settings": [buckets]},
        "stats_flush_interval": "1s",
        "static_resources": {
            "listeners": listeners,
            "clusters": [socket_cluster(gateway_admin.CLUSTER, gateway_admin.SOCKET)],
        },
        "dynamic_resources": {"cds_config": _file_source(gateway_dir / CLUSTERS_FILE)},
    }


def http_listener(
    name: str, host: str, port: int, routes: dict[str, Any], filters: Iterable[dict[str, Any]] = ()
) -> dict[str, Any]:
    """A listener for HTTP.

    :param routes: where its routes are: `rds` or `route_config`.
    :param filters: what a request goes through before it is routed.
    """
    router = {"@type": f"{TYPES}.extensions.filters.http.router.v3.Router"}
    manager = {
        "@type": f"{TYPES}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "use_remote_address": True,
        **routes,
        "http_filters": [*filters, {"name": "envoy.filters.http.router", "typed_config": router}],
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    return {"name": name, "address": _socket_address(host, port), "filter_chains": [chain]}


def socket_cluster(name: str, path: str) -> dict[str, Any]:
    """A server that listens on a Unix socket.

    :param path: relative to the folder that Envoy is started in.
    """
    endpoint = {"endpoint": {"address": {"pipe": {"path": path}}}}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def prepare(gateway_dir: Path) -> None:
    """Make the folder and an empty configuration; what is there stays."""
    gateway_dir.mkdir(parents=True, exist_ok=True)
    for name, resource in ((CLUSTERS_FILE, clusters([], gateway_dir)), (ROUTES_FILE, routes([]))):
        if not (gateway_dir / name).exists():
            write_atomically(gateway_dir / name, resource)


def write_atomically(path: Path, content: dict[str, Any]) -> bool:
    """Rename ``content`` into place as JSON; Envoy never reads half a file. Returns whether anything changed."""
    text = json.dumps(content, indent=1)
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
    return True


def clusters(backends: Iterable[Backend], gateway_dir: Path) -> dict[str, Any]:
    """The CDS response: one cluster per predictor, each with an endpoints file of its own."""
    return _response(CLUSTER_TYPE, [_cluster(name, gateway_dir) for name in sorted({b.cluster for b in backends})])


def endpoints(backend: Backend) -> dict[str, Any]:
    """The EDS response of one cluster."""
    hosts = [
        {
            "endpoint": {"address": _socket_address(endpoint.address, endpoint.port)},
            "health_status": "DRAINING" if endpoint.draining else "HEALTHY",
        }
        for endpoint in sorted(backend.endpoints, key=lambda e: (e.address, e.port))
    ]
    assignment = {"cluster_name": backend.cluster, "endpoints": [{"lb_endpoints": hosts}]}
    return _response(ENDPOINTS_TYPE, [assignment])


def endpoints_file(cluster: str) -> str:
    """Name of the file that holds a cluster's endpoints."""
    return f"endpoints-{cluster}.json"


def read_backends(gateway_dir: Path) -> list[Backend]:
    """The backends that the files in ``gateway_dir`` describe, without their share of the traffic."""
    listed = json.loads((gateway_dir / CLUSTERS_FILE).read_text(encoding="utf-8")).get("resources", [])
    backends = []
    for name in (cluster["name"] for cluster in listed):
        file = gateway_dir / endpoints_file(name)
        hosts = []
        if file.exists():
            (assignment,) = json.loads(file.read_text(encoding="utf-8"))["resources"]
            hosts = assignment["endpoints"][0]["lb_endpoints"]
        addresses = [(host["endpoint"]["address"]["socket_address"], host["health_status"]) for host in hosts]
        pods = (Endpoint(a["address"], a["port_value"], health == "DRAINING") for a, health in addresses)
        backends.append(Backend(name, 0, tuple(pods)))
    return backends


def routes(services: Iterable[Service], entries: Iterable[Entry] = ()) -> dict[str, Any]:
    """The RDS response: by host name and by path prefix, split by weight.

    :param entries: of HTTPRoutes; one that matches comes before the services.
    """
    entries = list(entries)
    own: dict[str, tuple[str, list[dict[str, Any]]]] = {}
    shared: list[dict[str, Any]] = []
    for service in sorted(services, key=lambda s: (s.namespace, s.name)):
        action = _action(service)
        by_name = [{"match": {"prefix": "/"}, **action}]
        own[f"{service.name}.{service.namespace}.local"] = (f"{service.namespace}/{service.name}", by_name)
        prefix = service_url("", service.namespace, service.name)
        rewrite = {"route": {**action["route"], "prefix_rewrite": "/"}} if "route" in action else action
        shared += [{"match": {"prefix": f"{prefix}/"}, **rewrite}, {"match": {"path": prefix}, **rewrite}]
    hosts = []
    for domain in sorted({*own, *gateway_hosts.names(entries)}):
        name, rest = own.get(domain, (f"host:{domain}", shared))
        hosts.append({"name": name, "domains": [domain], "routes": [*gateway_hosts.for_host(domain, entries), *rest]})
    general = [*gateway_hosts.for_host(gateway_hosts.ANY_HOST, entries), *shared]
    hosts.append({"name": "by-path", "domains": ["*"], "routes": general})
    config = {"name": ROUTE_CONFIG, "virtual_hosts": hosts, "validate_clusters": False}
    return _response(ROUTE_TYPE, [config | {"ignore_port_in_host_matching": True}])


def _action(service: Service) -> dict[str, Any]:
    weighted = [b for b in service.backends if b.weight > 0]
    if not any(b.endpoints for b in weighted):
        text = f"InferenceService {service.namespace}/{service.name} has no ready predictor\n"
        return {"direct_response": {"status": 503, "body": {"inline_string": text}}}
    return {
        "route": {
            "weighted_clusters": {"clusters": [{"name": b.cluster, "weight": b.weight} for b in weighted]},
            "timeout": REQUEST_TIMEOUT,
            "retry_policy": RETRY_POLICY,
        }
    }


def _cluster(name: str, gateway_dir: Path) -> dict[str, Any]:
    return {
        "name": name,
        "type": "EDS",
        "eds_cluster_config": {"eds_config": _file_source(gateway_dir / endpoints_file(name))},
        "connect_timeout": CONNECT_TIMEOUT,
        # Without this Envoy would send to draining pods once they are the majority ("panic mode").
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": HTTP_OPTIONS,
                "common_http_protocol_options": {"idle_timeout": UPSTREAM_IDLE_TIMEOUT},
                "explicit_http_config": {"http_protocol_options": {}},
            }
        },
    }


def _response(kind: str, resources: list[dict[str, Any]]) -> dict[str, Any]:
    version = hashlib.sha256(json.dumps(resources, sort_keys=True).encode()).hexdigest()[:12]
    return {"version_info": version, "resources": [{"@type": kind, **resource} for resource in resources]}


def _file_source(path: Path) -> dict[str, Any]:
    return {"path_config_source": {"path": str(path)}, "resource_api_version": "V3"}


def _socket_address(address: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": address, "port_value": port}}
