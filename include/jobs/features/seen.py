"""What earlier builds have read of the events, `features.seen`: of each interval, what it held (`parts`).

It saves reading, and decides nothing: what it says of an interval counts only while the interval's files are those that
were read, so that a build may leave it behind whether it publishes anything or not.
"""

from collections.abc import Mapping

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from include.jobs.features.parts import Part
from include.jobs.features.tables import PROPERTIES, exists
from include.jobs.lake.connections import CATALOG_NAME

_NAMESPACE = f"{CATALOG_NAME}.features"
_TABLE = f"{_NAMESPACE}.seen"
_COLUMNS = "start_us bigint NOT NULL, part string NOT NULL"


def seen(spark: SparkSession) -> dict[int, Part]:
    """What is known of the intervals, by their start in microseconds since the epoch."""
    rows = spark.table(_TABLE).collect() if exists(spark, "features.seen") else []
    return {row.start_us: Part.loads(row.part) for row in rows}


def keep(spark: SparkSession, parts: Mapping[int, Part]) -> None:
    """Make this what is known."""
    spark.sql(f"CREATE NAMESPACE IF NOT EXISTS {_NAMESPACE}")
    spark.sql(f"CREATE TABLE IF NOT EXISTS {_TABLE} ({_COLUMNS}) USING iceberg TBLPROPERTIES ({PROPERTIES})")
    rows = [(start, part.dumps()) for start, part in sorted(parts.items())]
    spark.createDataFrame(rows, _COLUMNS).coalesce(1).writeTo(_TABLE).overwrite(F.lit(True))
