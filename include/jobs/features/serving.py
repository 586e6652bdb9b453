"""The built tables as one view, `features.serving`: publishing it, and what the last one was made from.

Others read it by `include.jobs.lake.feature_view`.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from include.jobs.features.stale import Digests
from include.jobs.features.tables import PROPERTIES, exists, load
from include.jobs.lake.connections import CATALOG_NAME

NAME = "features.serving"
_TABLE = f"{CATALOG_NAME}.{NAME}"
_COLUMNS = "table_name string NOT NULL, snapshot_id bigint NOT NULL, made_from map<string, string> NOT NULL"
#: The operation of a snapshot that has only laid the same rows out anew.
_REPLACE = "replace"


@dataclass(frozen=True, slots=True)
class View:
    """What belongs together.

    Attributes:
        snapshots: the snapshot of each table, built ones and their sources.
        made_from: of each built table, the digests of what its partitions were made from.
    """

    snapshots: Mapping[str, int]
    made_from: Digests


def published(spark: SparkSession) -> View:
    """The view that is published now; an empty one when none is."""
    rows = spark.table(_TABLE).collect() if exists(spark, NAME) else []
    return View(
        {row.table_name: row.snapshot_id for row in rows},
        {
            row.table_name: {dt.date.fromisoformat(day): digest for day, digest in row.made_from.items()}
            for row in rows
            if row.made_from
        },
    )


def intact(spark: SparkSession, view: View) -> View:
    """The view without the tables whose rows have changed since: by a build that did not end, or an erasure."""
    made_from = {
        name: digests
        for name, digests in view.made_from.items()
        if exists(spark, name) and _unchanged_since(load(spark, name), view.snapshots[name])
    }
    return View(view.snapshots, made_from)


def publish(spark: SparkSession, view: View, summary: Mapping[str, str]) -> int:
    """Make this the published view, in one commit; nothing is written when it is that already.

    Returns:
        The snapshot of `features.serving` that the view is known by.
    """
    spark.sql(f"CREATE TABLE IF NOT EXISTS {_TABLE} ({_COLUMNS}) USING iceberg TBLPROPERTIES ({PROPERTIES})")
    if published(spark) != view:
        rows = [
            (name, number, {day.isoformat(): digest for day, digest in view.made_from.get(name, {}).items()})
            for name, number in sorted(view.snapshots.items())
        ]
        writer = spark.createDataFrame(rows, _COLUMNS).coalesce(1).writeTo(_TABLE)
        for key, value in summary.items():
            writer = writer.option(f"snapshot-property.{key}", value)
        writer.overwrite(F.lit(True))
    return int(load(spark, NAME).currentSnapshot().snapshotId())


def _unchanged_since(table: Any, snapshot_id: int) -> bool:
    """Whether a table, an Iceberg object, has the rows that it had at a snapshot."""
    snapshot = table.currentSnapshot()
    while snapshot is not None and snapshot.snapshotId() != snapshot_id and snapshot.operation() == _REPLACE:
        parent = snapshot.parentId()
        snapshot = None if parent is None else table.snapshot(parent)
    return snapshot is not None and bool(snapshot.snapshotId() == snapshot_id)
