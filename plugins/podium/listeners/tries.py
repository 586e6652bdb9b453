"""What every record of a task's try says: which try it was, whose, and when."""

import datetime as dt
import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Self

from podium.platform import settings


@dataclass(frozen=True, kw_only=True)
class TryRecord:
    """One try of a task that has ended.

    :param map_index: -1 when the task is not mapped.
    :param started: ISO 8601, in UTC; so is `ended`. A try that never began starts when it ends.
    :param state: how it ended.
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    try_number: int
    owner: str
    started: str
    ended: str
    state: str

    @classmethod
    def build(cls, task_instance: Any, state: str, **further: Any) -> Self:
        """The record of a try.

        :param task_instance: Airflow's, of the task's own process or of the database.
        :param further: what the kind of record has beside these fields.
        """
        now = dt.datetime.now(dt.UTC)
        return cls(
            dag_id=task_instance.dag_id,
            run_id=task_instance.run_id,
            task_id=task_instance.task_id,
            map_index=-1 if task_instance.map_index is None else int(task_instance.map_index),
            try_number=task_instance.try_number,
            owner=getattr(getattr(task_instance, "task", None), "owner", None) or settings().airflow.owner,
            started=_iso(task_instance.start_date or now),
            ended=_iso(task_instance.end_date or now),
            state=state,
            **further,
        )

    @cached_property
    def try_id(self) -> str:
        """Identifies the try: 32 hexadecimal digits, the same whoever asks."""
        parts = (self.dag_id, self.run_id, self.task_id, str(self.map_index), str(self.try_number))
        return hashlib.sha256("".join(f"{len(part)}:{part}" for part in parts).encode()).hexdigest()[:32]

    def to_json(self) -> str:
        """As it lies in the bucket."""
        return json.dumps({"try_id": self.try_id, **asdict(self)}, sort_keys=True)


def _iso(moment: dt.datetime) -> str:
    return moment.astimezone(dt.UTC).isoformat()
