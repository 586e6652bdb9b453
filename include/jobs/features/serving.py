"""The built tables as one view, `features.serving`: publishing it, and what the last one was made from.

Others read it by `include.jobs.lake.feature_view`.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from include.jobs.features.stale import Digests
from include.jobs.features.tables import (
    PROPERTIES,
    TABLES,
    OverlappingBuildError,
    exists,
    load,
    read_as_of,
    same_rows,
    snapshot_of,
)
from include.jobs.lake.connections import CATALOG_NAME

NAME = "features.serving"
_TABLE = f"{CATALOG_NAME}.{NAME}"
_COLUMNS = "table_name string NOT NULL, snapshot_id bigint NOT NULL, made_from map<string, string> NOT NULL"
#: What Iceberg throws when another commit came first.
_CONFLICTS = ("ValidationException", "CommitFailedException")


@dataclass(frozen=True, slots=True)
class View:
    """What belongs together.

    Attributes:
        snapshots: the snapshot of each table, built ones and their sources.
        made_from: of each built table, the digests of what its partitions were made from.
        snapshot_id: what it is known by; None when none is published.
    """

    snapshots: Mapping[str, int]
    made_from: Digests
    snapshot_id: int | None = field(default=None, compare=False)


def published(spark: SparkSession) -> View:
    """The view that is published now; an empty one when none is."""
    number = snapshot_of(spark, NAME)
    rows = [] if number is None else read_as_of(spark, NAME, number).collect()
    built = {table.name for table in TABLES}
    return View(
        {row.table_name: row.snapshot_id for row in rows},
        {
            row.table_name: {dt.date.fromisoformat(day): digest for day, digest in row.made_from.items()}
            for row in rows
            if row.table_name in built
        },
        number,
    )


def intact(spark: SparkSession, view: View) -> View:
    """The view without the tables whose rows have changed since: by a build that did not end, or an erasure."""
    made_from = {
        name: digests
        for name, digests in view.made_from.items()
        if exists(spark, name) and same_rows(load(spark, name), snapshot_of(spark, name), view.snapshots[name])
    }
    return replace(view, made_from=made_from)


def publish(spark: SparkSession, view: View, base: View, summary: Mapping[str, str]) -> int:
    """Make this the published view in place of `base`, in one commit; nothing is written when it is that already.

    Returns:
        The snapshot of `features.serving` that the view is known by.

    Raises:
        OverlappingBuildError: another one than `base` is published by now.
    """
    spark.sql(f"CREATE TABLE IF NOT EXISTS {_TABLE} ({_COLUMNS}) USING iceberg TBLPROPERTIES ({PROPERTIES})")
    if base.snapshot_id is None or view != base:
        _replace(spark, view, base, summary)
    elif snapshot_of(spark, NAME) != base.snapshot_id:
        raise OverlappingBuildError(NAME)
    return int(load(spark, NAME).currentSnapshot().snapshotId())


def _replace(spark: SparkSession, view: View, base: View, summary: Mapping[str, str]) -> None:
    made_from = {
        name: {day.isoformat(): digest for day, digest in digests.items()} for name, digests in view.made_from.items()
    }
    rows = [(name, number, made_from.get(name, {})) for name, number in sorted(view.snapshots.items())]
    writer = spark.createDataFrame(rows, _COLUMNS).coalesce(1).writeTo(_TABLE).option("isolation-level", "serializable")
    if base.snapshot_id is not None:
        # Without it the whole past of the table is held to be a conflict, and so it is where there was no view.
        writer = writer.option("validate-from-snapshot-id", str(base.snapshot_id))
    for key, value in summary.items():
        writer = writer.option(f"snapshot-property.{key}", value)
    try:
        writer.overwrite(F.lit(True))
    except Py4JJavaError as error:
        if not any(name in str(error.java_exception) for name in _CONFLICTS):
            raise
        raise OverlappingBuildError(NAME) from error
