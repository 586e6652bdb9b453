"""What a task has collected of its work, kept where its next attempt finds it.

An attempt may die after it has read the result and deleted the work, and before Airflow knows that it succeeded. So
the result goes first into the task-state store, which the attempts of a task share, and only then is the work deleted;
an attempt that finds its work gone looks here before it runs it again. The store refuses what a superseded attempt
writes, so that one deletes nothing and makes nothing; it does not refuse to be read, but answers that nothing is kept.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from podium.identity import Identity

if TYPE_CHECKING:
    from airflow.sdk import Context


@dataclass(frozen=True)
class Record:
    """That work has succeeded, and what it left.

    :param attempt: the try that collected it, and whose log has the work's.
    """

    result: Any
    attempt: int


class Collected:
    """The record of one piece of work.

    :param context: the running task's.
    :param identity: whose work it is; that of another clear epoch is another.
    """

    def __init__(self, context: "Context", identity: Identity) -> None:
        self._store: Any = context.get("task_state_store")
        self._attempt: int = context["ti"].try_number
        self._key = f"collected-{identity.name}"
        self._claim = f"claimed-{identity.name}"

    def read(self) -> Record | None:
        """The record; None when nothing was collected yet."""
        found = None if self._store is None else self._store.get(self._key)
        return Record(found["result"], found["attempt"]) if found else None

    def write(self, result: Any) -> Record:
        """Keep a result (JSON), before the work is deleted.

        :raises airflow.sdk.exceptions.AirflowRuntimeError: another attempt has taken over.
        """
        if self._store is not None:
            self._store.set(self._key, {"result": result, "attempt": self._attempt})
        return Record(result, self._attempt)

    def ensure_current(self) -> None:
        """Call before work is made, or deleted without a result: another attempt may have taken it over.

        That `read` has found nothing is known to be true only afterwards.

        :raises airflow.sdk.exceptions.AirflowRuntimeError: another attempt has taken over.
        """
        if self._store is not None:
            self._store.set(self._claim, {"attempt": self._attempt})
