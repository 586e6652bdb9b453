"""Restarts services that run but have stopped to answer. The supervisor itself sees only whether a process lives.

Run by the supervisor: `python -m include.stack.watchdog`.
"""

import logging
import threading
from collections import Counter

from include.config import load_settings
from include.stack.credentials import load
from include.stack.errors import ServiceError, Undecided, Unhealthy
from include.stack.paths import Paths
from include.stack.service import Platform, Service
from include.stack.services.catalogue import services
from include.stack.supervisor import Supervisor

log = logging.getLogger("podium.watchdog")

EVERY_S = 15.0
# Two minutes: a machine that is busy with training may miss some checks.
FAILURES = 8


class Watchdog:
    """Checks all services in turn; restarts one after several failed checks in a row."""

    def __init__(self, supervisor: Supervisor, watched: list[Service], failures: int = FAILURES) -> None:
        self._supervisor = supervisor
        self._watched = watched
        self._allowed = failures
        self._failed: Counter[str] = Counter()

    def look(self) -> list[str]:
        """Check once; return the names of the services that were restarted."""
        states = self._supervisor.states()
        restarted = []
        for service in self._watched:
            state = states.get(service.name)
            if state is not None and state.state == "FATAL":
                # The supervisor has given up, but what it needed may be back by now.
                log.warning("%s is down for good: trying once more", service.name)
                self._start(service.name)
            if state is None or not state.running or state.uptime_s < service.start_timeout_s:
                self._failed.pop(service.name, None)
                continue
            try:
                service.health()
            except Undecided:
                continue
            except Unhealthy as error:
                self._failed[service.name] += 1
                log.warning("%s: %s (%d in a row)", service.name, error, self._failed[service.name])
            else:
                self._failed.pop(service.name, None)
            if self._failed[service.name] >= self._allowed:
                self._restart(service.name)
                restarted.append(service.name)
        return restarted

    def _restart(self, name: str) -> None:
        log.error("%s does not answer: restarting it", name)
        self._failed.pop(name)
        self._supervisor.stop([name])
        self._start(name)

    def _start(self, name: str) -> None:
        try:
            self._supervisor.start(name)
        except ServiceError as error:
            log.error("%s", error)


def main() -> None:
    """Look every few seconds until the process is ended."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    paths = Paths.from_environment()
    platform = Platform(load_settings(), paths, load(paths.credentials))
    watchdog = Watchdog(Supervisor(platform), services(platform))
    never = threading.Event()
    while not never.wait(EVERY_S):
        watchdog.look()


if __name__ == "__main__":
    main()
