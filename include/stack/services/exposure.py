"""Lets the pods of a cluster of your own reach the services, which listen on loopback alone: Envoy, as a TCP proxy."""

import json
from typing import Any

from include.stack.health import tcp
from include.stack.ports import HOST
from include.stack.service import Platform, Service
from include.stack.services import envoy

NAME = "exposure"
PREPARE = "exposure-config"
CONFIG = "exposure.json"
# The port here, and the one on loopback that it leads to. The broker's clients go on at the address that it names, so
# pods have a listener of their own there. The others' ports differ, as S3 insists on having its own on every address.
EXPOSED = {
    "kafka_pods": "kafka_pods",
    "s3_pods": "s3",
    "postgres_pods": "postgres",
    "mlflow_pods": "mlflow",
    "gateway_pods": "gateway",
}


def service(platform: Platform) -> Service:
    """The proxy: on `kubernetes.host_address` it listens for every service that pods use."""
    return Service(
        name=NAME,
        command=envoy.command(platform, CONFIG),
        health=tcp(platform.ports.mlflow_pods, platform.settings.kubernetes.host_address),
        needs=frozenset({PREPARE}),
        stage=2,
    )


def prepare(platform: Platform) -> None:
    """Write the configuration."""
    address = platform.settings.kubernetes.host_address
    ports = platform.ports.model_dump()
    resources = {
        "listeners": [_listener(name, address, ports[name]) for name in EXPOSED],
        "clusters": [_cluster(name, ports[inside]) for name, inside in EXPOSED.items()],
    }
    (platform.paths.run / CONFIG).write_text(json.dumps({"static_resources": resources}, indent=1))


def _socket(address: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": address, "port_value": port}}


def _listener(name: str, address: str, port: int) -> dict[str, Any]:
    kind = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
    proxy = {"@type": kind, "stat_prefix": name, "cluster": name, "idle_timeout": "0s"}
    chain = {"filters": [{"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy}]}
    return {"name": name, "address": _socket(address, port), "filter_chains": [chain]}


def _cluster(name: str, port: int) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": _socket(HOST, port)}}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
