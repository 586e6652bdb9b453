"""How much memory the platform holds, pods included."""

import contextlib
import threading
from pathlib import Path
from typing import Self

import psutil

from include.stack import processes

MIB = 1 << 20


def platform_processes(home: Path) -> list[psutil.Process]:
    """Every process that names the platform's state folder on its command line, with all its descendants.

    Pods are found by that too: they have an environment of their own, but their shims name the folder.
    """
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if any(str(home) in part for part in process.cmdline()):
                found[process.pid] = process
                found.update({child.pid: child for child in process.children(recursive=True)})
    return list(found.values())


def proportional_mib(home: Path) -> float:
    """Memory of the platform in MiB as proportional set size: shared pages are counted once."""
    return sum(processes.memory(process) for process in platform_processes(home)) / MIB


class PeakMemory:
    """Samples the platform's memory in a thread while the block runs; `peak_mib` is the largest sample."""

    def __init__(self, home: Path, interval_s: float = 3.0) -> None:
        self.peak_mib = 0.0
        self._home, self._interval_s = home, interval_s
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="memory", daemon=True)

    def _sample(self) -> None:
        while not self._done.wait(self._interval_s):
            self.peak_mib = max(self.peak_mib, proportional_mib(self._home))

    def __enter__(self) -> Self:
        self.peak_mib = proportional_mib(self._home)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
