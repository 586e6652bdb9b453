"""Ends the processes of all pods without a server: `python -m include.devcluster drain`."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from include.devcluster.runtime.process import locked
from include.devcluster.runtime.shim import KILL

#: How often a container that is being started is looked at.
_LOOK_S = 0.02


def drain(root: Path, grace_s: float) -> int:
    """End every container under `root`; returns how many there were.

    Containers get SIGTERM, and SIGKILL `grace_s` seconds later. Their pods are marked, so that the next server knows
    that they were ended on purpose.
    """
    running = list(running_containers(root))
    for folder in running:
        (folder.parents[2] / "drained").touch()
    threads = [threading.Thread(target=_stop, args=(folder, grace_s)) for folder in running]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(running)


def running_containers(root: Path) -> Iterator[Path]:
    """Folders of the containers that run now."""
    for folder in sorted((root / "pods").glob("*/containers/*/*")):
        if locked(folder / "lock"):
            yield folder


def _stop(folder: Path, grace_s: float) -> None:
    _signal(folder, signal.SIGTERM)
    end(folder, grace_s)


def end(folder: Path, grace_s: float = 0.0) -> None:
    """Wait up to `grace_s` seconds for a container to end, then kill it; returns when it has ended."""
    if not locked(folder / "lock"):
        return
    timer = threading.Timer(grace_s, _signal, (folder, KILL))
    timer.start()
    with contextlib.suppress(FileNotFoundError), (folder / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)  # held by the shim until its container has ended
    timer.cancel()


def _signal(folder: Path, number: int) -> None:
    """Signal a container; one that is only being started, as soon as it can be told."""
    started = folder / "started.json"
    while locked(folder / "lock"):
        if started.exists():
            with contextlib.suppress(ProcessLookupError):
                os.kill(json.loads(started.read_text())["shim"], number)
            return
        time.sleep(_LOOK_S)
