"""What is forgotten with time, so that weeks of use do not fill the disk: events, and pods that have long finished."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import os
from pathlib import Path

from include.devcluster.config import Retention
from include.devcluster.core.deletion import DeleteOptions
from include.devcluster.core.objects import Object, dig, name, namespace, parse_time, uid
from include.devcluster.core.registry import Registry
from include.devcluster.core.resources import EVENTS, PODS

log = logging.getLogger(__name__)

SWEEP_S = 60.0
EVENTS_LIVE = dt.timedelta(hours=1)


class Retainer:
    """Looks once a minute. Everything is kept for some time, whatever it is; after that there are limits."""

    def __init__(self, registry: Registry, root: Path, limits: Retention) -> None:
        self._registry, self._pods, self._limits = registry, root / "pods", limits
        self._sizes: dict[str, int] = {}

    async def run(self) -> None:
        """Forget until cancelled."""
        while True:
            try:
                self.sweep(dt.datetime.now(dt.UTC))
            except Exception:
                log.exception("retention")
            await asyncio.sleep(SWEEP_S)

    def sweep(self, now: dt.datetime) -> None:
        """Delete events that are an hour old, and the finished pods that the limits leave no room for."""
        for event in self._registry.store.list(EVENTS.key):
            seen = event.get("lastTimestamp") or event["metadata"]["creationTimestamp"]
            if now - parse_time(seen) > EVENTS_LIVE:
                self._registry.delete(EVENTS, namespace(event), name(event))
        for pod in self._superfluous(now):
            self._registry.delete(PODS, namespace(pod), name(pod), DeleteOptions(uid=uid(pod)))

    def _superfluous(self, now: dt.datetime) -> list[Object]:
        """Pods beyond the limits, those that finished first."""
        finished = sorted(
            (
                (_finished(pod), pod)
                for pod in self._registry.store.list(PODS.key)
                if pod["status"]["phase"] in ("Succeeded", "Failed") and "deletionTimestamp" not in pod["metadata"]
            ),
            key=lambda item: item[0],
            reverse=True,
        )
        # A finished pod writes no more: it is measured once.
        self._sizes = {uid(p): self._sizes.get(uid(p)) or _size(self._pods / uid(p)) for _, p in finished}
        found, size = [], 0
        for place, (moment, pod) in enumerate(finished, 1):
            size += self._sizes[uid(pod)]
            too_many = place > self._limits.pods or size > self._limits.megabytes << 20
            if too_many and (now - moment).total_seconds() > self._limits.seconds:
                found.append(pod)
        return found


def _finished(pod: Object) -> dt.datetime:
    """When its last container ended; for a pod that never had one, when it was made."""
    ends = [dig(status, "state.terminated.finishedAt") for status in dig(pod, "status.containerStatuses") or []]
    return max((parse_time(end) for end in ends if end), default=parse_time(pod["metadata"]["creationTimestamp"]))


def _size(folder: Path) -> int:
    """Bytes on the disk below a folder; what lies behind links is somebody else's."""
    total = 0
    for path, _, files in os.walk(folder):
        total += sum(os.lstat(os.path.join(path, file)).st_blocks * 512 for file in files)
    return total
