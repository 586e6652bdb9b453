"""Drives one pod from its binding to a node until it is gone."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import logging
import shutil
import time
from typing import TYPE_CHECKING

from include.devcluster.core import status
from include.devcluster.core.container import Container
from include.devcluster.core.objects import Object, name, namespace, now, parse_time, uid
from include.devcluster.core.resources import PODS
from include.devcluster.node import images
from include.devcluster.node.environment import ConfigError, command, environment
from include.devcluster.node.joining import outcome
from include.devcluster.node.probes import Probes
from include.devcluster.node.volumes import VolumeError, references

if TYPE_CHECKING:
    from include.devcluster.core.kubelet import Kubelet

log = logging.getLogger(__name__)

RETRY_S = 5.0
"""How soon a missing config map, secret or claim is looked for again; its creation wakes the pod anyway."""


class PodWorker:
    """Level-triggered: `wake` it whenever something may have changed and it brings processes and status in line."""

    def __init__(self, kubelet: Kubelet, pod: Object) -> None:
        self._kubelet, self._uid = kubelet, uid(pod)
        self.space, self._name = namespace(pod), name(pod)
        self._references = references(pod)
        self._folder = kubelet.folder(self._uid)
        self._wake = asyncio.Event()
        self._logged = asyncio.Event()
        self._last: Object = pod
        self._stopping = False
        self._mounted = False
        self.inits = self._containers(pod["spec"].get("initContainers") or [])
        self.mains = self._containers(pod["spec"]["containers"])
        self.gpus: dict[str, list[int]] = self._load_gpus()
        self._probes = Probes(self, kubelet.recorder)
        self.task = asyncio.create_task(self._run(), name=f"pod {self.space}/{self._name}")

    def _containers(self, specs: list[Object]) -> dict[str, Container]:
        first = self._kubelet.config.restart_backoff_s
        return {
            c["name"]: Container(c, self._folder / "containers" / c["name"], first, self.wake, self._news)
            for c in specs
        }

    @property
    def containers(self) -> dict[str, Container]:
        """Init containers and containers by name."""
        return {**self.inits, **self.mains}

    def wake(self) -> None:
        """Have a look soon."""
        self._wake.set()

    def _news(self) -> None:
        """Wake everybody who follows a log."""
        self._logged.set()
        self._logged = asyncio.Event()

    async def news(self, at_most_s: float) -> None:
        """Wait until a log has grown or the status has changed, or for so many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(at_most_s):
                await self._logged.wait()

    def pod(self) -> Object | None:
        """The pod as it is stored now; None when it is gone or another has its name."""
        found = self._kubelet.registry.store.get(PODS.key, self.space, self._name)
        return found if found is not None and uid(found) == self._uid else None

    def event(self, reason: str, message: str, *, warning: bool = False, container: str = "") -> None:
        """Record an event of the pod."""
        self._kubelet.recorder.event(self._last, reason, message, warning=warning, container=container)

    async def _run(self) -> None:
        delay: float | None = None
        while True:
            self._wake.clear()
            try:
                if self._sync_gone():
                    return
                delay = self._sync()
            except Exception as error:
                log.exception("pod %s/%s", self.space, self._name)
                self.event("FailedSync", f"error syncing pod: {type(error).__name__}: {error}", warning=True)
                delay = RETRY_S
            await asyncio.sleep(0)  # others get their turn even if this pod were never at rest
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._wake.wait()

    def close(self) -> None:
        """Stop looking after the pod; its containers go on."""
        self.task.cancel()
        self._probes.stop()
        for container in self.containers.values():
            if container.process:
                container.process.close()

    # ------------------------------------------------------------------ the end

    def _sync_gone(self) -> bool:
        """Clean up after a pod that was removed; True when nothing of it is left."""
        if self.pod() is not None:
            return False
        alive = [c for c in self.containers.values() if c.alive]
        for container in alive:
            if container.process:
                container.process.kill()
        if alive:
            return False
        self._probes.stop()
        self._news()
        self._kubelet.volumes.remove(self._uid)
        self._kubelet.forget(self._uid)
        return True

    def _sync(self) -> float | None:
        """Bring everything in line; returns seconds until it must be looked at again, None for never by itself."""
        pod = self.pod()
        if pod is None:
            return None
        self._last = pod
        if pod["metadata"].get("deletionTimestamp"):
            return self._stop(pod)
        if pod["status"]["phase"] in ("Succeeded", "Failed"):
            self._probes.stop()
            return None
        if not pod["status"].get("podIP"):
            pod = self._admit(pod)
        if (left := self._deadline(pod)) is not None and left <= 0:
            return self._fail(pod, "DeadlineExceeded", "Pod was active on the node longer than the specified deadline")
        if (self._folder / "drained").exists() and pod["spec"]["restartPolicy"] == "Never":
            return self._fail(pod, "Terminated", "Pod was terminated in response to imminent node shutdown.")
        delays = [self._advance(pod), left]
        self._publish(pod)
        return min((d for d in delays if d is not None), default=None)

    def _admit(self, pod: Object) -> Object:
        """First sight of the pod on its node."""
        address = self._kubelet.allocate_address()
        self.gpus = self._kubelet.allocate_gpus(pod)
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (self._folder / "gpus.json").write_text(json.dumps(self.gpus))
        host = self._kubelet.config.host
        changed = pod["status"] | {
            "startTime": now(),
            "podIP": address,
            "podIPs": [{"ip": address}],
            "hostIP": host,
            "hostIPs": [{"ip": host}],
        }
        return self._kubelet.registry.set_status(PODS, pod, changed) or pod

    def _load_gpus(self) -> dict[str, list[int]]:
        path = self._folder / "gpus.json"
        loaded: dict[str, list[int]] = json.loads(path.read_text()) if path.exists() else {}
        return loaded

    def _deadline(self, pod: Object) -> float | None:
        limit = pod["spec"].get("activeDeadlineSeconds")
        if limit is None:
            return None
        began = parse_time(pod["status"].get("startTime") or now())
        return float(limit) - (dt.datetime.now(dt.UTC) - began).total_seconds()

    def _fail(self, pod: Object, reason: str, message: str) -> float | None:
        """End the pod as a whole."""
        alive = [c for c in self.containers.values() if c.alive]
        for container in alive:
            if container.process:
                container.process.terminate() if not self._stopping else container.process.kill()
        if alive:
            first, self._stopping = not self._stopping, True
            return float(pod["spec"].get("terminationGracePeriodSeconds") or 0) if first else None
        self.event(reason, message, warning=True)
        made = self._status(pod) | {"phase": "Failed", "reason": reason, "message": message}
        self._kubelet.registry.set_status(PODS, pod, made)
        self._probes.stop()
        self._news()
        return None

    def _stop(self, pod: Object) -> float | None:
        """The pod is being deleted: TERM, wait for the grace period, KILL; then let it go."""
        alive = [c for c in self.containers.values() if c.alive]
        ends = parse_time(pod["metadata"]["deletionTimestamp"])
        left = (ends - dt.datetime.now(dt.UTC)).total_seconds() + 1.0  # the time stored has whole seconds
        kill = left <= 0 or not pod["metadata"].get("deletionGracePeriodSeconds")
        for container in alive:
            if not container.process:
                continue
            if kill:
                container.process.kill()
            elif not self._stopping:
                self.event("Killing", f"Stopping container {container.name}", container=container.name)
                container.process.terminate()
        self._stopping = True
        if any(c.alive for c in alive):  # what the server plays itself has ended by now
            return None if kill else left
        self._probes.stop()
        if pod["status"].get("podIP"):
            pod = self._publish(pod)
        self._kubelet.registry.finish_delete(PODS, pod)  # which wakes this worker, now or when the last finalizer goes
        return None

    # ------------------------------------------------------------------ the way up

    def _advance(self, pod: Object) -> float | None:
        """Start what may start now; returns seconds until something must be tried again."""
        if not self._mounted:
            try:
                self._kubelet.volumes.prepare(pod)
            except (VolumeError, OSError) as error:
                self.event("FailedMount", str(error), warning=True)
                return RETRY_S
            self._mounted = True
        delays: list[float | None] = []
        for container in self.inits.values():
            sidecar = container.spec.get("restartPolicy") == "Always"
            delays.append(self._keep(pod, container, "Always" if sidecar else _init_policy(pod)))
            done = container.exited
            if (sidecar and container.state("").started) or (
                done is not None and done["exitCode"] == 0 and not sidecar
            ):
                continue
            return _soonest(delays)
        delays += [self._keep(pod, container, pod["spec"]["restartPolicy"]) for container in self.mains.values()]
        if status.phase(pod["spec"]["restartPolicy"], [], [c.state("") for c in self.mains.values()]) in (
            "Succeeded",
            "Failed",
        ):
            for container in self.inits.values():  # side-cars end with the pod
                if container.process and container.alive:
                    container.process.terminate()
        return _soonest(delays)

    def refresh(self) -> None:
        """A config map, secret or claim has changed: bring mounted files up to date and try again what waited."""
        self._mounted = False
        for container in self.containers.values():
            if container.hold and container.hold[0] == "CreateContainerConfigError":
                container.hold_until = 0.0
        self.wake()

    def _keep(self, pod: Object, container: Container, policy: str) -> float | None:
        """Start or restart one container as its policy says."""
        if container.alive:
            if container.running:
                self._probes.watch(pod, container)
            return None
        if (done := container.exited) is not None:
            self._probes.forget(container)
            if policy == "Never" or (policy == "OnFailure" and done["exitCode"] == 0):
                return None
            if (wait := container.restart_delay()) > 0:
                self._back_off(pod, container, wait)
                return wait
        if (left := container.hold_until - time.monotonic()) > 0 and container.hold:
            images.back_off(container, self.event)
            return left
        return self._start(pod, container)

    def _back_off(self, pod: Object, container: Container, wait: float) -> None:
        whole = f"{name(pod)}_{namespace(pod)}({uid(pod)})"
        if not container.hold:
            text = f"Back-off restarting failed container {container.name} in pod {whole}"
            self.event("BackOff", text, warning=True, container=container.name)
        delay = _pretty(container.backoff())
        text = f"back-off {delay} restarting failed container={container.name} pod={whole}"
        container.refuse("CrashLoopBackOff", text, wait)

    def _start(self, pod: Object, container: Container) -> float | None:
        spec = container.spec
        image = self._kubelet.config.image(spec["image"])
        if image is None or not image.complete:
            return images.refuse(container, image, self._kubelet.config.images, self.event)
        container.image_id = image.digest and f"{spec['image'].partition('@')[0]}@{image.digest}"
        folder = container.next_folder()
        try:
            env = environment(pod, spec, image, self._kubelet.registry.store, self.gpus.get(container.name, []))
            argv = command(spec, image, env)
            shutil.rmtree(folder, ignore_errors=True)  # left by a start that a kill of the server cut short
            made = self._kubelet.isolation.spec(pod, spec, image, argv, env, folder)
        except ConfigError as error:
            if not container.hold:
                self.event("Failed", f"Error: {error}", warning=True, container=container.name)
            container.refuse("CreateContainerConfigError", str(error), RETRY_S)
            return RETRY_S
        self.event("Pulled", f'Container image "{spec["image"]}" already present on machine', container=container.name)
        self.event("Created", f"Created container: {container.name}", container=container.name)
        container.start(made)
        self.event("Started", f"Started container {container.name}", container=container.name)
        return None

    # ------------------------------------------------------------------ status

    def _status(self, pod: Object) -> Object:
        idle = "PodInitializing" if self.inits else "ContainerCreating"
        inits = {own: c.state("PodInitializing") for own, c in self.inits.items()}
        mains = {own: c.state(idle) for own, c in self.mains.items()}
        return status.make(pod, inits, mains)

    def _publish(self, pod: Object) -> Object:
        """Store the status, then wake the followers of logs: a stream ends only after the end is visible."""
        stored = self._kubelet.registry.set_status(PODS, pod, self._status(pod))
        self._news()
        return stored or pod

    async def run_probe(self, container: Container, argv: list[str]) -> str | None:
        """Run an exec probe; None when it passed, else what it said."""
        if container.process is None or not container.running:
            return "the container does not run"
        return await outcome(self._kubelet.isolation.join(container.process, argv, tty=False))

    def refers(self, resource: str, own: str) -> bool:
        """Whether the pod names this config map, secret or claim anywhere."""
        return own in self._references[resource]


def _init_policy(pod: Object) -> str:
    return "Never" if pod["spec"]["restartPolicy"] == "Never" else "OnFailure"


def _soonest(delays: list[float | None]) -> float | None:
    return min((d for d in delays if d is not None), default=None)


def _pretty(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    return (f"{minutes:.0f}m" if minutes else "") + f"{rest:g}s"
