"""Ends the processes of all pods without a server: `python -m include.devcluster drain`."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

from include.devcluster.runtime.process import locked
from include.devcluster.runtime.shim import KILL

log = logging.getLogger(__name__)


def drain(root: Path, grace_s: float) -> int:
    """End every container under `root`; returns how many there were.

    Containers get SIGTERM, and SIGKILL `grace_s` seconds later. Their pods are marked, so that the next server knows
    that they were ended on purpose.
    """
    running = list(running_containers(root))
    for folder in running:
        (folder.parents[2] / "drained").touch()
        _signal(folder, signal.SIGTERM)
    threads = [threading.Thread(target=end, args=(folder, grace_s)) for folder in running]
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
    started = folder / "started.json"
    if started.exists() and locked(folder / "lock"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(json.loads(started.read_text())["shim"], number)
    elif locked(folder / "lock"):
        log.warning("%s is still starting; drain again if it stays", folder)
