"""A server forgets an erased household without a restart: it takes its model's files anew when these were rewritten."""

import logging
import threading
from collections.abc import Callable

from mlflow.exceptions import MlflowException

from include.jobs.lake.errors import JobError
from include.jobs.ranking.model import RankerModel
from include.jobs.ranking.registry import Registry

_log = logging.getLogger(__name__)


class Forgetting:
    """Asks the registry, beside the requests, whether an erasure has written the served version's files anew.

    Until the new files are read the old ones serve, so no request waits or is refused. What fails is tried again.
    """

    def __init__(
        self, registry: Registry, version: str, since: str, take: Callable[[RankerModel], None], every_s: float
    ) -> None:
        """Begin to ask.

        Args:
            registry: of the model.
            version: the served one.
            since: `Registry.erased_at` from before the served files were read.
            take: serves another model from now on.
            every_s: seconds between two questions.
        """
        self._registry, self._version, self._since, self._take = registry, version, since, take
        self._every_s, self._stopped, self._silent = every_s, threading.Event(), False
        self._thread = threading.Thread(target=self._run, name="forgetting", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ask no more; waits for a question that is open."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(self._every_s):
            try:
                self._ask()
                self._silent = False
            except (JobError, MlflowException, OSError) as error:
                # One line an outage: it is asked every few seconds.
                _log.log(logging.DEBUG if self._silent else logging.WARNING, "no word of erasures: %s", error)
                self._silent = True

    def _ask(self) -> None:
        now = self._registry.erased_at(self._version)
        if now != self._since:
            self._take(self._registry.load(self._version))
            self._since = now
            _log.info("took the files of version %s anew: a household was erased at %s", self._version, now)
