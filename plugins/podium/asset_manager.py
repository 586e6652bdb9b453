"""How events of assets queue for the runs they start: none is left behind, none is lost while a DAG is paused."""

from typing import TYPE_CHECKING, Any

from airflow.assets import manager
from airflow.models.asset import (
    AssetDagRunQueue,
    DagScheduleAssetAliasReference,
    DagScheduleAssetNameReference,
    DagScheduleAssetUriReference,
)

if TYPE_CHECKING:
    from airflow.models.asset import AssetEvent
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

    And events queue for DAGs that are paused, which Airflow leaves out (apache/airflow#49857): a DAG that is switched
    on again starts one run about all that came meanwhile.
    """

    @classmethod
    def _queue_dagruns(
        cls, *, asset_id: int, dags_to_queue: "set[DagModel]", event: "AssetEvent", session: "Session", **further: Any
    ) -> None:
        paused = _paused(asset_id, event.id, session)
        super()._queue_dagruns(
            asset_id=asset_id, dags_to_queue=dags_to_queue | paused, event=event, session=session, **further
        )

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


def _paused(asset_id: int, event_id: int, session: "Session") -> "set[DagModel]":
    """The paused DAGs that an event starts: by its asset, the asset's name or address, or an alias it came by."""
    from airflow.models.asset import AssetModel, asset_alias_asset_event_association_table
    from airflow.models.dag import DagModel
    from sqlalchemy import or_, select

    named = select(AssetModel.name).where(AssetModel.id == asset_id)
    addressed = select(AssetModel.uri).where(AssetModel.id == asset_id)
    came_by = asset_alias_asset_event_association_table.c
    aliases = select(came_by.alias_id).where(came_by.event_id == event_id)
    starts = or_(
        DagModel.schedule_asset_references.any(asset_id=asset_id),
        DagModel.schedule_asset_name_references.any(DagScheduleAssetNameReference.name.in_(named)),
        DagModel.schedule_asset_uri_references.any(DagScheduleAssetUriReference.uri.in_(addressed)),
        DagModel.schedule_asset_alias_references.any(DagScheduleAssetAliasReference.alias_id.in_(aliases)),
    )
    return set(session.scalars(select(DagModel).where(DagModel.is_paused, ~DagModel.is_stale, starts)))


# Events of triggers go by the class of this name, whatever is configured: `airflow.models.trigger` takes it from there.
manager.AssetManager = AssetManager  # type: ignore[misc]
