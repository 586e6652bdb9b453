"""Lets every triggerer look for abandoned work: it is what ends the work of killed deferred tasks anyway."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from podium.abandoned import Owner, Standing, sweep
from podium.listeners.beside_triggerer import BesideTriggerer
from podium.platform import settings

if TYPE_CHECKING:
    from podium.hooks.custom_resource import CustomResourceHook


class AbandonedWorkListener(BesideTriggerer):
    """Deletes abandoned work."""

    name = "abandoned-work"

    def __init__(self) -> None:
        super().__init__()
        self._hook: CustomResourceHook | None = None

    def every_s(self) -> float:
        """As the settings say."""
        return settings().faults.abandoned_work_check_s

    def look(self) -> None:
        """Delete what is found."""
        if self._hook is None:
            from podium.hooks.custom_resource import CustomResourceHook

            kubernetes = settings().kubernetes
            self._hook = CustomResourceHook(kubernetes.namespace, conn_id=kubernetes.connection_id)
        sweep(self._hook, standings)


def standings(owners: Iterable[Owner]) -> dict[Owner, Standing]:
    """What Airflow's database says of task instances."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import select, tuple_

    key = (TaskInstance.dag_id, TaskInstance.run_id, TaskInstance.task_id, TaskInstance.map_index)
    query = select(*key, TaskInstance.state, TaskInstance.max_tries).where(tuple_(*key).in_(list(owners)))
    with create_session() as session:
        return {Owner(*row[:4]): Standing(*row[4:]) for row in session.execute(query)}
