"""Starts and stops what the tests run against: Envoy, the dev cluster, the controllers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import yaml

from include.devcluster import controllers
from include.devcluster.controllers.gateway import bootstrap, prepare
from include.devcluster.controllers.gateway_admin import TOKEN
from include.devcluster.controllers.gateway_listeners import CLASS, GATEWAYS, wanted
from tests.devcluster.controllers.cluster import CRDS, NAMESPACES, Cluster
from tests.devcluster.controllers.support import (
    Gateway,
    free_port,
    image_environment,
    stack_python,
    wait_for,
    wait_until_ok,
)
from tests.devcluster.server import DevCluster

CHECKOUT = Path(__file__).parents[3]


def start(log: Path, *command: str | Path) -> subprocess.Popen[bytes]:
    """A program of the checkout, writing to ``log``."""
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), TOKEN: Gateway.token}
    with log.open("ab") as output:
        return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment, cwd=log.parent)


@contextmanager
def process(log: Path, *command: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    """A program of the checkout, ended with SIGTERM."""
    running = start(log, *command)
    try:
        yield running
    finally:
        running.terminate()
        running.wait(30)


@contextmanager
def running_envoy(folder: Path) -> Iterator[Gateway]:
    """A real Envoy that reads its configuration from an empty folder."""
    program = stack_python().with_name("envoy")
    if not program.exists():
        pytest.skip(f"no Envoy beside {stack_python()}: set PODIUM_STACK_PYTHON")
    listen, admin = free_port(), free_port()
    config, log = folder / "envoy.json", folder / "envoy.log"
    prepare(folder / "gateway")
    config.write_text(json.dumps(bootstrap(folder / "gateway", listen, admin, Gateway.token)))
    options = ("--disable-hot-restart", "--concurrency", "2", "-l", "warn")
    with process(log, program, "-c", config, *options) as running:
        admin_url = f"http://127.0.0.1:{admin}"
        wait_until_ok(f"{admin_url}/ready", running, log, Gateway.token)
        yield Gateway(folder / "gateway", f"http://127.0.0.1:{listen}", admin_url, running.pid)


def dev_cluster(folder: Path) -> DevCluster:
    """A dev cluster with room for everything, and the images' environments as far as they are built."""
    images = {"podium/python": {"path": [str(stack_python().parent)]}}
    for name in ("recommender", "features"):
        if (environment := image_environment(name)) is not None:
            images[f"podium/{name}"] = {"path": [str(environment / "bin")]}
    capacity = {"cpu": "32", "memory": "64Gi", "pods": "110"}
    nodes = [{"name": "general-0", "labels": {"podium.dev/pool": "general"}, "capacity": capacity}]
    return DevCluster(folder, nodes=nodes, images=images, restart_backoff_s=0.5)


class Controllers:
    """The controllers, looking after a cluster's namespace; may be killed and started again."""

    def __init__(self, folder: Path, kubeconfig: Path, cluster: Cluster) -> None:
        self._log = folder / "controllers.log"
        self._options: Sequence[str | Path] = (
            *("--kubeconfig", kubeconfig, "--namespace", cluster.namespace),
            *("--gateway-dir", cluster.gateway.directory, "--gateway-url", cluster.gateway.url),
            *("--gateway-admin-url", cluster.gateway.admin_url),
        )
        self._running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start them and wait until they watch."""
        self._log.write_text("")
        command = (stack_python(), "-m", "include.devcluster.controllers", *self._options)
        self._running = start(self._log, *command)
        wait_for(lambda: self.exit_code() is not None or b"watching" in self._log.read_bytes(), "the controllers")
        if self.exit_code() is not None:
            pytest.fail(f"the controllers ended: {self._log.read_text()}")

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End them, by default without warning."""
        if self._running is not None:
            self._running.send_signal(number)
            self._running.wait(30)

    def exit_code(self) -> int | None:
        """``None`` while they run."""
        return self._running.poll() if self._running else 0


@dataclass(frozen=True)
class Rig:
    """A cluster with Envoy and the controllers, each a process of its own."""

    cluster: Cluster
    controllers: Controllers
    dev_cluster: DevCluster | None


def install_definitions(cluster: Cluster) -> None:
    """Namespace, custom resource definitions, and the right of launchers to exec, on a real cluster."""
    kind = "application/apply-patch+yaml"
    query = "?fieldManager=tests&force=true"
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": cluster.namespace}}
    cluster.call("PATCH", NAMESPACES.path("", cluster.namespace) + query, namespace, kind)
    for file in (Path(controllers.__file__).parent / "crds").glob("*.yaml"):
        definition = yaml.safe_load(file.read_text())
        name = definition["metadata"]["name"]
        if name.endswith(f".{GATEWAYS.group}") and _served(cluster.api, CRDS.path("", name)):
            continue  # the whole cluster's, and its own implementation relies on them
        cluster.call("PATCH", CRDS.path("", name) + query, definition, kind)
        plural, group = definition["spec"]["names"]["plural"], definition["spec"]["group"]
        version = definition["spec"]["versions"][0]["name"]
        wait_for(lambda path=f"/apis/{group}/{version}/{plural}": _served(cluster.api, path), name)  # type: ignore[misc]
    rbac = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"}
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "launchers"},
        "roleRef": rbac,
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": cluster.namespace}],
    }
    path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{cluster.namespace}/rolebindings/launchers"
    cluster.call("PATCH", path + query, binding, kind)


def install_gateway(cluster: Cluster) -> None:
    """The Gateway that routes name, as the platform's start makes it."""
    for resource, namespace, spec in wanted(cluster.namespace, cluster.gateway.port):
        body = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": CLASS}, "spec": spec}
        path = resource.path(namespace, CLASS) + "?fieldManager=tests&force=true"
        cluster.call("PATCH", path, body, "application/apply-patch+yaml")


def _served(api: httpx.Client, path: str) -> bool:
    return api.get(path).status_code == 200
