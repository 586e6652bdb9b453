"""What a task notes of its work, kept where its next attempt finds it: what the work is called, and its result.

What it is called is noted when it begins and never computed anew: a deployment may meanwhile change the task's retries,
from which Airflow counts, or anything else of it. So does the task-state store tell a retry from a clear, also when
the task is another one by then.

An attempt may die after it has read the result and deleted the work, and before Airflow knows that it succeeded. So
the result goes first into the task-state store, which the attempts of a task share, and only then is the work deleted;
an attempt that finds its work gone looks here before it runs it again. The store refuses what a superseded attempt
writes, so that one deletes nothing and makes nothing; it does not refuse to be read, but answers that nothing is kept.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from podium.identity import Identity

if TYPE_CHECKING:
    from airflow.sdk import Context

WORK_KEY: Final = "work"


@dataclass(frozen=True)
class Record:
    """That work has succeeded, and what it left.

    :param attempt: the try that collected it, and whose log has the work's.
    :param clears: how often the run had been cleared by then.
    """

    result: Any
    attempt: int
    clears: int = 0


def identify(context: "Context", retries: int) -> Identity:
    """The identity of a running task's work, as it was noted when that began; noted now if nothing was.

    A clear changes `max_tries`, which Airflow keeps with the task instance, and nothing else does. Where the retries
    were edited it may by chance become what it was; then work that has a result is told by the clears of its run.

    :param context: the running task's.
    :param retries: those of its task, for work of which nothing is noted.
    :raises airflow.sdk.exceptions.AirflowRuntimeError: another attempt has taken over.
    """
    ti, store = context["ti"], context.get("task_state_store")
    identity = Identity.of(ti, retries)
    if store is None:
        return identity
    noted: Any = store.get(WORK_KEY)
    if noted:
        identity = replace(identity, epoch=noted["epoch"])
        if noted["max_tries"] == ti.max_tries:
            # Airflow sets it to the tries so far and the retries: only these edited ones can have made it the same.
            by_chance = identity.epoch < ti.max_tries - retries < ti.try_number
            record = Collected(context, identity).read() if by_chance else None
            if record is None or record.clears == _clears(context):
                return identity
        # Never the number of an earlier epoch, whatever the retries are.
        identity = replace(identity, epoch=max(noted["epoch"] + 1, ti.try_number - 1))
    store.set(WORK_KEY, {"epoch": identity.epoch, "max_tries": ti.max_tries})
    return identity


class Collected:
    """The record of one piece of work.

    :param context: the running task's.
    :param identity: whose work it is; that of another clear epoch is another.
    """

    def __init__(self, context: "Context", identity: Identity) -> None:
        self._store: Any = context.get("task_state_store")
        self._attempt: int = context["ti"].try_number
        self._clears = _clears(context)
        self._key = f"collected-{identity.name}"
        self._claim = f"claimed-{identity.name}"

    def read(self) -> Record | None:
        """The record; None when nothing was collected yet."""
        found = None if self._store is None else self._store.get(self._key)
        return Record(found["result"], found["attempt"], found.get("clears", 0)) if found else None

    def write(self, result: Any) -> Record:
        """Keep a result (JSON), before the work is deleted.

        :raises airflow.sdk.exceptions.AirflowRuntimeError: another attempt has taken over.
        """
        if self._store is not None:
            self._store.set(self._key, {"result": result, "attempt": self._attempt, "clears": self._clears})
        return Record(result, self._attempt, self._clears)

    def ensure_current(self) -> None:
        """Call before work is made, or deleted without a result: another attempt may have taken it over.

        That `read` has found nothing is known to be true only afterwards.

        :raises airflow.sdk.exceptions.AirflowRuntimeError: another attempt has taken over.
        """
        if self._store is not None:
            self._store.set(self._claim, {"attempt": self._attempt})


def _clears(context: "Context") -> int:
    """How often tasks of the run were cleared."""
    return getattr(context.get("dag_run"), "clear_number", None) or 0
