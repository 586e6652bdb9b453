"""Start-up, readiness and liveness probes."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import aiohttp

from include.devcluster.core.container import Container
from include.devcluster.core.objects import Object, dig

if TYPE_CHECKING:
    from include.devcluster.core.events import Recorder
    from include.devcluster.core.pod_worker import PodWorker

_LABELS = {"startupProbe": "Startup", "readinessProbe": "Readiness", "livenessProbe": "Liveness"}


class Probes:
    """Runs the probes of one pod's containers while they run."""

    def __init__(self, worker: PodWorker, recorder: Recorder) -> None:
        self._worker, self._recorder = worker, recorder
        self._started: dict[tuple[str, int], asyncio.Event] = {}
        self._tasks: dict[tuple[str, int], list[asyncio.Task[None]]] = {}

    def watch(self, pod: Object, container: Container) -> None:
        """Begin to probe this run of a container, once."""
        if container.process is None:
            return
        key = (container.name, container.process.attempt)
        if key not in self._tasks:
            kinds = [kind for kind in _LABELS if container.spec.get(kind)]
            self._tasks[key] = [asyncio.create_task(self._probe(pod, container, kind)) for kind in kinds]

    def forget(self, container: Container) -> None:
        """This run is over."""
        if container.process:
            for task in self._tasks.pop((container.name, container.process.attempt), ()):
                task.cancel()

    def stop(self) -> None:
        """Probe nothing any more."""
        for tasks in self._tasks.values():
            for task in tasks:
                task.cancel()
        self._tasks.clear()

    async def _probe(self, pod: Object, container: Container, kind: str) -> None:
        probe = container.spec[kind]
        await asyncio.sleep(probe.get("initialDelaySeconds") or 0)
        if kind != "startupProbe" and container.spec.get("startupProbe"):
            await self._begun(container).wait()
        good = bad = 0
        while True:
            problem = await self._try(pod, container, probe)
            good, bad = (good + 1, 0) if problem is None else (0, bad + 1)
            if problem is not None:
                self._recorder.event(
                    pod, "Unhealthy", f"{_LABELS[kind]} probe failed: {problem}", warning=True, container=container.name
                )
            if good >= probe["successThreshold"]:
                if self._passed(container, kind):
                    return
            elif bad >= probe["failureThreshold"]:
                self._failed(pod, container, kind)
            await asyncio.sleep(probe["periodSeconds"])

    def _begun(self, container: Container) -> asyncio.Event:
        """Set once the start-up probe of this run has passed: the other probes wait for it."""
        attempt = container.process.attempt if container.process else 0
        return self._started.setdefault((container.name, attempt), asyncio.Event())

    def _passed(self, container: Container, kind: str) -> bool:
        """Take note of a success; True when the probe has done its work."""
        if kind == "startupProbe":
            container.probed_started = True
            self._begun(container).set()
        elif kind == "readinessProbe" and not container.probed_ready:
            container.probed_ready = True
        self._worker.wake()
        return kind == "startupProbe"

    def _failed(self, pod: Object, container: Container, kind: str) -> None:
        if kind == "readinessProbe":
            container.probed_ready = False
            self._worker.wake()
            return
        word = _LABELS[kind].lower()
        self._recorder.event(
            pod,
            "Killing",
            f"Container {container.name} failed {word} probe, will be restarted",
            container=container.name,
        )
        if container.process:
            container.process.terminate()
            grace = float(pod["spec"].get("terminationGracePeriodSeconds") or 0)
            asyncio.get_running_loop().call_later(grace, container.process.kill)

    async def _try(self, pod: Object, container: Container, probe: Object) -> str | None:
        """One attempt; None when it passed, else what was wrong."""
        current = self._worker.pod() or pod
        try:
            async with asyncio.timeout(probe["timeoutSeconds"]):
                if get := probe.get("httpGet"):
                    return await _http(get, _host(get, current), _port(container.spec, get["port"]))
                if tcp := probe.get("tcpSocket"):
                    _, writer = await asyncio.open_connection(_host(tcp, current), _port(container.spec, tcp["port"]))
                    writer.close()
                    return None
                if run := probe.get("exec"):
                    return await self._worker.run_probe(container, run["command"])
                return "this kind of probe is not served by the dev cluster (httpGet, tcpSocket and exec are)"
        except TimeoutError:
            return f"timed out after {probe['timeoutSeconds']}s"
        except (OSError, aiohttp.ClientError, ValueError) as error:
            return str(error)


async def _http(get: Object, host: str, port: int) -> str | None:
    url = f"{get['scheme'].lower()}://{host}:{port}/{get['path'].lstrip('/')}"
    headers = {h["name"]: h["value"] for h in get.get("httpHeaders") or []}
    async with (
        aiohttp.ClientSession() as session,
        session.get(url, headers=headers, ssl=False, allow_redirects=False) as answer,
    ):
        return None if 200 <= answer.status < 400 else f"HTTP probe failed with statuscode: {answer.status}"


def _host(target: Object, pod: Object) -> str:
    return str(target.get("host") or dig(pod, "status.podIP"))


def _port(container: Object, port: int | str) -> int:
    """A number, or the name of one of the container's ports. Raises ValueError."""
    with contextlib.suppress(ValueError):
        return int(port)
    for known in container.get("ports") or []:
        if known.get("name") == port:
            return int(known["containerPort"])
    raise ValueError(f"couldn't find port: {port} in container {container['name']}")
