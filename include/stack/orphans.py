"""Kills what a service has left behind when its main process was killed: its children still hold its port.

Run by a service's start script: `python orphans.py HOME SERVICE`. Standard library only, so that it costs next to
nothing. Where there is no /proc, it does nothing.
"""

import os
import signal
import sys
from pathlib import Path

# Set by the start scripts for every service; pods do not inherit them.
MARKER = "PODIUM_PLATFORM"
SERVICE = "PODIUM_SERVICE"


def orphans(home: str, service: str, proc: Path = Path("/proc")) -> list[int]:
    """Process numbers of everything that was started as this service of this platform."""
    marks = {f"{MARKER}={home}".encode(), f"{SERVICE}={service}".encode()}
    found = []
    for entry in proc.glob("[0-9]*"):
        try:
            environment = (entry / "environ").read_bytes().split(b"\0")
        except OSError:  # it has ended, or belongs to somebody else
            continue
        if marks <= set(environment):
            found.append(int(entry.name))
    return found


def main() -> None:
    """Kill them, without asking: a polite end lets a task of Airflow delete a pod that its next try wants to join."""
    _, home, service = sys.argv
    for pid in orphans(home, service):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


if __name__ == "__main__":
    main()
