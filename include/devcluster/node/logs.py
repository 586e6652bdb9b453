"""Pod logs: the CRI log files of containers, cut and followed as the client asks."""

from __future__ import annotations

import asyncio
import datetime as dt
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from include.devcluster.core.container import Container
from include.devcluster.core.errors import bad_request
from include.devcluster.core.kubelet import Kubelet
from include.devcluster.core.objects import Object, dig, name, parse_time
from include.devcluster.runtime import cri

IDLE_S = 5.0
"""How often a follower looks by itself whether the client and the pod are still there."""


@dataclass(frozen=True)
class Options:
    """`PodLogOptions`."""

    follow: bool
    previous: bool
    timestamps: bool
    tail: int | None
    since: str | None
    limit: int | None

    @classmethod
    def of(cls, request: web.Request) -> Options:
        """From the query. Raises 400."""
        query = request.query

        def number(key: str) -> int | None:
            text = query.get(key)
            if text is None:
                return None
            if not text.isdigit():
                raise bad_request(
                    f'PodLogOptions "" is invalid: {key}: Invalid value: {text}: must be a number of 0 or more'
                )
            return int(text)

        since = query.get("sinceTime")
        if (seconds := number("sinceSeconds")) is not None:
            since = (dt.datetime.now(dt.UTC) - dt.timedelta(seconds=seconds)).isoformat()
        return cls(
            follow=query.get("follow") in ("true", "True", "1"),
            previous=query.get("previous") in ("true", "True", "1"),
            timestamps=query.get("timestamps") in ("true", "True", "1"),
            tail=number("tailLines"),
            since=parse_time(since).isoformat().replace("+00:00", "") if since else None,
            limit=number("limitBytes"),
        )


class Logs:
    """Serves `pods/log`."""

    def __init__(self, kubelet: Kubelet) -> None:
        self._kubelet = kubelet

    async def serve(self, request: web.Request, pod: Object) -> web.StreamResponse:
        """Stream the log of a container. Raises 400 when it has none (yet)."""
        own = request.query.get("container") or default_container(pod, "a container name must be specified")
        options = Options.of(request)
        if not pod["spec"].get("nodeName"):
            return web.Response(text="")
        container = self._container(pod, own)
        path = container.previous_log if options.previous else container.log
        if path is None:
            what = "previous terminated container" if options.previous else "container"
            raise bad_request(f'{what} "{own}" in pod "{name(pod)}" not found')
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        try:
            await self._stream(response, pod, container, path, options)
        except (ConnectionResetError, asyncio.CancelledError):
            return response
        return response

    def _container(self, pod: Object, own: str) -> Container:
        specs = [*(pod["spec"].get("initContainers") or []), *pod["spec"]["containers"]]
        if not any(c["name"] == own for c in specs):
            raise bad_request(f"container {own} is not valid for pod {name(pod)}")
        container = self._kubelet.container(pod, own)
        if container is None or container.process is None:
            statuses = [
                *(dig(pod, "status.initContainerStatuses") or []),
                *(dig(pod, "status.containerStatuses") or []),
            ]
            waiting = next((dig(s, "state.waiting") for s in statuses if s["name"] == own), None) or {}
            reason = waiting.get("reason", "")
            text = {
                "ErrImagePull": "image can't be pulled",
                "ImagePullBackOff": "trying and failing to pull image",
                "": "ContainerCreating",
            }.get(reason, reason)
            raise bad_request(f'container "{own}" in pod "{name(pod)}" is waiting to start: {text}')
        return container

    async def _stream(
        self, response: web.StreamResponse, pod: Object, container: Container, path: Path, options: Options
    ) -> None:
        cut = _Cut(options)
        position = 0 if options.tail is None else await asyncio.to_thread(_tail_position, path, options.tail)
        process = container.process
        while not cut.is_full:
            # looked at before the reading: what is published after the end of the log is the end
            ended = options.previous or not options.follow or self._is_over(pod, container, process)
            data, position = await asyncio.to_thread(_read, path, position)
            if data:
                if wanted := cut(data):
                    await response.write(wanted)
                continue
            if ended:
                return
            worker = self._kubelet.worker(pod)
            if worker is None:
                return
            await worker.news(IDLE_S)

    def _is_over(self, pod: Object, container: Container, process: object) -> bool:
        """Whether the end of this run is visible to clients: until then a log stream stays open."""
        worker = self._kubelet.worker(pod)
        current = worker.pod() if worker else None
        if current is None or container.process is not process:
            return True
        attempt = container.process.attempt if container.process else 0
        statuses = [
            *(dig(current, "status.initContainerStatuses") or []),
            *(dig(current, "status.containerStatuses") or []),
        ]
        for found in statuses:
            if found["name"] == container.name:
                over = "terminated" in found["state"] or ("waiting" in found["state"] and found["lastState"])
                return bool(over) and found["restartCount"] >= attempt
        return False


def default_container(pod: Object, complaint: str) -> str:
    """The only container, or the annotated default. Raises 400 where that leaves a choice."""
    names = [c["name"] for c in pod["spec"]["containers"]]
    wanted = (pod["metadata"].get("annotations") or {}).get("kubectl.kubernetes.io/default-container")
    if wanted in names:
        return str(wanted)
    if len(names) > 1:
        raise bad_request(
            f"{complaint} for pod {name(pod)}, choose one of: {names}".replace("'", "")
            .replace(",", "")
            .replace(" choose", ", choose")
        )
    return str(names[0])


CHUNK = 1 << 20


def _read(path: Path, position: int) -> tuple[bytes, int]:
    """Whole records from a position on, about a megabyte at most."""
    try:
        with path.open("rb") as handle:
            handle.seek(position)
            data = handle.read(CHUNK)
    except FileNotFoundError:
        return b"", position
    data = data[: data.rfind(b"\n") + 1]
    return data, position + len(data)


def _tail_position(path: Path, count: int) -> int:
    try:
        return cri.tail_position(path, count)
    except FileNotFoundError:
        return 0


class _Cut:
    """Turns records into what the client wants of them, one part of the file after the other.

    The rules are the kubelet's (`ReadLogs` in k8s.io/cri-client): a line has one timestamp, that of its first piece,
    and `tailLines` counts pieces.
    """

    def __init__(self, options: Options) -> None:
        self._since, self._timestamps = options.since, options.timestamps
        self._bytes = options.limit
        self._records = None if options.follow else options.tail
        self._at_line_start = True

    @property
    def is_full(self) -> bool:
        """Whether the client wants no more."""
        return self._bytes == 0 or self._records == 0

    def __call__(self, data: bytes) -> bytes:
        wanted = []
        for record in cri.records(data):
            if self._records is not None:
                if self._records == 0:
                    break
                self._records -= 1
            if not self._since or record.moment.decode().rstrip("Z") >= self._since:
                stamped = self._timestamps and self._at_line_start
                wanted.append(record.moment + b" " + record.text if stamped else record.text)
            self._at_line_start = record.ends_line
        text = b"".join(wanted)
        if self._bytes is not None:
            text = text[: self._bytes]
            self._bytes -= len(text)
        return text
