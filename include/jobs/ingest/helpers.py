"""Processes that each take a share of an interval: Python's global lock holds up the threads of one.

They are forked at the beginning, before there are connections or threads, and wait for work. They share what has been
imported by then, and die with the process that made them, which alone commits.
"""

import multiprocessing
import os
import resource
import signal
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Self, Union

from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table

from include.jobs.ingest.share import Share, Written, write
from include.jobs.ingest.topic import Topic
from include.jobs.lake.catalog import load_table, open_catalog
from include.jobs.lake.errors import JobError

if TYPE_CHECKING:
    from include.jobs.ingest.registry import Registry

#: Bootstrap servers, topic, what `kafka_security` gives, and the registry of its schemas: each process asks by itself.
Place = tuple[str, str, Mapping[str, str], Union["Registry", None]]

#: Fewer records than this are not worth a process.
MIN_RECORDS = 200_000
#: How long one may take to remove its files.
_STOP_S = 10.0


class HelperError(JobError):
    """A process that had a share failed, or was killed."""


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What a helper answers: `written`, or what went wrong. `memory_mb` is its peak resident memory."""

    written: Written | None
    error: Exception | None
    memory_mb: int


class Helpers:
    """Writes shares with as many processes as asked, this one among them. Use as a context manager.

    `place` are the arguments of `Topic`; with one process in all, the default, there are no others.
    """

    def __init__(self, place: Place = ("", "", {}, None), processes: int = 1) -> None:
        context = multiprocessing.get_context("fork")
        self._processes: list[ForkProcess] = []
        self._connections: list[Connection] = []
        for _ in range(processes - 1):
            ours, theirs = context.Pipe()
            self._connections.append(ours)
            arguments = (list(self._connections), theirs, place)
            process = context.Process(target=_serve, args=arguments, daemon=True)
            process.start()
            theirs.close()
            self._processes.append(process)
        self._memory_mb = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    @property
    def peak_memory_mb(self) -> int:
        """Peak resident memory of all processes together; what they share counts in each."""
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024 + self._memory_mb

    def write(self, events: Table, quarantine: Table, topic: Topic, share: Share) -> Written:
        """Write a share, see `share.write`.

        Raises:
            HelperError: another process failed unexpectedly.
            JobError: see `Topic.read`.
        """
        parts = share.split(max(1, min(len(self._processes) + 1, len(share) // MIN_RECORDS)))
        busy = self._connections[: len(parts) - 1]
        for connection, part in zip(busy, parts[1:], strict=True):
            connection.send(part)
        try:
            done = [write(events, quarantine, topic, parts[0])]
        except BaseException:
            # They remove their files.
            self._stop()
            raise
        outcomes = [_outcome(connection) for connection in busy]
        done += [outcome.written for outcome in outcomes if outcome.written is not None]
        self._memory_mb = max(self._memory_mb, sum(outcome.memory_mb for outcome in outcomes))
        written = Written.together(done)
        for outcome in outcomes:
            if outcome.error is not None:
                written.discard(events, quarantine)
                raise outcome.error
        return written

    def _stop(self) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.join(_STOP_S)
            if process.is_alive():
                process.kill()
                process.join()
        for connection in self._connections:
            connection.close()
        self._processes, self._connections = [], []


def _outcome(connection: Connection) -> _Outcome:
    try:
        outcome: _Outcome = connection.recv()
    except (EOFError, ConnectionResetError):
        error = HelperError(
            "a process that wrote a part of the interval has died without a word: most likely it was out of memory. "
            "Nothing was staged; give the pod more memory, or fewer --processes, and run this again"
        )
        return _Outcome(None, error, 0)
    return outcome


def _serve(parents: Sequence[Connection], connection: Connection, place: Place) -> None:
    """Write share after share, until this process is stopped or the other is gone."""
    for inherited in parents:
        inherited.close()
    # The files of a share are removed when it is stopped in its midst.
    signal.signal(signal.SIGTERM, _exit)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    with ExitStack() as stack:
        topic: Topic | None = None
        catalog: SqlCatalog | None = None
        while True:
            share: Share = connection.recv()
            try:
                topic = topic or stack.enter_context(Topic(*place))
                catalog = catalog or open_catalog()
                events = load_table(catalog, share.tables.events.identifier)
                quarantine = load_table(catalog, share.tables.quarantine.identifier)
                written, error = write(events, quarantine, topic, share), None
            except JobError as failure:
                written, error = None, failure
            except Exception as failure:
                text = "".join(traceback.format_exception(failure))
                written, error = None, HelperError(f"a process that wrote a part of the interval failed:\n{text}")
            memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            connection.send(_Outcome(written, error, memory_mb))


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _exit(number: int, frame: FrameType | None) -> None:
    sys.exit(1)
