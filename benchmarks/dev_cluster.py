"""What the dev cluster bears: many pods at once, many watch events, and a week of use on the disk."""

import asyncio
import datetime as dt
import json
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import yaml

from include.devcluster.config import Retention
from include.devcluster.core.events import Recorder
from include.devcluster.core.objects import Object, timestamp
from include.devcluster.core.registry import Registry
from include.devcluster.core.resources import DEFINITIONS, NAMESPACES, PODS, SERVICE_ACCOUNTS, Catalogue
from include.devcluster.core.store import Change, Store
from include.devcluster.retention import Retainer
from include.devcluster.server import DEFINITIONS_FOLDER

PODS_AT_ONCE = 200
WATCHERS, WRITERS, WATCH_S = 10, 4, 15.0

# A week of use: a pod a minute, day and night. One in twenty fails and stays; an operator deletes the others.
DAYS, PODS_AN_HOUR, FAILED = 7, 60, 20
LOG_BYTES, CUSTOM_AN_HOUR = 20_000, 2


def measure() -> dict[str, float]:
    """All three, one after the other."""
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(_pods_and_events(Path(folder)))
    with tempfile.TemporaryDirectory() as folder:
        return figures | _week(Path(folder))


COMMAND = [sys.executable, "-m", "include.devcluster"]
CONFIG = "config.yaml"


@dataclass
class _Server:
    process: psutil.Process
    http: aiohttp.ClientSession
    samples: list[int] = field(default_factory=list)

    async def call(self, method: str, path: str, body: Object | None = None, **headers: str) -> Any:
        async with self.http.request(method, f"/api/v1/namespaces/podium/{path}", json=body, headers=headers) as answer:
            text = await answer.text()
            if answer.status >= 300:
                raise RuntimeError(f"{method} {path}: {answer.status} {text[:300]}")
            return json.loads(text) if "json" in answer.content_type else text

    async def watch(self, resource: str, since: str) -> AsyncIterator[Object]:
        query = {"watch": "1", "resourceVersion": since}
        async with self.http.get(f"/api/v1/namespaces/podium/{resource}", params=query) as answer:
            async for line in answer.content:
                yield json.loads(line)

    async def sample(self) -> None:
        """Note the server's memory until cancelled."""
        while True:
            self.samples.append(self.process.memory_info().rss)
            await asyncio.sleep(0.2)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _start(folder: Path, port: int, token: str) -> subprocess.Popen[bytes]:
    config = {
        "root": str(folder / "state"),
        "port": port,
        "token": token,
        "kubeconfig": str(folder / "kubeconfig"),
        "nodes": [{"name": f"node-{i}", "capacity": {"cpu": "64", "memory": "256Gi", "pods": "110"}} for i in range(2)],
        "images": {"busybox": {}},
    }
    path = folder / CONFIG
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(config))
    with (folder / "server.log").open("wb") as log:
        return subprocess.Popen([*COMMAND, "--config", path], stdout=log, stderr=log)


def _end(process: subprocess.Popen[bytes], folder: Path) -> None:
    process.terminate()
    process.wait(30)
    subprocess.run([*COMMAND, "drain", "--config", folder / CONFIG], check=True, stdout=subprocess.DEVNULL)


@asynccontextmanager
async def _server(folder: Path) -> AsyncIterator[_Server]:
    port, token = free_port(), secrets.token_hex(16)
    process = _start(folder, port, token)
    try:
        async with aiohttp.ClientSession(
            f"https://127.0.0.1:{port}", connector=aiohttp.TCPConnector(limit=64, ssl=False),
            headers={"Authorization": f"Bearer {token}"}, timeout=aiohttp.ClientTimeout(total=None),
            read_bufsize=1 << 22,
        ) as http:  # fmt: skip
            server = _Server(psutil.Process(process.pid), http)
            while process.poll() is None:
                try:
                    await server.call("GET", "serviceaccounts/default")
                    break
                except (aiohttp.ClientError, RuntimeError):
                    await asyncio.sleep(0.1)
            sampler = asyncio.create_task(server.sample())
            yield server
            sampler.cancel()
    finally:
        _end(process, folder)


async def _pods_and_events(folder: Path) -> dict[str, float]:
    async with _server(folder) as server:
        at_rest = server.process.memory_info().rss
        figures = await _pods(server)
        figures |= await _events(server)
        figures |= {
            "memory at rest, MB": at_rest / 1e6,
            "memory at the peak, MB": max(server.samples) / 1e6,
        }
        return figures


async def _pods(server: _Server) -> dict[str, float]:
    """All pods are asked for at once; each must run once, end well and have its log."""
    since = (await server.call("GET", "pods"))["metadata"]["resourceVersion"]
    began = time.monotonic()

    async def ended() -> None:
        over: set[str] = set()
        async for event in server.watch("pods", since):
            if event["object"]["status"]["phase"] == "Failed":
                raise RuntimeError(f"a pod failed: {event['object']['status']}")
            if event["object"]["status"]["phase"] == "Succeeded":
                over.add(event["object"]["metadata"]["name"])
            if len(over) == PODS_AT_ONCE:
                return

    watcher = asyncio.create_task(ended())
    await asyncio.gather(*(server.call("POST", "pods", _pod(f"pod-{i}")) for i in range(PODS_AT_ONCE)))
    accepted = time.monotonic() - began
    await watcher
    seconds = time.monotonic() - began
    for index in range(PODS_AT_ONCE):
        if (log := await server.call("GET", f"pods/pod-{index}/log")) != f"pod-{index}\n":
            raise RuntimeError(f"pod-{index} logged {log!r}")
    return {
        f"{PODS_AT_ONCE} pods at once, accepted after s": accepted,
        f"{PODS_AT_ONCE} pods at once, all ended after s": seconds,
    }


def _pod(name: str) -> Object:
    container = {
        "name": "main", "image": "busybox", "command": ["sh", "-c", f"echo {name}"],
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
    }  # fmt: skip
    return {"metadata": {"name": name}, "spec": {"restartPolicy": "Never", "containers": [container]}}


async def _events(server: _Server) -> dict[str, float]:
    """Writers change objects as fast as they can, watchers follow; one watcher never reads at all."""
    since = (await server.call("GET", "configmaps"))["metadata"]["resourceVersion"]
    for index in range(WRITERS):
        await server.call("POST", "configmaps", {"metadata": {"name": f"map-{index}"}, "data": {"text": "x" * 500}})
    stop = time.monotonic() + WATCH_S
    written: set[str] = set()

    async def write(index: int) -> None:
        number = 0
        while time.monotonic() < stop:
            number += 1
            kind = {"Content-Type": "application/merge-patch+json"}
            made = await server.call("PATCH", f"configmaps/map-{index}", {"data": {"number": str(number)}}, **kind)
            written.add(made["metadata"]["resourceVersion"])

    async def follow() -> tuple[int, set[str]]:
        seen: list[str] = []
        async for event in server.watch("configmaps", since):
            if event["type"] == "DELETED":
                return len(seen), set(seen)
            seen.append(event["object"]["metadata"]["resourceVersion"])
        raise RuntimeError("a watch has ended early")

    cpu = _cpu(server)
    idle = await server.http.get(
        "/api/v1/namespaces/podium/configmaps", params={"watch": "1", "resourceVersion": since}
    )
    began = time.monotonic()
    watchers = [asyncio.create_task(follow()) for _ in range(WATCHERS)]
    await asyncio.gather(*(write(index) for index in range(WRITERS)))
    await server.call("DELETE", "configmaps/map-0")
    seen = await asyncio.gather(*watchers)
    seconds = time.monotonic() - began
    idle.close()
    if any(len(versions) != count or not written <= versions for count, versions in seen):
        raise RuntimeError("a watcher has missed a change, or seen one twice")
    events = sum(count for count, _ in seen)
    return {
        "changes a second": len(written) / seconds,
        "watch events a second": events / seconds,
        "CPU of the server for a thousand watch events and their changes, s": (_cpu(server) - cpu) / events * 1000,
    }


def _cpu(server: _Server) -> float:
    times = server.process.cpu_times()
    return float(times.user + times.system)


def _week(root: Path) -> dict[str, float]:
    """The server's own parts, driven by a clock that runs fast: containers need not run to leave what they leave."""
    store = Store(root)
    registry = Registry(store, Catalogue())
    registry.create(NAMESPACES, "", {"metadata": {"name": "podium"}})
    registry.create(SERVICE_ACCOUNTS, "podium", {"metadata": {"name": "default"}})
    for path in DEFINITIONS_FOLDER.glob("*.yaml"):
        for definition in yaml.safe_load_all(path.read_text()):
            registry.create(DEFINITIONS, "", definition)
    recorder, retainer = Recorder(registry, "kubelet"), Retainer(registry, root, Retention())

    def removed(change: Change) -> None:
        """As the kubelet does."""
        if change.resource == PODS.key and change.type == "DELETED":
            shutil.rmtree(root / "pods" / change.object["metadata"]["uid"])

    store.listen(removed)
    began, largest, number = dt.datetime.now(dt.UTC), 0, 0
    for hour in range(DAYS * 24):
        moment = began + dt.timedelta(hours=hour)
        for _ in range(PODS_AN_HOUR):
            number += 1
            _live(registry, recorder, root, number, moment)
        for index in range(CUSTOM_AN_HOUR):
            _apply(registry, f"app-{hour}-{index}")
        retainer.sweep(moment + dt.timedelta(hours=1))
        if hour % 6 == 5:
            largest = max(largest, _bytes(root))
    rows = store.revision
    store.close()
    return {
        "a week, pods": number,
        "a week, changes": rows,
        "a week, state at the most, MB": largest / 1e6,
        "a week, objects.db at its end, MB": (root / "objects.db").stat().st_size / 1e6,
    }


def _live(registry: Registry, recorder: Recorder, root: Path, number: int, moment: dt.datetime) -> None:
    """The whole life of a pod, from its request to its deletion; of one that fails, to its end."""
    pod = registry.create(PODS, "podium", _pod(f"pod-{number}"))

    def change(**status: Any) -> None:
        nonlocal pod
        pod = registry.set_status(PODS, pod, {**pod["status"], **status}) or pod

    phase = "Failed" if number % FAILED == 0 else "Succeeded"
    for reason in ("Scheduled", "Pulled", "Created", "Started"):
        recorder.event(pod, reason, f"{reason} {number}")
    change(podIP=f"127.64.0.{number % 250}", startTime=timestamp(moment))
    change(phase="Running", containerStatuses=[{"name": "main", "state": {"running": {}}}])
    folder = root / "pods" / pod["metadata"]["uid"] / "containers" / "main" / "0"
    folder.mkdir(parents=True)
    (folder / "log").write_bytes(secrets.token_bytes(LOG_BYTES // 2).hex().encode())
    ended = {"terminated": {"exitCode": int(phase == "Failed"), "finishedAt": timestamp(moment)}}
    change(phase=phase, containerStatuses=[{"name": "main", "state": ended}])
    if phase == "Succeeded":
        registry.delete(PODS, "podium", pod["metadata"]["name"])


def _apply(registry: Registry, name: str) -> None:
    resource = registry.catalogue.key("sparkapplications.sparkoperator.k8s.io")
    spec = {
        "type": "Python",
        "mode": "cluster",
        "mainApplicationFile": "local:///main.py",
        "driver": {"cores": 1},
        "executor": {},
    }
    made = registry.create(resource, "podium", {"metadata": {"name": name}, "spec": spec})
    for state in ("SUBMITTED", "RUNNING", "COMPLETED"):
        made = registry.set_status(resource, made, {"applicationState": {"state": state}}) or made


def _bytes(root: Path) -> int:
    return sum(path.lstat().st_blocks * 512 for path in root.rglob("*") if path.is_file())
