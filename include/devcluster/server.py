"""Puts the dev cluster together and runs it."""

from __future__ import annotations

import asyncio
import copy
import logging
import os
import platform
import signal
from functools import partial
from pathlib import Path

import yaml
from aiohttp import web

from include.devcluster import tls
from include.devcluster.config import Config, Node
from include.devcluster.core.api import Api
from include.devcluster.core.errors import DevClusterError
from include.devcluster.core.kubelet import Kubelet
from include.devcluster.core.objects import Object, name, now
from include.devcluster.core.registry import Author, Registry
from include.devcluster.core.resources import (
    DEFINITIONS,
    NAMESPACES,
    NODES,
    PRIORITIES,
    SERVICE_ACCOUNTS,
    SERVICES,
    Catalogue,
)  # fmt: skip
from include.devcluster.core.scheduler import Scheduler
from include.devcluster.core.store import Change, Store
from include.devcluster.garbage import GarbageCollector
from include.devcluster.node.exec import Exec
from include.devcluster.node.isolation import Isolation, choose
from include.devcluster.node.logs import Logs
from include.devcluster.node.volumes import Volumes
from include.devcluster.protocol import addresses, patch
from include.devcluster.protocol.discovery import VERSION
from include.devcluster.retention import Retainer

log = logging.getLogger(__name__)

SYSTEM_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
_SYSTEM_PRIORITIES = {
    "system-node-critical": (
        2000001000, "Used for system critical pods that must not be moved from their current node.",
    ),
    "system-cluster-critical": (
        2000000000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
}  # fmt: skip
DEFINITIONS_FOLDER = Path(__file__).parent / "controllers" / "crds"


async def serve(config: Config) -> None:
    """Run until SIGTERM or SIGINT. Pods go on without the server.

    :raises DevClusterError: the folder is in use, the port is taken, or the isolation is refused.
    """
    store = Store(config.root)
    catalogue = Catalogue()
    for definition in store.list(DEFINITIONS.key):
        catalogue.define(definition)
    registry = Registry(store, catalogue)
    volumes = Volumes(config.root, store)
    mode = choose(config)
    kubelet = Kubelet(config, registry, Isolation(config, mode, volumes), volumes)
    furnish(config, registry)
    runner = web.AppRunner(
        Api(registry, Logs(kubelet), Exec(kubelet), config.token).application(),
        handle_signals=False, access_log=None, handler_cancellation=True, shutdown_timeout=1.0,
    )  # fmt: skip
    certificate = tls.ensure(config.root / "tls", config.host)
    await runner.setup()
    try:
        await web.TCPSite(runner, config.host, config.port, ssl_context=certificate.context()).start()
    except OSError as error:
        raise DevClusterError(
            f"port: {config.host}:{config.port} cannot be listened on: {error.strerror}. "
            "End what listens there, or choose another port."
        ) from error
    kubelet.start()
    loops = (Scheduler(registry), GarbageCollector(registry), Retainer(registry, config.root, config.retention))
    tasks = [asyncio.create_task(loop.run()) for loop in loops]
    write_kubeconfig(config, certificate)
    log.info("serving https://%s:%d, isolation %s, %d nodes", config.host, config.port, mode, len(config.nodes))
    await _asked_to_stop()
    for task in tasks:
        task.cancel()
    kubelet.stop()
    await runner.cleanup()
    store.close()


async def _asked_to_stop() -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()


def furnish(config: Config, registry: Registry) -> None:
    """Make what a cluster has from the start: namespaces with their service account, definitions, nodes."""
    store = registry.store
    for space in (*SYSTEM_NAMESPACES, *config.namespaces):
        if store.get(NAMESPACES.key, "", space) is None:
            registry.create(NAMESPACES, "", {"metadata": {"name": space}})
        _account(registry, space)

    def follow(change: Change) -> None:
        if change.resource == NAMESPACES.key and change.type == "ADDED":
            asyncio.get_running_loop().call_soon(_account, registry, name(change.object))

    store.listen(follow)
    for path in sorted(DEFINITIONS_FOLDER.glob("*.yaml")):
        for definition in yaml.safe_load_all(path.read_text()):
            if definition and store.get(DEFINITIONS.key, "", name(definition)) is None:
                registry.create(DEFINITIONS, "", definition)
    _furnish_system(config, registry)
    _furnish_nodes(config, registry)


def _furnish_system(config: Config, registry: Registry) -> None:
    """The priorities of system pods, and the service that names the API server."""
    author = Author("kube-apiserver")
    for own, (value, text) in _SYSTEM_PRIORITIES.items():
        if registry.store.get(PRIORITIES.key, "", own) is None:
            registry.create(PRIORITIES, "", {"metadata": {"name": own}, "value": value, "description": text}, author)
    if registry.store.get(SERVICES.key, "default", "kubernetes") is None:
        port = {"name": "https", "port": 443, "protocol": "TCP", "targetPort": config.port}
        meta = {"name": "kubernetes", "labels": {"component": "apiserver", "provider": "kubernetes"}}
        spec = {
            "clusterIP": addresses.API_SERVER,
            "ports": [port],
            "type": "ClusterIP",
            "ipFamilyPolicy": "SingleStack",
        }
        registry.create(SERVICES, "default", {"metadata": meta, "spec": spec}, author)


def _furnish_nodes(config: Config, registry: Registry) -> None:
    """The nodes of the configuration and no others; labels and taints that people have added since stay."""
    wanted = {node.name: node_object(config, node) for node in config.nodes}
    for node in registry.store.list(NODES.key):
        if name(node) not in wanted:
            registry.delete(NODES, "", name(node))
    for own, made in wanted.items():
        if registry.store.get(NODES.key, "", own) is None:
            registry.create(NODES, "", copy.deepcopy(made))
        else:
            registry.update(NODES, "", own, partial(patch.merge, change={k: made[k] for k in ("metadata", "spec")}))
        registry.set_status(NODES, registry.get(NODES, "", own), made["status"])


def _account(registry: Registry, space: str) -> None:
    """Every namespace has a service account `default`."""
    home = registry.store.get(NAMESPACES.key, "", space)
    if (
        home
        and not home["metadata"].get("deletionTimestamp")
        and not registry.store.get(SERVICE_ACCOUNTS.key, space, "default")
    ):
        registry.create(SERVICE_ACCOUNTS, space, {"metadata": {"name": "default"}})


def node_object(config: Config, node: Node) -> Object:
    """A node as the API shows it."""
    system = platform.system().lower()
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    capacity = {"pods": "110", **node.capacity}
    labels = {
        "kubernetes.io/hostname": node.name, "kubernetes.io/os": system, "kubernetes.io/arch": machine,
        "beta.kubernetes.io/os": system, "beta.kubernetes.io/arch": machine, **node.labels,
    }  # fmt: skip
    conditions = [
        {
            "type": kind,
            "status": status,
            "reason": reason,
            "message": message,
            "lastHeartbeatTime": now(),
            "lastTransitionTime": now(),
        }
        for kind, status, reason, message in (
            ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
            ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
            ("Ready", "True", "KubeletReady", "the dev cluster plays this node"),
        )
    ]
    return {
        "metadata": {"name": node.name, "labels": labels},
        "spec": {"taints": [{"key": t.key, "value": t.value, "effect": t.effect} for t in node.taints]},
        "status": {
            "capacity": capacity,
            "allocatable": capacity,
            "conditions": conditions,
            "addresses": [{"type": "InternalIP", "address": config.host}, {"type": "Hostname", "address": node.name}],
            "nodeInfo": {
                "kubeletVersion": f"{VERSION}+podium-devcluster", "osImage": platform.platform(),
                "operatingSystem": system, "kernelVersion": platform.release(), "architecture": machine,
                "containerRuntimeVersion": "devcluster://1",
                "machineID": "", "systemUUID": "", "bootID": "", "kubeProxyVersion": "",
            },
        },
    }  # fmt: skip


def write_kubeconfig(config: Config, certificate: tls.Certificate) -> None:
    """Write the file that clients use, readable by the owner alone."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "podium",
        "clusters": [
            {
                "name": "podium",
                "cluster": {
                    "server": f"https://{config.host}:{config.port}",
                    "certificate-authority-data": certificate.authority_data(),
                },
            }
        ],
        "users": [{"name": "podium", "user": {"token": config.token}}],
        "contexts": [
            {
                "name": "podium",
                "context": {"cluster": "podium", "user": "podium", "namespace": (config.namespaces or ["default"])[0]},
            }
        ],
    }
    config.kubeconfig.parent.mkdir(parents=True, exist_ok=True)
    new = config.kubeconfig.with_name(f".{config.kubeconfig.name}.new")
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "w") as handle:
        yaml.safe_dump(content, handle, sort_keys=False)
    new.rename(config.kubeconfig)
