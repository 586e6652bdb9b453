"""Copies the log of one container, line by line, to its end, across broken connections.

Each line has a timestamp of its own in the cluster, by which a copy goes on after the last line that it has.
"""

import asyncio
import codecs
import datetime as dt
import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from podium.hooks.watch import FIRST_PAUSE_S, FORBIDDEN, LONGEST_PAUSE_S, raise_for_status

if TYPE_CHECKING:
    from kubernetes_asyncio.client import CoreV1Api

log = logging.getLogger(__name__)

LONGEST_LOG_S: Final = 7 * 24 * 3600
# The server takes whole seconds only, by its own clock: ask for more, and skip what is known.
SINCE_MARGIN_S: Final = 60
# Of a longer line its beginning is shown: a program that only ever redraws one line writes megabytes into it.
LONGEST_LINE: Final = 64 * 1024

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

    @property
    def age_s(self) -> float:
        """Seconds since then, by this machine's clock."""
        then = dt.datetime.fromisoformat(f"{self.second}+00:00")
        return (dt.datetime.now(dt.UTC) - then).total_seconds()


class Lines:
    """Lines of a stream of bytes, which end at a newline and nowhere else; of a long one its beginning is kept."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self._length = 0

    def add(self, chunk: bytes) -> Iterator[str]:
        """The lines that end in this chunk."""
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            self._keep(end)
            yield self.rest()
        self._keep(rest)

    def rest(self) -> str:
        """What has come since the last newline; it begins anew."""
        cut = self._length > len(self._kept)
        decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        text = decoder.decode(bytes(self._kept), final=not cut)
        note = f" [… cut here: this line has {self._length:,} bytes]" if cut else ""
        self._kept.clear()
        self._length = 0
        return text + note

    def _keep(self, piece: bytes) -> None:
        self._kept += piece[: max(0, LONGEST_LINE - len(self._kept))]
        self._length += len(piece)


class PodLog:
    """The log of one container, as far as it was copied.

    :param api: the client.
    :param pod: the pod's manifest.
    :param container: the container.
    :param emit: takes a line and its timestamp, which is empty for what the server says about the log.
    :param copied: the last line that an earlier copy has taken.
    """

    def __init__(
        self, api: "CoreV1Api", pod: dict[str, Any], container: str, emit: Emit, copied: Mark | None = None
    ) -> None:
        metadata = pod["metadata"]
        self._api, self._container, self._emit = api, container, emit
        self.pod, self._namespace = metadata["name"], metadata["namespace"]
        self._mark = copied
        self.complete = False
        self.lines = 0

    @property
    def mark(self) -> Mark | None:
        """The last line that is copied; None when there is none."""
        return self._mark

    async def copy(self, *, follow: bool) -> None:
        """Copy what is not copied yet.

        :param follow: go on until the container has ended; else until the present end.
        """
        pause = FIRST_PAUSE_S
        while not self.complete:
            before = self.lines
            if await self._try_stream(follow):
                return
            pause = FIRST_PAUSE_S if self.lines > before else min(2 * pause, LONGEST_PAUSE_S)
            await asyncio.sleep(pause)

    async def _try_stream(self, follow: bool) -> bool:
        """Read once; return whether there is nothing more to read."""
        from aiohttp import ClientError
        from kubernetes_asyncio.client import ApiException

        try:
            # One that is followed also ends when the server goes away, and at times before the container's last lines
            # (a kubelet's does): the rest is read when the container is known to have ended.
            if follow:
                await self._stream(follow=True)
            ended = await self._has_ended()
            if ended or not follow:
                await self._stream(follow=False)
                self.complete = ended
        except ApiException as error:
            if error.status == 404:
                log.warning("Pod %s is gone, and with it the rest of its log", self.pod)
                self.complete = True
            elif error.status == FORBIDDEN:
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
            place, lines = None, Lines()
            async for chunk in response.content.iter_any():
                for line in lines.add(chunk):
                    place = self._take(line, place)
            if (rest := lines.rest()) and not follow:
                # The container has ended within a line; while it runs, the rest is still to come.
                self._take(rest, place)

    def _take(self, raw: str, place: Mark | None) -> Mark | None:
        """Emit a line unless it was before; return its place."""
        stamp, _, line = raw.partition(" ")
        try:
            mark = Mark.of(stamp)
        except ValueError:
            # The server has something to say, for instance that the log was rotated away.
            self._emit(raw, "")
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
        for status in (*(pod.status.init_container_statuses or ()), *(pod.status.container_statuses or ())):
            if status.name == self._container:
                return status.state.terminated is not None or pod.status.phase in ("Succeeded", "Failed")
        return pod.status.phase in ("Succeeded", "Failed")
