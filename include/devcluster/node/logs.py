"""Pod logs: the CRI log files of containers, cut and followed as the client asks."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from include.devcluster.core.container import Container
from include.devcluster.core.errors import bad_request
from include.devcluster.core.kubelet import Kubelet
from include.devcluster.core.objects import Object, dig, name, parse_time

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
        left = options.limit
        position = _tail_position(path, options.tail) if options.tail is not None else 0
        process = container.process
        while True:
            # looked at before the reading: what is published after the end of the log is the end
            ended = options.previous or not options.follow or self._is_over(pod, container, process)
            data, position = await asyncio.to_thread(_read, path, position)
            for line in _lines(data, options):
                text = line if left is None else line[:left]
                if left is not None:
                    left -= len(text)
                await response.write(text)
                if left == 0:
                    return
            if data:
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
NEWLINE = 10


def _read(path: Path, position: int) -> tuple[bytes, int]:
    """Whole lines from a position on, about a megabyte at most."""
    try:
        with path.open("rb") as handle:
            handle.seek(position)
            data = handle.read(CHUNK)
    except FileNotFoundError:
        return b"", position
    data = data[: data.rfind(b"\n") + 1]
    return data, position + len(data)


def _lines(data: bytes, options: Options) -> Iterator[bytes]:
    """Lines as the client wants them."""
    for line in data.splitlines(keepends=True):
        moment, _, tag, text = line.split(b" ", 3)
        if options.since and moment.decode().rstrip("Z") < options.since:
            continue
        if tag == b"P":
            text = text[:-1]
        yield moment + b" " + text if options.timestamps else text


def _tail_position(path: Path, count: int) -> int:
    """Where the last `count` records begin; a long line is several, as for a kubelet."""
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return 0
    position, rest = size, b""
    with path.open("rb") as handle:
        while position > 0:
            step = min(65536, position)
            position -= step
            handle.seek(position)
            rest = handle.read(step) + rest
            ends = [i for i, byte in enumerate(rest) if byte == NEWLINE]
            if len(ends) > count:
                return position + ends[-count - 1] + 1
    return 0
