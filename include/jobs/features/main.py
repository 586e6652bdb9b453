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
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from include.jobs.features import compute, serving
from include.jobs.features.history import Cutoff, complete_months, judge_cutoffs, midnight, next_month
from include.jobs.features.parts import Part, Sums, mark, of_days
from include.jobs.features.seen import keep, seen
from include.jobs.features.serving import View
from include.jobs.features.sources import EVENTS, HOUSEHOLDS, PRODUCTS, Events, Source, read_events, read_reference
from include.jobs.features.stale import Sources, stale
from include.jobs.features.tables import (
    BUILD,
    DEMAND,
    INTERACTIONS,
    ITEMS,
    PREFERENCES,
    TABLES,
    USERS,
    replace_partitions,
    snapshot_of,
)
from include.jobs.lake import lineage
from include.jobs.lake.command_line import Parser
from include.jobs.lake.connections import Connections
from include.jobs.lake.errors import run_main
from include.jobs.lake.result import write_object, write_result
from include.jobs.lake.spark import lake_session


def main() -> None:
    """Parse the command line, build the tables, leave the result."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
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
        [lineage.table(name, number, built["source_rows"][name]) for name, number in built["sources"].items()],
        [
            *(
                lineage.table(name, table["snapshot_id"], table["rows"])
                for name, table in built["tables"].items()
                if table["partitions"]
            ),
            *([lineage.table(serving.NAME, built["view"])] if built["changed"] else []),
        ],
    )
    bucket = urlsplit(connections.warehouse).netloc
    write_object(arguments.result or f"s3://{bucket}/results/features/{name}.json", result, connections)
    write_result(result)


def build(spark: SparkSession, days: list[dt.date], zone: ZoneInfo, *, anew: bool = False) -> dict[str, Any]:
    """Bring all feature tables up to date at the given cutoffs, then publish them as one view.

    Only the partitions that are stale are made, or with `anew` all of them; and of the events only the intervals are
    read that have changed, and what the stale partitions see. Where none was made, what is published stays.

    Returns:
        `tables`: what was written of each; `sources`: the snapshots that they were made from, `source_rows` how many
        rows these have; `intervals_read`: how many intervals of the events were looked through for changes; `view`: the
        snapshot id of the published view; `changed`: whether it was published by this build.

    Raises:
        HistoryError: closed intervals do not cover a cutoff's past.
        LakeError: a source table is missing.
        OverlappingBuildError: another build, or an erasure, has changed the features meanwhile.
    """
    base = serving.published(spark)
    since = {table.name: snapshot_of(spark, table.name) for table in TABLES}
    intact = serving.intact(spark, base)
    known = View({}, {}) if anew else intact
    events = read_events(spark)
    cutoffs = judge_cutoffs(days, events.ledger, zone)
    months = complete_months(events.ledger, zone)
    references = {name: read_reference(spark, name) for name in (PRODUCTS, HOUSEHOLDS)}
    products, households = (references[name].rows for name in (PRODUCTS, HOUSEHOLDS))
    before = {} if anew else seen(spark)
    looked = _look(events, before, zone)
    if looked.parts != before:
        keep(spark, looked.parts)
    wanted = Sources(
        days=of_days(looked.parts.values()),
        products=_content(products.select("product_id", "department")),
        households=_content(households.select("household_id", *compute.PROFILE)),
    ).digests(cutoffs, months)
    due = stale(wanted, known.made_from)
    inputs = _Inputs(looked.all_of_them, products, households)
    if inputs.bought is None and any(due.values()):
        inputs = replace(inputs, bought=compute.purchases(events.within(_seen(due, cutoffs, zone)), zone.key))
    summary = {
        "podium.run-id": os.environ.get("PODIUM_RUN_ID") or "manual",
        "podium.source-snapshot": str(events.snapshot_id),
        BUILD: uuid.uuid4().hex,
    }
    frames = _frames(spark, inputs, cutoffs, due)
    tables = {
        table.name: replace_partitions(
            spark, table, frames.get(table.name), due[table.name], summary, since[table.name]
        )
        for table in TABLES
    }
    read: dict[str, Source] = {EVENTS: events, **references}
    sources = {name: source.snapshot_id for name, source in read.items() if source.snapshot_id is not None}
    made = View(
        {**sources, **{name: table["snapshot_id"] for name, table in tables.items()}},
        {name: {**intact.made_from.get(name, {}), **partitions} for name, partitions in wanted.items()},
    )
    # Sources that hold the same under another snapshot make nothing new.
    changed = base.snapshot_id is None or any(due.values()) or intact.made_from != base.made_from
    return {
        "tables": tables,
        "sources": sources,
        "source_rows": {name: read[name].count for name in sources},
        "intervals_read": looked.read,
        "view": serving.publish(spark, made if changed else base, base, summary),
        "changed": changed,
    }


@dataclass(frozen=True, slots=True)
class _Looked:
    """What the intervals of the events hold, how many were read for that, and the purchases when it was all of them."""

    parts: Mapping[int, Part]
    read: int
    all_of_them: DataFrame | None


def _look(events: Events, known: Mapping[int, Part], zone: ZoneInfo) -> _Looked:
    """Look through the intervals that are not as they were."""
    marks = {interval: mark(files, zone.key) for interval, files in events.files.items()}
    parts = {interval: part for interval, part in known.items() if marks.get(interval) == part.mark}
    changed = [interval for interval in marks if interval not in parts]
    if not changed and marks:
        return _Looked(parts, 0, None)
    everything = len(changed) == len(marks)
    rows = events.rows if everything else events.of(changed)
    bought = compute.purchases(rows.withColumn("interval", F.unix_micros("interval_start")), zone.key, "interval")
    days: dict[int, dict[dt.date, Sums]] = {interval: {} for interval in changed}
    for (interval, day), sums in compute.sums(bought, "interval", "day", unseen=["interval"]).items():
        days[interval][day] = sums
    parts |= {interval: Part(marks[interval], found) for interval, found in days.items()}
    if not everything:
        bought.unpersist()
    return _Looked(parts, len(changed), bought if everything else None)


def _content(rows: DataFrame) -> str:
    (sums,) = compute.sums(rows).values()
    return ":".join(map(str, sums))


def _seen(
    due: Mapping[str, Sequence[dt.date]], cutoffs: Sequence[Cutoff], zone: ZoneInfo
) -> list[tuple[dt.datetime | None, dt.datetime]]:
    """The spans of time whose purchases the partitions that are due are made from."""
    spans: list[tuple[dt.datetime | None, dt.datetime]] = [
        (midnight(month, zone), midnight(next_month(month), zone)) for month in due[DEMAND.name]
    ]
    days = {day for name, partitions in due.items() if name != DEMAND.name for day in partitions}
    ends = [midnight(cutoff.label_end, zone) for cutoff in cutoffs if cutoff.day in days]
    return [*spans, (None, max(ends))] if ends else spans


@dataclass(frozen=True, slots=True)
class _Inputs:
    """What the features are made from; no purchases where nothing is due."""

    bought: DataFrame | None
    products: DataFrame
    households: DataFrame


def _frames(
    spark: SparkSession, inputs: _Inputs, cutoffs: Sequence[Cutoff], due: Mapping[str, Sequence[dt.date]]
) -> dict[str, DataFrame]:
    """The rows of the partitions that are due, of each table that has any."""
    frames: dict[str, DataFrame] = {}
    if inputs.bought is None:
        return frames
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
