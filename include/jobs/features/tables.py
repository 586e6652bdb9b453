"""The feature tables: their columns, and replacing partitions of them in one snapshot."""

import datetime as dt
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from include.jobs.features.compute import PROFILE
from include.jobs.lake.connections import CATALOG_NAME
from include.jobs.lake.errors import EXIT_TRY_LATER, JobError, LakeError

#: Of every table here: old metadata files go as commits go by.
PROPERTIES = (
    "'write.parquet.compression-codec'='zstd', 'write.metadata.delete-after-commit.enabled'='true', "
    "'write.metadata.previous-versions-max'='50'"
)

#: The operation of a snapshot that has only laid the same rows out anew.
_REPLACE = "replace"
#: In the summary of each snapshot: the build that has made it.
BUILD = "podium.build"

log = logging.getLogger(__name__)


class OverlappingBuildError(JobError):
    """Another build, or an erasure, has changed the features meanwhile."""

    exit_code = EXIT_TRY_LATER

    def __init__(self, table: str) -> None:
        super().__init__(
            f"{table} was changed since this build began, by another one or by an erasure: nothing is published, what "
            "was published stays. Run the build again: it makes what is out of date then"
        )


@dataclass(frozen=True, slots=True)
class FeatureTable:
    """A feature table: its columns in order (Spark SQL types), and the column it is partitioned by."""

    name: str
    partition: str
    columns: Mapping[str, str]


USERS = FeatureTable(
    "features.users",
    "cutoff",
    {
        "cutoff": "date",
        "household_id": "bigint",
        "baskets": "int",
        "products": "int",
        "spend": "double",
        "mean_basket_value": "double",
        "discount": "double",
        "days_since_last": "int",
        "days_since_first": "int",
        "mean_gap_days": "double",
        "baskets_30": "int",
        "baskets_90": "int",
        "spend_90": "double",
        "repeat_share": "double",
        **dict.fromkeys(PROFILE, "string"),
    },
)

ITEMS = FeatureTable(
    "features.items",
    "cutoff",
    {
        "cutoff": "date",
        "product_id": "bigint",
        "households": "int",
        "purchases": "int",
        "purchases_30": "int",
        "purchases_90": "int",
        "quantity": "bigint",
        "spend": "double",
        "price_mean": "double",
        "price_30": "double",
        "discount_share": "double",
        "promoted_share": "double",
        "repeat_share": "double",
        "days_since_last": "int",
        "days_since_first": "int",
        "trend": "double",
        "popularity_rank": "int",
    },
)

INTERACTIONS = FeatureTable(
    "features.interactions",
    "cutoff",
    {
        "cutoff": "date",
        "household_id": "bigint",
        "product_id": "bigint",
        "purchases": "int",
        "quantity": "bigint",
        "spend": "double",
        "days_since_last": "int",
        "days_since_first": "int",
        "mean_gap_days": "double",
        "decay_15": "double",
        "decay_30": "double",
        "decay_60": "double",
        "decay_90": "double",
        "decay_180": "double",
        "purchases_30": "int",
        "purchases_90": "int",
        "user_baskets": "int",
        "user_products": "int",
        "user_days_since_last": "int",
        "item_households": "int",
        "item_purchases_30": "int",
        "item_purchases_90": "int",
        "item_trend": "double",
        "label": "int",
    },
)

PREFERENCES = FeatureTable(
    "features.preferences",
    "cutoff",
    {
        "cutoff": "date",
        "household_id": "bigint",
        "department": "string",
        "purchases": "int",
        "decay_90": "double",
        "share": "double",
    },
)

DEMAND = FeatureTable(
    "features.demand",
    "month",
    {
        "month": "date",
        "day": "date",
        "store_id": "bigint",
        "department": "string",
        "units": "bigint",
        "revenue": "double",
        "discount": "double",
        "baskets": "int",
    },
)


#: In the order in which they are written: what makes the first one is used by the others.
TABLES = (INTERACTIONS, USERS, ITEMS, PREFERENCES, DEMAND)


def replace_partitions(
    spark: SparkSession,
    table: FeatureTable,
    rows: DataFrame | None,
    partitions: Sequence[dt.date],
    summary: Mapping[str, str],
    since: int | None,
) -> dict[str, Any]:
    """Make `rows` the whole content of partitions, in one snapshot; without rows nothing is written.

    No row may lie outside the partitions. Rows are written in their order; those of one partition should lie together.
    `summary` tells of the build (`BUILD`), `since` is the table's snapshot when that began.

    Returns:
        `{rows, partitions, snapshot_id, total_rows, seconds}`: what was written, and the table as it is now.

    Raises:
        OverlappingBuildError: others have changed the table since.
    """
    begun = time.monotonic()
    name = f"{CATALOG_NAME}.{table.name}"
    _create(spark, table)
    if rows is not None:
        writer = rows.select(*(rows[column].cast(kind) for column, kind in table.columns.items())).writeTo(name)
        for key, value in summary.items():
            writer = writer.option(f"snapshot-property.{key}", value)
        # By condition, so that a partition which no row falls in any more is emptied.
        writer.overwrite(F.col(table.partition).isin(*partitions))
    written = load(spark, table.name)
    own = None if rows is None else _made_by(written, summary[BUILD])
    if not _only(written, own, since):
        raise OverlappingBuildError(table.name)
    added = int(own.summary().get("added-records") or 0) if own else 0
    snapshot = written.currentSnapshot()
    seconds = round(time.monotonic() - begun, 3)
    log.info("%s: %d rows in %d partitions in %.1f s", table.name, added, len(partitions), seconds)
    return {
        "rows": added,
        "partitions": [str(day) for day in partitions],
        "snapshot_id": snapshot.snapshotId(),
        "total_rows": records_of(snapshot),
        "seconds": seconds,
    }


def snapshot_of(spark: SparkSession, name: str) -> int | None:
    """The current snapshot of a table; None where it has none, or is not there."""
    return _number(load(spark, name).currentSnapshot()) if exists(spark, name) else None


def same_rows(table: Any, number: int | None, since: int | None) -> bool:
    """Whether a table, an Iceberg object, has at snapshot `number` the rows that it had at snapshot `since`."""
    while number != since:
        snapshot = None if number is None else table.snapshot(number)
        if snapshot is None or snapshot.operation() != _REPLACE:
            return False
        number = snapshot.parentId()
    return True


def exists(spark: SparkSession, name: str) -> bool:
    """Whether the lake has a table."""
    return bool(spark.catalog.tableExists(f"{CATALOG_NAME}.{name}"))


def load(spark: SparkSession, name: str) -> Any:
    """A table as Iceberg's own Java object: its metadata in one look, where Spark SQL would run a job for each.

    Raises:
        LakeError: it does not exist.
    """
    if not exists(spark, name):
        raise LakeError.no_table(name)
    java: Any = spark._jvm
    return java.org.apache.iceberg.spark.Spark3Util.loadIcebergTable(spark._jsparkSession, f"{CATALOG_NAME}.{name}")


def _made_by(table: Any, build: str) -> Any:
    """The snapshot of a build."""
    snapshot = table.currentSnapshot()
    while snapshot is not None and snapshot.summary().get(BUILD) != build:
        parent = snapshot.parentId()
        snapshot = None if parent is None else table.snapshot(parent)
    return snapshot


def _only(table: Any, own: Any, since: int | None) -> bool:
    """Whether nothing but one snapshot of one's own, or none, has changed the rows."""
    current = _number(table.currentSnapshot())
    if own is None:
        return same_rows(table, current, since)
    return same_rows(table, current, own.snapshotId()) and same_rows(table, own.parentId(), since)


def _number(snapshot: Any) -> int | None:
    return None if snapshot is None else int(snapshot.snapshotId())


def records_of(snapshot: Any) -> int:
    """How many rows a snapshot, an Iceberg object, has."""
    return int(snapshot.summary().get("total-records") or 0)


def read_as_of(spark: SparkSession, name: str, snapshot_id: int) -> DataFrame:
    """A table as of a snapshot."""
    return spark.read.option("versionAsOf", snapshot_id).table(f"{CATALOG_NAME}.{name}")


def _create(spark: SparkSession, table: FeatureTable) -> None:
    namespace = table.name.rpartition(".")[0]
    spark.sql(f"CREATE NAMESPACE IF NOT EXISTS {CATALOG_NAME}.{namespace}")
    columns = ", ".join(f"{column} {kind}" for column, kind in table.columns.items())
    # Rows come spread by household and sorted: no shuffle by partition value before the write.
    spark.sql(
        f"CREATE TABLE IF NOT EXISTS {CATALOG_NAME}.{table.name} ({columns}) USING iceberg "
        f"PARTITIONED BY ({table.partition}) TBLPROPERTIES ('write.distribution-mode'='none', {PROPERTIES})"
    )
    # One that an earlier version made lacks what has been added since: null in its rows until they are made anew.
    present = set(spark.table(f"{CATALOG_NAME}.{table.name}").columns)
    if added := [f"{column} {kind}" for column, kind in table.columns.items() if column not in present]:
        spark.sql(f"ALTER TABLE {CATALOG_NAME}.{table.name} ADD COLUMNS ({', '.join(added)})")
