"""How events of assets queue for the runs they start: none is left behind."""

from typing import TYPE_CHECKING

from airflow.assets import manager
from airflow.models.asset import AssetDagRunQueue

if TYPE_CHECKING:
    from airflow.models.dag import DagModel
    from sqlalchemy.orm import Session


class AssetManager(manager.AssetManager):
    """Airflow's, with a queue that knows when the latest event came, not the first (`[core] asset_manager_class`).

    Airflow 3.3 has one entry in the queue for an asset and a DAG. A run takes the events up to the moment the entry was
    made and removes it, so that those which came while it lay there (two at once, or a DAG at its `max_active_runs`)
    start nothing until there is another one (apache/airflow#56050, #70970).

    Here a later event brings the entry's moment forward. One that comes while a scheduler takes the entry out waits for
    its transaction, and then makes an entry of its own.

    To be dropped with an Airflow whose queue refers to the events themselves (apache/airflow#70972).
    """

    @classmethod
    def _queue_dagruns_nonpartitioned_postgres(
        cls, asset_id: int, dags_to_queue: "set[DagModel]", session: "Session"
    ) -> None:
        """Queue the DAGs, the later of two moments winning."""
        from sqlalchemy.dialects.postgresql import insert

        statement = insert(AssetDagRunQueue).values(asset_id=asset_id)
        statement = statement.on_conflict_do_update(
            index_elements=[AssetDagRunQueue.asset_id, AssetDagRunQueue.target_dag_id],
            set_={"created_at": statement.excluded.created_at},
            # The row is locked also when this does not hold.
            where=AssetDagRunQueue.created_at < statement.excluded.created_at,
        )
        # In one order, so that two that queue the same DAGs do not wait for each other.
        dag_ids = sorted(dag.dag_id for dag in dags_to_queue)
        session.execute(statement, [{"target_dag_id": dag_id} for dag_id in dag_ids])


# Events of triggers go by the class of this name, whatever is configured: `airflow.models.trigger` takes it from there.
manager.AssetManager = AssetManager  # type: ignore[misc]
