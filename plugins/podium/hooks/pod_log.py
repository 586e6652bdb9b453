"""Copies the log of one container, line by line, to its end: across broken connections and restarts of the copier.

Each line has a timestamp of its own in the cluster. Where the copy has got to is kept as an annotation of the pod, so
that whoever takes over goes on after the last line, and begins anew for another reader (another try of the task has a
log of its own).
"""

import asyncio
import datetime as dt
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from podium.hooks.watch import FIRST_PAUSE_S, LONGEST_PAUSE_S, raise_for_status

if TYPE_CHECKING:
    from kubernetes_asyncio.client import CoreV1Api

log = logging.getLogger(__name__)

MARK: Final = "podium.dev/log-copied"
MARK_EVERY_S: Final = 1.0
LONGEST_LOG_S: Final = 7 * 24 * 3600
# The server takes whole seconds only, by its own clock: ask for more, and skip what is known.
SINCE_MARGIN_S: Final = 60

Emit = Callable[[str, str], None]


@dataclass(frozen=True, order=True)
class Mark:
    """A place in a log: the last line's second and nanosecond (UTC), and how many lines had that very timestamp."""

    second: str
    nanosecond: int
    count: int

    @classmethod
    def of(cls, timestamp: str) -> Self:
        """The first line with this timestamp (RFC 3339, any number of digits after the second).

        :raises ValueError: it is none.
        """
        match = re.fullmatch(r"(.{19})(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)", timestamp)
        if match is None:
            raise ValueError(f"{timestamp!r} is no timestamp as RFC 3339 has them")
        moment = dt.datetime.fromisoformat(f"{match[1]}{match[3].replace('Z', '+00:00')}").astimezone(dt.UTC)
        return cls(moment.strftime("%Y-%m-%dT%H:%M:%S"), int((match[2] or "0").ljust(9, "0")), 1)

    @classmethod
    def read(cls, text: str) -> Self | None:
        """A mark from its text; None when it is none."""
        match = re.fullmatch(r"(.{19})\.(\d{9})/(\d+)", text)
        return cls(match[1], int(match[2]), int(match[3])) if match else None

    def __str__(self) -> str:
        return f"{self.second}.{self.nanosecond:09d}/{self.count}"

    @property
    def age_s(self) -> float:
        """Seconds since then, by this machine's clock."""
        then = dt.datetime.fromisoformat(f"{self.second}+00:00")
        return (dt.datetime.now(dt.UTC) - then).total_seconds()


class PodLog:
    """The log of one container, as far as it was copied.

    :param api: the client.
    :param pod: the pod's manifest, whose annotations may hold a mark.
    :param container: the container.
    :param reader: who reads; a mark of somebody else does not count.
    :param emit: takes a line and its timestamp.
    """

    def __init__(self, api: "CoreV1Api", pod: dict[str, Any], container: str, reader: str, emit: Emit) -> None:
        metadata = pod["metadata"]
        self._api, self._container, self._reader, self._emit = api, container, reader, emit
        self.pod, self._namespace = metadata["name"], metadata["namespace"]
        owner, _, place = ((metadata.get("annotations") or {}).get(MARK) or "").rpartition("|")
        self._mark = Mark.read(place) if owner == reader else None
        self._saved = self._mark
        self.complete = False
        self.lines = 0

    async def copy(self, *, follow: bool) -> None:
        """Copy what is not copied yet.

        :param follow: go on until the container has ended; else until the present end.
        """
        marking = asyncio.create_task(self._keep_marking())
        pause = FIRST_PAUSE_S
        try:
            while not self.complete:
                before = self.lines
                if await self._try_stream(follow):
                    return
                pause = FIRST_PAUSE_S if self.lines > before else min(2 * pause, LONGEST_PAUSE_S)
                await asyncio.sleep(pause)
        finally:
            marking.cancel()
            # Not `await marking`: its cancellation could not be told from our own, which must get through.
            await asyncio.wait({marking})
            # Also when a triggerer stops: its successor goes on from here.
            await asyncio.shield(self._save_mark())

    async def _try_stream(self, follow: bool) -> bool:
        """Read once; return whether there is nothing more to read."""
        from aiohttp import ClientError
        from kubernetes_asyncio.client import ApiException

        try:
            # One that is followed also ends when the server goes away; one that is not may end before the container.
            ended = False if follow else await self._has_ended()
            await self._stream(follow)
            self.complete = ended or (follow and await self._has_ended())
        except ApiException as error:
            if error.status == 404:
                log.warning("Pod %s is gone, and with it the rest of its log", self.pod)
                self.complete = True
            elif error.status in (401, 403):
                raise
            else:
                log.warning("Cannot read the log of pod %s (%s), trying again", self.pod, error.reason)
                return False
        except (ClientError, OSError, TimeoutError) as error:
            log.warning("The log of pod %s broke off (%r), going on from the last line", self.pod, error)
            return False
        return self.complete or not follow

    async def _stream(self, follow: bool) -> None:
        since: dict[str, Any] = (
            {} if self._mark is None else {"since_seconds": int(max(self._mark.age_s, 0)) + SINCE_MARGIN_S}
        )
        # Typed as the text that it is when the client reads it itself.
        response: Any = await self._api.read_namespaced_pod_log(
            self.pod,
            self._namespace,
            container=self._container,
            follow=follow,
            timestamps=True,
            _preload_content=False,
            _request_timeout=LONGEST_LOG_S,
            **since,
        )
        async with response:
            await raise_for_status(response)
            place, rest = None, b""
            async for chunk in response.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    place = self._take(line, place)
            if rest and not follow:
                # The container has ended within a line; while it runs, the rest is still to come.
                self._take(rest, place)

    def _take(self, raw: bytes, place: Mark | None) -> Mark | None:
        """Emit a line unless it was before; return its place."""
        stamp, _, line = raw.decode("utf-8", "backslashreplace").partition(" ")
        try:
            mark = Mark.of(stamp)
        except ValueError:
            # The server has something to say, for instance that the log was rotated away.
            self._emit(raw.decode("utf-8", "backslashreplace"), "")
            return place
        if place is not None and (place.second, place.nanosecond) == (mark.second, mark.nanosecond):
            mark = Mark(mark.second, mark.nanosecond, place.count + 1)
        if self._mark is None or mark > self._mark:
            self._emit(line, stamp)
            self._mark = mark
            self.lines += 1
        return mark

    async def _has_ended(self) -> bool:
        pod: Any = await self._api.read_namespaced_pod(self.pod, self._namespace)
        for status in pod.status.container_statuses or ():
            if status.name == self._container:
                return status.state.terminated is not None or pod.status.phase in ("Succeeded", "Failed")
        return pod.status.phase in ("Succeeded", "Failed")

    async def _keep_marking(self) -> None:
        while True:
            await asyncio.sleep(MARK_EVERY_S)
            await self._save_mark()

    async def _save_mark(self) -> None:
        from aiohttp import ClientError
        from kubernetes_asyncio.client import ApiException

        mark = self._mark
        if mark is None or mark == self._saved:
            return
        body = {"metadata": {"annotations": {MARK: f"{self._reader}|{mark}"}}}
        try:
            await self._api.patch_namespaced_pod(self.pod, self._namespace, body)
        except (ApiException, ClientError, OSError, TimeoutError) as error:
            # Lines may then appear twice if the copier dies as well: no reason to stop copying.
            log.debug("Cannot mark how far the log of pod %s was copied: %r", self.pod, error)
            return
        self._saved = mark
