"""Lets every triggerer look for abandoned work: it is what ends the work of killed deferred tasks anyway."""

import logging
import os
import sys
import threading
from collections.abc import Iterable
from typing import Any

from airflow.listeners import hookimpl

from podium.abandoned import Owner, Standing, sweep
from podium.platform import settings

log = logging.getLogger(__name__)


class AbandonedWorkListener:
    """Starts a thread with the triggerer, and ends it with it."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._process: int | None = None

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
            self._thread = threading.Thread(target=self._work, name="abandoned-work", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        from podium.hooks.custom_resource import CustomResourceHook

        kubernetes = settings().kubernetes
        hook = CustomResourceHook(kubernetes.namespace, conn_id=kubernetes.connection_id)
        while not self._stop.wait(settings().faults.abandoned_work_check_s):
            try:
                sweep(hook, standings)
            except Exception as error:
                # The next round looks again.
                log.warning("Cannot look for abandoned work: %r", error)


def standings(owners: Iterable[Owner]) -> dict[Owner, Standing]:
    """What Airflow's database says of task instances."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import select, tuple_

    key = (TaskInstance.dag_id, TaskInstance.run_id, TaskInstance.task_id, TaskInstance.map_index)
    query = select(*key, TaskInstance.state, TaskInstance.max_tries).where(tuple_(*key).in_(list(owners)))
    with create_session() as session:
        return {Owner(*row[:4]): Standing(*row[4:]) for row in session.execute(query)}
