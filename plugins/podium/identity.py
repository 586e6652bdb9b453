"""The name under which a task instance's work runs in the cluster.

It follows from dag, run, task, map index and clear epoch alone. So a retry, or a worker that takes over from a
dead one, finds the object that is already there, while a cleared task gets a new one. Which epoch it is, is noted when
the work begins: see `podium.collected`.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

# Controllers append "-launcher", "-worker-12", "-driver": the names of their pods must stay within 63.
MAX_NAME = 45
HASH = 10

TASK_LABEL = "podium.dev/task"
EPOCH_LABEL = "podium.dev/epoch"


@runtime_checkable
class TaskInstanceLike(Protocol):
    """What identity needs of Airflow's task instance."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int | None
    max_tries: int


@dataclass(frozen=True)
class Identity:
    """Who a piece of work belongs to.

    :param epoch: a number that rises whenever the task is cleared: the tries before the last clear.
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1
    epoch: int = 0

    @classmethod
    def of(cls, ti: TaskInstanceLike, retries: int) -> "Identity":
        """The identity of a running task instance of whose work nothing is noted yet.

        Airflow sets `max_tries` to the tries so far and the task's retries when a task that is not running is cleared,
        and leaves it alone when the task is retried.

        :param ti: `context["ti"]`.
        :param retries: those of its task.
        """
        map_index = -1 if ti.map_index is None else ti.map_index
        return cls(ti.dag_id, ti.run_id, ti.task_id, map_index, max(0, ti.max_tries - retries))

    @property
    def task_key(self) -> str:
        """A label value shared by all epochs of the same task instance: 16 hexadecimal digits."""
        return self._digest(self.dag_id, self.run_id, self.task_id, str(self.map_index))[:16]

    @property
    def name(self) -> str:
        """A DNS label of at most 45 characters: a readable part and a hash of the whole identity.

        >>> Identity("ingest_transactions", "manual__1", "ingest").name
        'ingest-transactions-ingest-a96bb0ecd5'
        """
        digest = self._digest(self.dag_id, self.run_id, self.task_id, str(self.map_index), str(self.epoch))
        readable = re.sub(r"[^a-z0-9]+", "-", f"{self.dag_id}-{self.task_id}".lower()).strip("-")
        if not readable[:1].isalpha():
            readable = f"x{readable}"
        return f"{readable[: MAX_NAME - HASH - 1].rstrip('-')}-{digest[:HASH]}"

    @property
    def labels(self) -> dict[str, str]:
        """Labels that find the work of this task instance, of this epoch or of any."""
        return {TASK_LABEL: self.task_key, EPOCH_LABEL: str(self.epoch)}

    @staticmethod
    def _digest(*parts: str) -> str:
        # Lengths keep ("a", "bc") and ("ab", "c") apart.
        return hashlib.sha256("".join(f"{len(part)}:{part}" for part in parts).encode()).hexdigest()
