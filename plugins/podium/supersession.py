"""Tells a task that was killed from one that was superseded.

After a scheduler dies, the task it had started is reset and a new attempt may join the same work in the cluster;
the old supervisor, refused at its heartbeat, then terminates its own attempt. That attempt must not take the work
with it. Only the server knows which case it is.
"""

import asyncio
import ctypes
import logging
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, Final

from podium.identity import TaskInstanceLike

log = logging.getLogger(__name__)

PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
# The supervisor escalates to SIGKILL 5 s after SIGTERM.
PATIENCE_S: Final = 3.0

# In these states another attempt, or this very one, still has a claim on the work. None is what a task is for a moment
# whose attempt was lost with its scheduler, before it is scheduled anew; a cleared one too, but that ends what it had
# running when it starts.
CLAIMED: Final = frozenset({None, "scheduled", "queued", "running", "deferred", "up_for_retry", "up_for_reschedule"})
# No state of Airflow's: there is no such task instance any more, its run was deleted.
ABSENT: Final = "absent"


def was_killed(ti: TaskInstanceLike, states: Callable[[TaskInstanceLike], str | None] | None = None) -> bool:
    """Whether the server says that this task was ended by somebody: failed, marked, cleared or removed.

    Called from a signal handler, while the task's only channel to the server may be in use: so it asks from a
    thread, for a short while. No answer means "not known to be killed": the work stays, and the next attempt
    finds it under its name.

    :param ti: the task instance.
    :param states: asks for the task's current state; default: Airflow's execution API.
    """
    answer: list[str | None] = []

    def ask() -> None:
        try:
            answer.append((states or state_on_server)(ti))
        except Exception:
            log.warning("Cannot ask for the state of %s", ti.task_id, exc_info=True)

    thread = threading.Thread(target=ask, daemon=True, name="ask-task-state")
    thread.start()
    thread.join(PATIENCE_S)
    if not answer:
        log.warning("No word on whether %s was killed or superseded: its work is left alone", ti.task_id)
        return False
    return answer[0] not in CLAIMED


async def lives_on(ti: Any) -> bool:
    """Whether the server says that somebody still has a claim on a deferred task's work.

    Airflow calls a trigger's `on_kill` when the trigger is no longer its triggerer's: when somebody ended the task, and
    also when another triggerer has taken it over because this one was taken for dead. No answer means that it lives on:
    `podium.abandoned` finds it otherwise.

    :param ti: `self.task_instance` of the trigger; None outside of a triggerer, where there is nobody to ask.
    """
    if ti is None:
        return False
    try:
        async with asyncio.timeout(PATIENCE_S):
            state = await asyncio.to_thread(state_on_server, ti)
    except Exception:
        log.warning("Cannot ask whether %s was ended: its work is left alone", ti.task_id, exc_info=True)
        return True
    # A cleared task has no state until it is scheduled again, with other work.
    return state in CLAIMED - {None}


def die_with_supervisor() -> None:
    """Have the kernel end this process when the supervisor of its task dies, if it is a task's process, on Linux."""
    from airflow.sdk.execution_time import task_runner

    if sys.platform == "linux" and getattr(task_runner, "SUPERVISOR_COMMS", None) is not None:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def state_on_server(ti: TaskInstanceLike) -> str | None:
    """A task's current state by Airflow's execution API, `ABSENT` when there is no such task instance."""
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    mapped = ti.map_index is not None and ti.map_index >= 0
    states = RuntimeTaskInstance.get_task_states(
        dag_id=ti.dag_id,
        task_ids=[ti.task_id],
        run_ids=[ti.run_id],
        map_index=ti.map_index if mapped else None,
    )
    key = f"{ti.task_id}_{ti.map_index}" if mapped else ti.task_id
    state: str | None = states.get(ti.run_id, {}).get(key, ABSENT)
    return state
