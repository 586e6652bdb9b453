"""Finds and ends the platform's processes by the mark in their environment, whatever became of their parents."""

import contextlib
import time
from pathlib import Path

import psutil

from include.stack.errors import ServiceError
from include.stack.orphans import MARKER

POLL_S = 0.1
KILL_PATIENCE_S = 5.0


def of_platform(home: Path) -> list[psutil.Process]:
    """Every live process that was started with this state folder, but not this one and its parents."""
    own = {process.pid for process in (psutil.Process(), *psutil.Process().parents())}
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            marked = process.environ().get(MARKER) == str(home)
            if marked and process.pid not in own and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def memory(process: psutil.Process) -> int:
    """Bytes that a process holds as proportional set size: what several share is counted once. 0 when it is gone.

    Where the kernel does not give that figure (another user's process, not Linux), the resident size stands in.
    """
    try:
        try:
            return int(process.memory_full_info().pss)
        except (psutil.AccessDenied, AttributeError):
            return int(process.memory_info().rss)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0


def end_all(home: Path, patience_s: float, *, asked: bool = False) -> None:
    """End all of them: first politely, then not.

    :param patience_s: how long to wait for a polite end.
    :param asked: whether they know already that they are to end, so that the first half of the wait is silent.
    :raises ServiceError: some cannot be ended.
    """
    began = time.monotonic()
    if asked:
        _wait(home, patience_s / 2)
    for process in of_platform(home):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _wait(home, patience_s - (time.monotonic() - began))
    for process in of_platform(home):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    if left := _wait(home, KILL_PATIENCE_S):
        names = ", ".join(f"{process.pid} ({process.name()})" for process in left)
        raise ServiceError(f"these processes do not end: {names}. End them as the user that started them")


def _wait(home: Path, patience_s: float) -> list[psutil.Process]:
    """Wait until none is left, at most so long; return those that are."""
    deadline = time.monotonic() + patience_s
    while (left := of_platform(home)) and time.monotonic() < deadline:
        psutil.wait_procs(left, timeout=POLL_S)
    return left
