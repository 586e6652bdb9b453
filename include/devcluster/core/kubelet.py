"""Runs the pods that are bound to a node. One kubelet plays all nodes: they share this machine."""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path

from include.devcluster.config import Config
from include.devcluster.core.container import Container
from include.devcluster.core.events import Recorder
from include.devcluster.core.objects import Object, dig, namespace, uid
from include.devcluster.core.pod_worker import PodWorker
from include.devcluster.core.quantity import GPU, container_requests
from include.devcluster.core.registry import Registry
from include.devcluster.core.resources import PODS
from include.devcluster.core.store import Change
from include.devcluster.drain import end
from include.devcluster.node.isolation import Isolation
from include.devcluster.node.volumes import Volumes


class Kubelet:
    """Holds a worker for every bound pod; after a restart they find their containers again.

    :raises DevClusterError: (from `choose`, before) where the wanted isolation is refused.
    """

    def __init__(self, config: Config, registry: Registry, isolation: Isolation, volumes: Volumes) -> None:
        self.config, self.registry, self.isolation, self.volumes = config, registry, isolation, volumes
        self.recorder = Recorder(registry, "kubelet")
        self._workers: dict[str, PodWorker] = {}
        self._addresses = ipaddress.ip_network(config.pod_network)
        self._next_address = 1
        self._nodes = {node.name for node in config.nodes}
        self._own_addresses = _bindable(str(self._addresses[1 if self._addresses.num_addresses > 1 else 0]))

    def start(self) -> None:
        """Take up every pod that is bound to a node of this machine, then follow changes."""
        for pod in self.registry.store.list(PODS.key):
            self._see(pod)
        known = set(self._workers)
        pods = self.config.root / "pods"
        for folder in pods.iterdir() if pods.is_dir() else ():
            if folder.name not in known:
                self._orphan(folder)
        self.registry.store.listen(self._changed)

    def _orphan(self, folder: Path) -> None:
        """A pod's folder whose pod was removed while the server was down: end what may still run."""
        for attempt in folder.glob("containers/*/*"):
            end(attempt)
        self.volumes.remove(folder.name)

    def stop(self) -> None:
        """Stop looking after pods; they go on without the server."""
        for worker in self._workers.values():
            worker.close()

    def _changed(self, change: Change) -> None:
        if change.resource == PODS.key:
            if change.type == "DELETED":
                if worker := self._workers.get(uid(change.object)):
                    worker.wake()
            else:
                self._see(change.object)
        elif change.resource in ("configmaps", "secrets", "persistentvolumeclaims"):
            for worker in self._workers.values():
                if worker.space == namespace(change.object) and worker.refers(
                    change.resource, change.object["metadata"]["name"]
                ):
                    worker.refresh()
            if change.resource == "persistentvolumeclaims" and change.type == "DELETED":
                self.volumes.remove_claim(change.object)

    def _see(self, pod: Object) -> None:
        if pod["spec"].get("nodeName") not in self._nodes:
            return
        worker = self._workers.get(uid(pod))
        if worker is None:
            self._workers[uid(pod)] = PodWorker(self, pod)
        else:
            worker.wake()

    def worker(self, pod: Object) -> PodWorker | None:
        """Who looks after this very pod."""
        return self._workers.get(uid(pod))

    def container(self, pod: Object, name: str) -> Container | None:
        """A container of the pod, None before it is taken up."""
        worker = self.worker(pod)
        return worker.containers.get(name) if worker else None

    def forget(self, pod_uid: str) -> None:
        """The worker has nothing left to do."""
        self._workers.pop(pod_uid, None)

    def folder(self, pod_uid: str) -> Path:
        """Where everything of a pod is kept."""
        return self.config.root / "pods" / pod_uid

    def allocate_address(self) -> str:
        """An address of the pod network that no live pod has; the host's own where the system has only that."""
        if not self._own_addresses:
            return self.config.host
        used = {dig(pod, "status.podIP") for pod in self.registry.store.list(PODS.key) if _active(pod)}
        size = self._addresses.num_addresses
        for _ in range(size):
            address = str(self._addresses[self._next_address % size])
            self._next_address += 1
            if address not in used and not address.endswith((".0", ".255")):
                return address
        return self.config.host

    def allocate_gpus(self, pod: Object) -> dict[str, list[int]]:
        """Indexes of the node's GPUs for each container that asked for some."""
        node = pod["spec"]["nodeName"]
        taken: set[int] = set()
        for other in self.registry.store.list(PODS.key):
            worker = self._workers.get(uid(other))
            if worker and other["spec"].get("nodeName") == node and uid(other) != uid(pod) and _active(other):
                taken |= {index for indexes in worker.gpus.values() for index in indexes}
        given: dict[str, list[int]] = {}
        free = (index for index in range(1024) if index not in taken)
        for container in pod["spec"]["containers"]:
            if count := int(container_requests(container).get(GPU, 0)):
                given[container["name"]] = [next(free) for _ in range(count)]
        return given


def _active(pod: Object) -> bool:
    return pod["status"]["phase"] not in ("Succeeded", "Failed")


def _bindable(address: str) -> bool:
    """Whether this system lets a server listen on the address (macOS has only 127.0.0.1)."""
    with socket.socket() as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True
