"""Build the feature tables: what spark-submit runs in the features image.

The last line of the log is `PODIUM_RESULT {…}`; the same JSON goes to `--result`, because a Spark application has
no side-car that would collect it.
"""

import argparse
import datetime as dt
import logging
import os
import sys
import time
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pyspark.sql import DataFrame, SparkSession

from include.jobs.features import compute, serving
from include.jobs.features.history import complete_months, judge_cutoffs
from include.jobs.features.tables import (
    DEMAND,
    INTERACTIONS,
    ITEMS,
    PREFERENCES,
    USERS,
    read_events,
    read_reference,
    replace_partitions,
)
from include.jobs.lake import lineage
from include.jobs.lake.connections import Connections
from include.jobs.lake.errors import run_main
from include.jobs.lake.result import write_object, write_result
from include.jobs.lake.spark import lake_session


def main() -> None:
    """Parse the command line, build the tables, leave the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cutoffs", required=True, help="first days of local months, comma-separated")
    parser.add_argument("--timezone", default="America/New_York", help="the shop's time zone (IANA name)")
    parser.add_argument("--result", help="address of the result; default by application name, in the lake's bucket")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("py4j").setLevel(logging.WARNING)
    days = [dt.date.fromisoformat(text) for text in arguments.cutoffs.split(",")]
    connections = Connections.from_environment()
    begun = time.monotonic()
    spark = lake_session(connections)
    try:
        name = spark.sparkContext.appName
        built = build(spark, days, ZoneInfo(arguments.timezone))
    finally:
        spark.stop()
    result = built | {"seconds": round(time.monotonic() - begun, 3), "cutoffs": [str(day) for day in days]}
    result |= lineage.datasets(
        [lineage.table(name, number) for name, number in built["sources"].items()],
        [
            *(lineage.table(name, table["snapshot_id"], table["rows"]) for name, table in built["tables"].items()),
            lineage.table(serving.NAME, built["view"]),
        ],
    )
    bucket = urlsplit(connections.warehouse).netloc
    write_object(arguments.result or f"s3://{bucket}/results/features/{name}.json", result, connections)
    write_result(result)


def build(spark: SparkSession, days: list[dt.date], zone: ZoneInfo) -> dict[str, Any]:
    """Build all feature tables at the given cutoffs, then publish them as one view.

    Returns:
        `tables`: rows, snapshot id and seconds of each; `sources`: the snapshots that they were made from; `view`: the
        snapshot id of the published view.

    Raises:
        HistoryError: closed intervals do not cover a cutoff's past.
        LakeError: a source table is missing.
    """
    events = read_events(spark)
    cutoffs = judge_cutoffs(days, events.ledger, zone)
    summary = {
        "podium.run-id": os.environ.get("PODIUM_RUN_ID") or "manual",
        "podium.source-snapshot": str(events.snapshot_id),
    }
    bought = compute.purchases(events.rows, zone.key)
    references = {name: read_reference(spark, name) for name in ("reference.products", "reference.households")}
    products, households = (reference.rows for reference in references.values())
    made = compute.features(spark, bought, products, households, cutoffs)
    months = [str(month) for month in complete_months(events.ledger, zone)]
    demand = compute.demand(bought, products, months)
    tables = {
        INTERACTIONS.name: replace_partitions(spark, INTERACTIONS, made.interactions, summary),
        USERS.name: replace_partitions(spark, USERS, _sorted(made.users, "household_id"), summary),
        ITEMS.name: replace_partitions(spark, ITEMS, _sorted(made.items, "product_id"), summary),
        PREFERENCES.name: replace_partitions(
            spark, PREFERENCES, _sorted(made.preferences, "household_id", "department"), summary
        ),
        DEMAND.name: replace_partitions(
            spark, DEMAND, demand.coalesce(1).sortWithinPartitions("month", "day", "store_id", "department"), summary
        ),
    }
    sources = {"sales.transactions": events.snapshot_id} | {
        name: reference.snapshot_id for name, reference in references.items() if reference.snapshot_id is not None
    }
    snapshots = sources | {name: table["snapshot_id"] for name, table in tables.items()}
    return {"tables": tables, "sources": sources, "view": serving.publish(spark, snapshots, summary)}


def _sorted(rows: DataFrame, *keys: str) -> DataFrame:
    """Few rows in one file a cutoff, in order."""
    return rows.coalesce(1).sortWithinPartitions("cutoff", *keys)


if __name__ == "__main__":
    run_main(main)
