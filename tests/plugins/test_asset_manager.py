"""Which DAGs an event queues for: on tables of Airflow's own database."""

import pytest
from podium.assets import FEATURES
from sqlalchemy import select
from sqlalchemy.orm import Session


def dag(tables: Session, dag_id: str, *, paused: bool, stale: bool = False) -> None:
    from airflow.models.dag import DagModel

    tables.add(DagModel(dag_id=dag_id, is_paused=paused, is_stale=stale, bundle_name="podium"))
    tables.commit()


@pytest.mark.parametrize("by", ["asset", "name", "uri", "alias"])
def test_events_queue_for_paused_dags_too_however_they_name_the_asset(tables: Session, by: str) -> None:
    from airflow.models.asset import (
        AssetAliasModel,
        AssetDagRunQueue,
        AssetModel,
        DagScheduleAssetAliasReference,
        DagScheduleAssetNameReference,
        DagScheduleAssetReference,
        DagScheduleAssetUriReference,
    )
    from podium.asset_manager import AssetManager

    asset, alias = AssetModel(name=FEATURES.name, uri=FEATURES.uri), AssetAliasModel(name="found")
    tables.add_all([asset, alias])
    tables.commit()
    references = {
        "asset": lambda dag_id: DagScheduleAssetReference(asset_id=asset.id, dag_id=dag_id),
        "name": lambda dag_id: DagScheduleAssetNameReference(name=asset.name, dag_id=dag_id),
        "uri": lambda dag_id: DagScheduleAssetUriReference(uri=asset.uri, dag_id=dag_id),
        "alias": lambda dag_id: DagScheduleAssetAliasReference(alias_id=alias.id, dag_id=dag_id),
    }
    for dag_id, paused, stale in (("on", False, False), ("paused", True, False), ("gone", True, True)):
        dag(tables, dag_id, paused=paused, stale=stale)
        tables.add(references[by](dag_id))
    dag(tables, "another", paused=True)
    tables.commit()
    AssetManager().register_asset_change(asset=asset, source_alias_names=["found"], session=tables)
    tables.commit()
    assert set(tables.scalars(select(AssetDagRunQueue.target_dag_id))) == {"on", "paused"}
