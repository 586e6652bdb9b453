"""Tells of tasks that take much longer than they usually do: one that hangs says nothing until it is out of time.

What is usual is what Airflow's database knows of the task's last successes. Each try is told of once; that it was is an
entry of Airflow's event log (`podium_slow`), which people see on the task's page.
"""

import datetime as dt
import logging
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from podium.notifiers.failure import Slowness, send_to_all
from podium.platform import settings

if TYPE_CHECKING:
    from airflow.models.taskinstance import TaskInstance
    from sqlalchemy.orm import Session

    from include.config.airflow import Notifications

log = logging.getLogger(__name__)

EVENT: Final = "podium_slow"
AT_WORK: Final = ("running", "deferred")
#: So many of the last successes say what is usual; 19 of 20 of them took no longer.
HISTORY: Final = 40
USUAL: Final = 0.95


def usual_s(durations: Sequence[float], wanted: "Notifications") -> float | None:
    """What nearly all tries take at most, in seconds; None while nobody can say.

    :param durations: of the last successes of the task, in seconds.
    """
    if len(durations) < wanted.slow_after_successes:
        return None
    return sorted(durations)[math.ceil(USUAL * len(durations)) - 1]


def is_slow(seconds: float, usual: float | None, wanted: "Notifications") -> bool:
    """Whether a try that has been at work for so long is slow."""
    return usual is not None and seconds > max(wanted.slow_after_s, wanted.slow_factor * usual)


def tell_of_slow(session: "Session", now: dt.datetime) -> list[Slowness]:
    """Tell of all tries that are slow by now and were not told of; returns what was told.

    Safe beside others that do the same.

    :param session: of Airflow's database; each try is committed for itself.
    """
    from airflow.models.taskinstance import TaskInstance
    from sqlalchemy import select

    wanted = settings().notifications
    begun_before = now - dt.timedelta(seconds=wanted.slow_after_s)
    query = select(TaskInstance.id).where(TaskInstance.state.in_(AT_WORK), TaskInstance.start_date < begun_before)
    told = []
    for number in list(session.scalars(query)):
        found = _look(number, session, now)
        session.commit()
        if found is not None:
            log.warning("%s: %s", found.title, found.reason)
            send_to_all(found, log)
            told.append(found)
    return told


def _look(number: object, session: "Session", now: dt.datetime) -> Slowness | None:
    """A try that is slow; from then on it counts as told of."""
    from airflow.models.log import Log
    from airflow.models.taskinstance import TaskInstance
    from sqlalchemy import exists, select

    # Whoever else looks at it leaves it to us; and so do we to whoever has it at work.
    query = select(TaskInstance).where(TaskInstance.id == number, TaskInstance.state.in_(AT_WORK))
    ti = session.scalar(query.with_for_update(of=TaskInstance, skip_locked=True))
    if ti is None or ti.start_date is None:
        return None
    key = (Log.dag_id == ti.dag_id, Log.run_id == ti.run_id, Log.task_id == ti.task_id, Log.map_index == ti.map_index)
    if session.scalar(select(exists().where(*key, Log.event == EVENT, Log.try_number == ti.try_number))):
        return None
    wanted, seconds = settings().notifications, (now - ti.start_date).total_seconds()
    usual = usual_s(_durations(ti, session), wanted)
    if usual is None or not is_slow(seconds, usual, wanted):
        return None
    reason = (
        f"It has been at work for {_time(seconds)}, and usually takes {_time(usual)} at most. See the end of its log "
        "and its pod's events. If it hangs, clear the task: its work is ended and begun anew."
    )
    session.add(Log(event=EVENT, task_instance=ti, extra=reason))
    return _slowness(ti, reason)


def _durations(ti: "TaskInstance", session: "Session") -> list[float]:
    from airflow.models.taskinstance import TaskInstance
    from sqlalchemy import select

    query = select(TaskInstance.duration).where(
        TaskInstance.dag_id == ti.dag_id,
        TaskInstance.task_id == ti.task_id,
        TaskInstance.state == "success",
        TaskInstance.duration.is_not(None),
    )
    found = session.scalars(query.order_by(TaskInstance.end_date.desc()).limit(HISTORY))
    return [seconds for seconds in found if seconds is not None]


def _slowness(ti: "TaskInstance", reason: str) -> Slowness:
    from airflow.configuration import conf

    base = conf.get("api", "base_url", fallback="http://localhost:8080").rstrip("/")
    return Slowness(
        dag_id=ti.dag_id,
        run_id=ti.run_id,
        task_id=ti.task_id,
        map_index=ti.map_index,
        try_number=ti.try_number,
        reason=reason,
        runbook=f"{base}/dags/{ti.dag_id}",
        log=ti.log_url,
    )


def _time(seconds: float) -> str:
    """As people say it.

    >>> _time(3725)
    '1 h 2 min'
    """
    hours, minutes = divmod(int(seconds) // 60, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {int(seconds) % 60} s"
