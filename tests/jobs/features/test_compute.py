"""The features of a made-up shop, which has what is hard, against another engine; what they see, and in what order."""

import datetime as dt
import random
import re
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, SparkSession

from include.jobs.features import compute
from include.jobs.features.history import Cutoff
from include.jobs.features.tables import INTERACTIONS
from tests.jobs.features.duck import KEYS, Shop, answer, differences, opened
from tests.jobs.features.shop import ZONE, frame, purchases

CUTOFFS = [
    Cutoff(dt.date(2017, 3, 1), dt.date(2017, 4, 1), labelled=True),
    Cutoff(dt.date(2017, 4, 1), dt.date(2017, 5, 1), labelled=True),
    Cutoff(dt.date(2017, 6, 1), dt.date(2017, 7, 1), labelled=False),
]
MONTHS = ["2017-01-01", "2017-02-01", "2017-03-01"]
ROWS = purchases()
# Product 25 has no department, product 24 is unknown; most households told nothing of themselves.
DEPARTMENTS = [(number, None if number == 25 else f"D{number % 3}") for number in range(1, 26) if number != 24]
PROFILES = [(number, *(f"{name} {number % 2}" for name in compute.PROFILE)) for number in (1, 2, 3)]


def products(spark: SparkSession) -> DataFrame:
    return spark.createDataFrame(DEPARTMENTS, "product_id bigint, department string")


def households(spark: SparkSession) -> DataFrame:
    columns = ", ".join(f"{name} string" for name in compute.PROFILE)
    return spark.createDataFrame(PROFILES, f"household_id bigint, {columns}")


def features(spark: SparkSession, events: DataFrame, cutoffs: list[Cutoff]) -> dict[str, DataFrame]:
    """The features by their table."""
    bought = compute.purchases(events, ZONE.key)
    made = compute.features(spark, bought, products(spark), households(spark), cutoffs)
    names = ("users", "items", "interactions", "preferences")
    tables = {name: getattr(made, name) for name in names}
    tables["interactions"] = tables["interactions"].select(*INTERACTIONS.columns)
    return tables | {"demand": compute.demand(bought, products(spark), MONTHS)}


@pytest.fixture(scope="module")
def made(spark: SparkSession) -> dict[str, DataFrame]:
    return features(spark, frame(spark, ROWS), CUTOFFS)


def test_purchases_are_spread_by_household_once(made: dict[str, DataFrame]) -> None:
    """Nothing that is computed by household moves them again."""
    java: Any = made["interactions"]._jdf
    shuffles = re.findall(r"Exchange hashpartitioning\(([^)]*)\)", java.queryExecution().executedPlan().toString())
    assert any(shuffle.startswith("household_id#") for shuffle in shuffles), "the plan shows its shuffles"
    assert not [shuffle for shuffle in shuffles if "basket_id#" in shuffle]
    of_pairs = [shuffle for shuffle in shuffles if "household_id#" in shuffle and "product_id#" in shuffle]
    assert not of_pairs, of_pairs


@pytest.fixture(scope="module")
def other() -> duckdb.DuckDBPyConnection:
    """The same shop in DuckDB."""
    names = ["product_id", "department"]
    reference = pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in DEPARTMENTS])
    names = ["household_id", *compute.PROFILE]
    told = pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in PROFILES])
    database = opened(Shop(pa.Table.from_pylist(ROWS), reference, told))
    answer(database, CUTOFFS)
    return database


@pytest.mark.parametrize("table", KEYS)
def test_another_engine_agrees(
    made: dict[str, DataFrame], other: duckdb.DuckDBPyConnection, table: str, tmp_path: Path
) -> None:
    made[table].write.parquet(str(tmp_path / table))
    where = "month < DATE '2017-04-01'" if table == "demand" else "true"
    assert differences(other, table, tmp_path / table, where) == {}


def test_all_kinds_of_labels_and_profiles_are_there(other: duckdb.DuckDBPyConnection) -> None:
    labels = other.execute("SELECT DISTINCT cutoff, label FROM interactions ORDER BY ALL").fetchall()
    assert [(str(cutoff), label) for cutoff, label in labels] == [
        *(("2017-03-01", label) for label in (0, 1)),
        *(("2017-04-01", label) for label in (0, 1)),
        ("2017-06-01", None),
    ]
    assert other.execute("SELECT count(DISTINCT age) FROM users WHERE age IS NOT NULL").fetchone() == (2,)
    assert other.execute("SELECT count(*) > 0 FROM items WHERE price_30 IS NULL").fetchone() is not None


def test_the_future_does_not_show(spark: SparkSession, made: dict[str, DataFrame]) -> None:
    """Without anything from a cutoff on, all but the label is the same."""
    cutoff = CUTOFFS[0]
    past = [row for row in ROWS if row["transaction_timestamp"].astimezone(ZONE).date() < cutoff.day]
    again = features(spark, frame(spark, past), [cutoff])
    for table in ("users", "items", "interactions", "preferences"):
        names = [name for name in again[table].columns if name != "label"]
        full = rows(made[table].where(f"cutoff = DATE'{cutoff.day}'").select(*names))
        assert full == rows(again[table].select(*names))


def test_the_order_of_the_events_does_not_matter(spark: SparkSession, made: dict[str, DataFrame]) -> None:
    """To the last bit: sums are of whole numbers."""
    shuffled = list(ROWS)
    random.Random(1).shuffle(shuffled)
    again = features(spark, frame(spark, shuffled).repartition(7, "basket_id"), CUTOFFS)
    for table, first in made.items():
        assert rows(first) == rows(again[table].select(*first.columns))


def rows(found: DataFrame) -> list[Any]:
    return sorted(found.collect(), key=str)
