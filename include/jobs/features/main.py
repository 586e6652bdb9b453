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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from include.jobs.features import compute, serving
from include.jobs.features.history import Cutoff, complete_months, judge_cutoffs
from include.jobs.features.stale import Digests, Sources, stale
from include.jobs.features.tables import (
    DEMAND,
    INTERACTIONS,
    ITEMS,
    PREFERENCES,
    TABLES,
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
    parser.add_argument(
        "--partitions", choices=("stale", "all"), default="stale", help="which to make: what is out of date, or all"
    )
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
        built = build(spark, days, ZoneInfo(arguments.timezone), anew=arguments.partitions == "all")
    finally:
        spark.stop()
    result = built | {"seconds": round(time.monotonic() - begun, 3), "cutoffs": [str(day) for day in days]}
    result |= lineage.datasets(
        [lineage.table(name, number) for name, number in built["sources"].items()],
        [
            *(
                lineage.table(name, table["snapshot_id"], table["rows"])
                for name, table in built["tables"].items()
                if table["partitions"]
            ),
            lineage.table(serving.NAME, built["view"]),
        ],
    )
    bucket = urlsplit(connections.warehouse).netloc
    write_object(arguments.result or f"s3://{bucket}/results/features/{name}.json", result, connections)
    write_result(result)


def build(spark: SparkSession, days: list[dt.date], zone: ZoneInfo, *, anew: bool = False) -> dict[str, Any]:
    """Bring all feature tables up to date at the given cutoffs, then publish them as one view.

    Only the partitions that are stale are made, or with `anew` all of them.

    Returns:
        `tables`: what was written of each; `sources`: the snapshots that they were made from; `view`: the snapshot id
        of the published view.

    Raises:
        HistoryError: closed intervals do not cover a cutoff's past.
        LakeError: a source table is missing.
    """
    events = read_events(spark)
    cutoffs = judge_cutoffs(days, events.ledger, zone)
    months = complete_months(events.ledger, zone)
    summary = {
        "podium.run-id": os.environ.get("PODIUM_RUN_ID") or "manual",
        "podium.source-snapshot": str(events.snapshot_id),
    }
    references = {name: read_reference(spark, name) for name in ("reference.products", "reference.households")}
    bought = compute.purchases(events.rows, zone.key)
    inputs = _Inputs(bought, *(reference.rows for reference in references.values()))
    wanted = inputs.digests(cutoffs, months)
    known = serving.intact(spark, serving.published(spark)).made_from
    due = stale(wanted, {} if anew else known)
    frames = _frames(spark, inputs, cutoffs, due)
    tables = {
        table.name: replace_partitions(spark, table, frames.get(table.name), due[table.name], summary)
        for table in TABLES
    }
    sources = {"sales.transactions": events.snapshot_id} | {
        name: reference.snapshot_id for name, reference in references.items() if reference.snapshot_id is not None
    }
    view = serving.View(
        sources | {name: table["snapshot_id"] for name, table in tables.items()},
        {name: {**known.get(name, {}), **partitions} for name, partitions in wanted.items()},
    )
    return {"tables": tables, "sources": sources, "view": serving.publish(spark, view, summary)}


@dataclass(frozen=True, slots=True)
class _Inputs:
    """What the features are made from."""

    bought: DataFrame
    products: DataFrame
    households: DataFrame

    def digests(self, cutoffs: Sequence[Cutoff], months: Sequence[dt.date]) -> Digests:
        return Sources(
            days=compute.digests(self.bought, "day"),
            products=compute.digests(self.products.select("product_id", "department"))[None],
            households=compute.digests(self.households.select("household_id", *compute.PROFILE))[None],
        ).digests(cutoffs, months)


def _frames(
    spark: SparkSession, inputs: _Inputs, cutoffs: Sequence[Cutoff], due: Mapping[str, Sequence[dt.date]]
) -> dict[str, DataFrame]:
    """The rows of the partitions that are due, of each table that has any."""
    frames = {}
    if due[DEMAND.name]:
        demand = compute.demand(inputs.bought, inputs.products, [str(month) for month in due[DEMAND.name]])
        frames[DEMAND.name] = demand.coalesce(1).sortWithinPartitions("month", "day", "store_id", "department")
    days = {day for table in (INTERACTIONS, USERS, ITEMS, PREFERENCES) for day in due[table.name]}
    if days:
        made = compute.features(
            spark,
            inputs.bought,
            inputs.products,
            inputs.households,
            [cutoff for cutoff in cutoffs if cutoff.day in days],
        )
        frames |= {
            INTERACTIONS.name: made.interactions,
            USERS.name: _sorted(made.users, "household_id"),
            ITEMS.name: _sorted(made.items, "product_id"),
            PREFERENCES.name: _sorted(made.preferences, "household_id", "department"),
        }
    # What is computed for one table's sake need not be due in another.
    for name in [name for name in frames if name != DEMAND.name and set(due[name]) != days]:
        frames[name] = frames[name].where(F.col("cutoff").isin(*due[name]))
    return {name: frame for name, frame in frames.items() if due[name]}


def _sorted(rows: DataFrame, *keys: str) -> DataFrame:
    """Few rows in one file a cutoff, in order."""
    return rows.coalesce(1).sortWithinPartitions("cutoff", *keys)


if __name__ == "__main__":
    run_main(main)
