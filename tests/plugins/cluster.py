"""The dev cluster, its controllers and Envoy, as processes of their own, with stand-ins for the images."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from podium.kinds import INFERENCE_SERVICE, MPI_JOB, SPARK_APPLICATION

from include.config import Settings

CHECKOUT = Path(__file__).parents[2]
STUBS = Path(__file__).parent / "stubs"
TOKEN = "token-of-the-tests"
AUTHORIZATION = {"Authorization": f"Bearer {TOKEN}"}
START_S = 90
RACK = "podium.dev/rack"


def stack_python() -> Path:
    """The interpreter of the environment that the dev cluster, its controllers and Envoy live in."""
    return Path(os.environ.get("PODIUM_STACK_PYTHON", sys.executable))


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(holds: Callable[[], bool], what: str, seconds: float = 60, every: float = 0.05) -> None:
    """Wait for a condition that no event announces.

    :param every: seconds between two looks; what is dear to ask for is asked for less often.
    """
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"waited {seconds:.0f} s in vain for {what}"
        time.sleep(every)


@dataclass
class Server:
    """The dev cluster's process, to be killed and started again; pods outlive it."""

    config: Path
    url: str
    log: Path
    running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it serves."""
        self.running = _spawn(self.log, stack_python(), "-m", "include.devcluster", "--config", self.config)
        _wait_until_ok(f"{self.url}/readyz", self.running, self.log)

    def end(self, *, kill: bool = False) -> None:
        """End it, without a warning if `kill`."""
        assert self.running is not None
        (self.running.kill if kill else self.running.terminate)()
        self.running.wait(60)


@dataclass(frozen=True)
class Platform:
    """What the operators work with.

    :param api: a client of the dev cluster.
    :param gateway_url: Envoy's address.
    :param folder: files of the test session, logs among them.
    :param server: the dev cluster's own process.
    """

    api: httpx.Client
    gateway_url: str
    kubeconfig: Path
    folder: Path
    server: "Server"
    namespace: str = "podium"

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """One call to the API, which must succeed."""
        answer = self.api.request(method, path, json=body)
        assert answer.status_code < 400, f"{method} {path}: {answer.status_code} {answer.text}"
        return dict(answer.json())

    def objects(self, group: str, version: str, plural: str) -> dict[str, dict[str, Any]]:
        """All custom resources of a kind, by name."""
        items = self.call("GET", f"/apis/{group}/{version}/namespaces/{self.namespace}/{plural}")["items"]
        return {item["metadata"]["name"]: item for item in items}

    def pods(self) -> dict[str, dict[str, Any]]:
        """All pods by name."""
        items = self.call("GET", f"/api/v1/namespaces/{self.namespace}/pods")["items"]
        return {pod["metadata"]["name"]: pod for pod in items}

    def clear(self) -> None:
        """Delete all work that earlier tests have left."""
        for kind in (SPARK_APPLICATION, MPI_JOB, INFERENCE_SERVICE):
            self.call("DELETE", f"/apis/{kind.api_version}/namespaces/{self.namespace}/{kind.plural}")
        self.call("DELETE", f"/api/v1/namespaces/{self.namespace}/pods?gracePeriodSeconds=0")
        wait_for(lambda: not self.pods(), "the pods to go")


@contextmanager
def running_platform(folder: Path, settings: Settings, gateway: int, admin: int) -> Iterator[Platform]:
    """Start all of it; end it with what it runs.

    :param gateway: port of Envoy.
    :param admin: port of Envoy's admin interface.
    """
    with ExitStack() as stack:
        kubeconfig, server = stack.enter_context(_dev_cluster(folder, settings))
        stack.enter_context(_envoy(folder, gateway, admin))
        stack.enter_context(_controllers(folder, kubeconfig, gateway, admin))
        api = stack.enter_context(_client(kubeconfig))
        platform = Platform(api, f"http://127.0.0.1:{gateway}", kubeconfig, folder, server)
        _install(platform, settings)
        yield platform


def _spawn(log: Path, *command: str | Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "GATEWAY_ADMIN_TOKEN": TOKEN}
    with log.open("ab") as output:
        return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment, cwd=log.parent)


@contextmanager
def _process(log: Path, *command: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    running = _spawn(log, *command)
    try:
        yield running
    finally:
        running.terminate()
        running.wait(60)


def _wait_until_ok(url: str, running: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end and running.poll() is None:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(url, headers=AUTHORIZATION, timeout=2, trust_env=False, verify=False).status_code == 200:
                return
        time.sleep(0.05)
    pytest.fail(f"{url} does not answer; exit code {running.poll()}, log:\n{log.read_text()[-3000:]}")


@contextmanager
def _dev_cluster(folder: Path, settings: Settings) -> Iterator[tuple[Path, Server]]:
    """The dev cluster with the nodes of the settings' pools, each in a rack of its own."""
    nodes = []
    for name, pool in settings.node_pools.items():
        gpus = {"nvidia.com/gpu": str(pool.gpus)} if pool.gpus else {}
        taints = [{"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}] if pool.gpus else []
        capacity = {"cpu": pool.cpu, "memory": pool.memory, "pods": "110", **gpus}
        for index in range(pool.nodes):
            labels = {**pool.node_selector, RACK: f"rack-{index}"}
            nodes.append({"name": f"{name}-{index}", "labels": labels, "taints": taints, "capacity": capacity})
    image = {
        "digest": "sha256:" + "0" * 64,
        "path": [str(STUBS / "bin"), str(stack_python().parent)],
        "env": {"PYTHONPATH": "/app"},
        "mounts": {"/app/include": str(STUBS / "app" / "include")},
        "workdir": "/app",
    }
    port, kubeconfig = free_port(), folder / "kubeconfig"
    content = {
        "root": str(folder / "devcluster"),
        "port": port,
        "token": TOKEN,
        "kubeconfig": str(kubeconfig),
        "nodes": nodes,
        "images": {"alpine": {}} | {reference.partition(":")[0]: image for reference in settings.images.values()},
        "restart_backoff_s": 0.5,
    }
    config, log = folder / "devcluster.yaml", folder / "devcluster.log"
    config.write_text(yaml.safe_dump(content))
    server = Server(config, f"https://127.0.0.1:{port}", log)
    try:
        server.start()
        yield kubeconfig, server
    finally:
        server.end()
        with _process(log, stack_python(), "-m", "include.devcluster", "drain", "--config", config) as draining:
            draining.wait(60)


@contextmanager
def _envoy(folder: Path, port: int, admin: int) -> Iterator[None]:
    code = "import json, pathlib, sys; from include.devcluster.controllers.gateway import bootstrap as b, prepare; "
    code += "prepare(pathlib.Path(sys.argv[1])); "
    code += "print(json.dumps(b(pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])))"
    command = [str(stack_python()), "-c", code, str(folder / "gateway"), str(port), str(admin), TOKEN]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    config, log = folder / "envoy.json", folder / "envoy.log"
    config.write_text(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    program = stack_python().with_name("envoy")
    if not program.exists():
        pytest.skip(f"no Envoy beside {stack_python()}: set PODIUM_STACK_PYTHON")
    with _process(log, program, "-c", config, "--disable-hot-restart", "--concurrency", "2", "-l", "warn") as running:
        _wait_until_ok(f"http://127.0.0.1:{admin}/ready", running, log)
        yield


@contextmanager
def _controllers(folder: Path, kubeconfig: Path, gateway: int, admin: int) -> Iterator[None]:
    options: tuple[str | Path, ...] = (
        *("--kubeconfig", kubeconfig, "--gateway-dir", folder / "gateway"),
        *("--gateway-url", f"http://127.0.0.1:{gateway}", "--gateway-admin-url", f"http://127.0.0.1:{admin}"),
    )
    log = folder / "controllers.log"
    with _process(log, stack_python(), "-m", "include.devcluster.controllers", *options) as running:
        yield
        if running.poll() is not None:
            pytest.fail(f"the controllers ended: {log.read_text()[-3000:]}")


@contextmanager
def _client(kubeconfig: Path) -> Iterator[httpx.Client]:
    cluster = yaml.safe_load(kubeconfig.read_text())["clusters"][0]["cluster"]
    with httpx.Client(
        base_url=cluster["server"], headers=AUTHORIZATION, verify=False, trust_env=False, timeout=30
    ) as api:
        yield api


def _install(platform: Platform, settings: Settings) -> None:
    """What every pod of Podium refers to."""
    base, kubernetes = f"/api/v1/namespaces/{platform.namespace}", settings.kubernetes
    secrets = {"catalog_user": "lake", "catalog_password": "s3cret"}
    for plural, kind, name, content in (
        ("configmaps", "ConfigMap", kubernetes.platform_config_map, {"data": settings.platform_environment()}),
        ("secrets", "Secret", kubernetes.credentials_secret, {"stringData": secrets}),
        ("serviceaccounts", "ServiceAccount", kubernetes.service_account, {}),
        ("serviceaccounts", "ServiceAccount", kubernetes.spark_service_account, {}),
    ):
        manifest = {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, **json.loads(json.dumps(content))}
        platform.call("POST", f"{base}/{plural}", manifest)
