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
from include.jobs.lake.errors import LakeError
from include.jobs.lake.ledger import Ledger

#: Of every table here: old metadata files go as commits go by.
PROPERTIES = (
    "'write.parquet.compression-codec'='zstd', 'write.metadata.delete-after-commit.enabled'='true', "
    "'write.metadata.previous-versions-max'='50'"
)

log = logging.getLogger(__name__)


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


@dataclass(frozen=True, slots=True)
class Events:
    """`sales.transactions` as of one snapshot, with the ledger of that table."""

    rows: DataFrame
    snapshot_id: int
    ledger: Ledger


@dataclass(frozen=True, slots=True)
class Reference:
    """A table of the reference data as of one snapshot; None when nothing was ever written to it."""

    rows: DataFrame
    snapshot_id: int | None


def read_events(spark: SparkSession) -> Events:
    """Read the events, pinned to the snapshot that is current now.

    Raises:
        LakeError: the table does not exist or has no snapshot.
    """
    table = load(spark, "sales.transactions")
    snapshot = table.currentSnapshot()
    if snapshot is None:
        raise LakeError("table sales.transactions is empty: ingest intervals first")
    # Rows and ledger come from the same state of the table.
    rows = _as_of(spark, "sales.transactions", snapshot.snapshotId())
    return Events(rows, snapshot.snapshotId(), Ledger.from_properties(dict(table.properties())))


def read_reference(spark: SparkSession, name: str) -> Reference:
    """A table of the reference data, `reference.products` or `reference.households`, pinned as the events are.

    Raises:
        LakeError: the table does not exist.
    """
    snapshot = load(spark, name).currentSnapshot()
    if snapshot is None:
        return Reference(spark.table(f"{CATALOG_NAME}.{name}"), None)
    return Reference(_as_of(spark, name, snapshot.snapshotId()), snapshot.snapshotId())


def replace_partitions(
    spark: SparkSession,
    table: FeatureTable,
    rows: DataFrame | None,
    partitions: Sequence[dt.date],
    summary: Mapping[str, str],
) -> dict[str, Any]:
    """Make `rows` the whole content of partitions, in one snapshot; without rows nothing is written.

    No row may lie outside the partitions. Rows are written in their order; those of one partition should lie together.

    Returns:
        `{rows, partitions, snapshot_id, total_rows, seconds}`: what was written, and the table as it is now.
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
    snapshot = load(spark, table.name).currentSnapshot()
    added = int(snapshot.summary().get("added-records") or 0) if rows is not None else 0
    seconds = round(time.monotonic() - begun, 3)
    log.info("%s: %d rows in %d partitions in %.1f s", table.name, added, len(partitions), seconds)
    return {
        "rows": added,
        "partitions": [str(day) for day in partitions],
        "snapshot_id": snapshot.snapshotId(),
        "total_rows": int(snapshot.summary().get("total-records") or 0),
        "seconds": seconds,
    }


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


def _as_of(spark: SparkSession, name: str, snapshot_id: int) -> DataFrame:
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
