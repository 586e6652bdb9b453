"""What is looked for again and again, by a thread beside the triggerer: it may read Airflow's database, no task may."""

import logging
import os
import sys
import threading
from typing import Any

from airflow.listeners import hookimpl

log = logging.getLogger(__name__)


class BesideTriggerer:
    """Starts a thread with the triggerer, and ends it with it."""

    #: Of the thread.
    name: str

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._process: int | None = None

    def every_s(self) -> float:
        """How long to wait before it is looked again."""
        raise NotImplementedError

    def look(self) -> None:
        """Look once. What it raises is logged; the next round looks again."""
        raise NotImplementedError

    @hookimpl
    def on_starting(self, component: Any) -> None:
        """Begin, if this process is a triggerer; its component does not know yet what it is."""
        if sys.argv[1:2] == ["triggerer"] and self._process is None:
            self._process = os.getpid()
            # The triggerer is about to fork the process of its triggers, which a thread must not see: it would inherit
            # the locks that the thread holds, and wait for them for ever.
            os.register_at_fork(after_in_parent=self._begin)

    @hookimpl
    def before_stopping(self, component: Any) -> None:
        """End."""
        self._stop.set()

    def _begin(self) -> None:
        if self._thread is None and self._process == os.getpid():
            self._thread = threading.Thread(target=self._work, name=self.name, daemon=True)
            self._thread.start()

    def _work(self) -> None:
        while not self._stop.wait(self.every_s()):
            try:
                self.look()
            except Exception as error:
                log.warning("%s: %r", self.name, error)
