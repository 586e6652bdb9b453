"""Publishing the built tables as one view, `features.serving`: see `include.jobs.lake.feature_view`, which reads it."""

from collections.abc import Mapping

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from include.jobs.features.tables import PROPERTIES, load
from include.jobs.lake.connections import CATALOG_NAME

NAME = "features.serving"
_COLUMNS = "table_name string NOT NULL, snapshot_id bigint NOT NULL"


def publish(spark: SparkSession, snapshots: Mapping[str, int], summary: Mapping[str, str]) -> int:
    """Make these snapshots, by table, the published view, in one commit.

    Returns:
        The snapshot of `features.serving` that the view is known by.
    """
    name = f"{CATALOG_NAME}.{NAME}"
    spark.sql(f"CREATE TABLE IF NOT EXISTS {name} ({_COLUMNS}) USING iceberg TBLPROPERTIES ({PROPERTIES})")
    writer = spark.createDataFrame(sorted(snapshots.items()), _COLUMNS).coalesce(1).writeTo(name)
    for key, value in summary.items():
        writer = writer.option(f"snapshot-property.{key}", value)
    writer.overwrite(F.lit(True))
    return int(load(spark, NAME).currentSnapshot().snapshotId())
