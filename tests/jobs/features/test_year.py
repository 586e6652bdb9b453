"""All features of the whole year of real purchases: Spark and DuckDB give the same answers, value by value.

Of a seeded quarter of the households, or of all of them (`--all-households`, as in `make soak`).
"""

import datetime as dt
import random
import sys
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from pyspark.sql import DataFrame, SparkSession

from include.jobs.features import compute
from include.jobs.features.history import Cutoff, next_month
from include.jobs.features.tables import DEMAND, INTERACTIONS, ITEMS, PREFERENCES, USERS
from include.jobs.shop import source
from tests.jobs.features.duck import KEYS, Shop, answer, differences, opened
from tests.services import image_environment

pytestmark = pytest.mark.slow

ALL_EVENTS, ALL_BASKETS, ALL_HOUSEHOLDS = 1_469_307, 155_848, 2_469
SEED = 5
MONTHS = [dt.date(2017, month, 1) for month in range(1, 13)]
#: As in the settings, the last one after all events.
CUTOFFS = [Cutoff(day, next_month(day), labelled=True) for day in MONTHS[7:]]
CUTOFFS.append(Cutoff(dt.date(2018, 1, 1), dt.date(2018, 2, 1), labelled=False))
TABLES = {"users": USERS, "items": ITEMS, "interactions": INTERACTIONS, "preferences": PREFERENCES, "demand": DEMAND}


@pytest.fixture(scope="module")
def shop(pytestconfig: pytest.Config) -> Shop:
    """The data package, which is in the shop's image."""
    share = 1 if pytestconfig.getoption("--all-households") else 4
    (packages,) = image_environment("shop").glob("lib/python*/site-packages")
    with pytest.MonkeyPatch.context() as patch:
        # Last, so that it brings nothing but the data.
        patch.setattr(sys, "path", [*sys.path, str(packages)])
        households = source.household_ids()
        chosen = pa.array(random.Random(SEED).sample(households, len(households) // share))
        events = source.transactions()
        return Shop(
            events.filter(pc.is_in(events["household_id"], chosen)),
            source.read("products", ("product_id", "department")),
            source.read("demographics", ("household_id", *compute.PROFILE)),
        )


@pytest.fixture(scope="module")
def made(spark: SparkSession, shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The job's tables, as Parquet files."""
    folder = tmp_path_factory.mktemp("year")

    def read(name: str, table: pa.Table) -> DataFrame:
        pq.write_table(table, folder / f"{name}.parquet")
        return spark.read.parquet(str(folder / f"{name}.parquet"))

    products, households = read("products", shop.products), read("households", shop.households)
    bought = compute.purchases(read("events", shop.events), "America/New_York")
    features = compute.features(spark, bought, products, households, CUTOFFS)
    demand = compute.demand(bought, products, [str(month) for month in MONTHS])
    paths = {}
    for name, table in TABLES.items():
        rows = demand if name == "demand" else getattr(features, name)
        paths[name] = folder / name
        rows.select(*(rows[column].cast(kind) for column, kind in table.columns.items())).write.parquet(
            str(paths[name])
        )
    spark.catalog.clearCache()
    return paths


@pytest.fixture(scope="module")
def other(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> duckdb.DuckDBPyConnection:
    """The same by DuckDB."""
    database = opened(shop)
    database.execute(f"SET temp_directory = '{tmp_path_factory.mktemp('duck')}'")
    answer(database, CUTOFFS)
    return database


def test_it_is_the_year_of_all_the_households_that_were_asked_for(
    other: duckdb.DuckDBPyConnection, pytestconfig: pytest.Config
) -> None:
    counted = other.execute(
        "SELECT count(*), count(DISTINCT basket_id), count(DISTINCT household_id) FROM events"
    ).fetchone()
    assert counted is not None
    if pytestconfig.getoption("--all-households"):
        assert counted == (ALL_EVENTS, ALL_BASKETS, ALL_HOUSEHOLDS)
    else:
        assert counted[2] == ALL_HOUSEHOLDS // 4
        assert counted[0] > ALL_EVENTS // 5
    days = other.execute("SELECT count(DISTINCT day), min(day), max(day) FROM events").fetchone()
    # Shops are closed at Christmas.
    assert days == (364, dt.date(2017, 1, 1), dt.date(2017, 12, 31))


@pytest.mark.parametrize("table", KEYS)
def test_another_engine_agrees(made: dict[str, Path], other: duckdb.DuckDBPyConnection, table: str) -> None:
    rows = other.execute(f"SELECT count(*) FROM {table}").fetchone()
    assert rows is not None
    assert rows[0] > 1_000
    assert differences(other, table, made[table]) == {}
