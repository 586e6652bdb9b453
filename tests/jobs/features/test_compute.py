"""The features against another engine: SQLite, in plain SQL over the same made-up shop."""

import datetime as dt
import math
import random
import sqlite3
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from include.jobs.features import compute
from include.jobs.features.history import Cutoff
from tests.jobs.features.shop import ZONE, frame, purchases

CUTOFFS = [
    Cutoff(dt.date(2017, 3, 1), dt.date(2017, 4, 1), labelled=True),
    Cutoff(dt.date(2017, 4, 1), dt.date(2017, 5, 1), labelled=True),
    Cutoff(dt.date(2017, 6, 1), dt.date(2017, 7, 1), labelled=False),
]

SEEN = """
WITH lines AS (
    SELECT household_id, product_id, basket_id, min(day) AS day, sum(quantity) AS quantity, sum(cents) AS cents
    FROM bought GROUP BY household_id, product_id, basket_id
),
seen AS (
    SELECT c.cutoff, l.*, CAST(julianday(c.cutoff) - julianday(l.day) AS INTEGER) AS age
    FROM lines l JOIN cutoffs c ON l.day < c.cutoff
),
baskets AS (
    SELECT c.cutoff, household_id, basket_id, sum(cents) AS cents, sum(discount) AS discount,
        CAST(julianday(c.cutoff) - julianday(min(day)) AS INTEGER) AS age
    FROM bought b JOIN cutoffs c ON b.day < c.cutoff GROUP BY c.cutoff, household_id, basket_id
),
pairs AS (
    SELECT cutoff, household_id, product_id, count(*) AS purchases FROM seen
    GROUP BY cutoff, household_id, product_id
),
users AS (
    SELECT cutoff, household_id, count(*) AS baskets, sum(cents) / 100.0 AS spend,
        sum(cents) / 100.0 / count(*) AS mean_basket_value, sum(discount) / 100.0 AS discount,
        min(age) AS days_since_last, max(age) AS days_since_first,
        CASE WHEN count(*) > 1 THEN (max(age) - min(age)) * 1.0 / (count(*) - 1) END AS mean_gap_days,
        sum(age <= 30) AS baskets_30, sum(age <= 90) AS baskets_90,
        sum(CASE WHEN age <= 90 THEN cents ELSE 0 END) / 100.0 AS spend_90,
        (SELECT count(*) FROM pairs p WHERE p.cutoff = b.cutoff AND p.household_id = b.household_id) AS products,
        (SELECT avg(purchases > 1) FROM pairs p WHERE p.cutoff = b.cutoff AND p.household_id = b.household_id)
            AS repeat_share
    FROM baskets b GROUP BY cutoff, household_id
),
counted AS (
    SELECT cutoff, product_id, count(DISTINCT household_id) AS households, count(*) AS purchases,
        sum(age <= 30) AS purchases_30, sum(age <= 90) AS purchases_90, sum(quantity) AS quantity,
        sum(cents) / 100.0 AS spend, sum(cents) / 100.0 / max(sum(quantity), 1) AS price_mean,
        min(age) AS days_since_last, max(age) AS days_since_first
    FROM seen GROUP BY cutoff, product_id
),
items AS (
    SELECT *, row_number() OVER (PARTITION BY cutoff ORDER BY households DESC, purchases DESC, product_id)
            AS popularity_rank,
        logarithm(((purchases_30 + 1) / 30.0) / ((purchases_90 - purchases_30 + 2) / 60.0)) AS trend,
        (SELECT avg(purchases > 1) FROM pairs p WHERE p.cutoff = c.cutoff AND p.product_id = c.product_id)
            AS repeat_share
    FROM counted c
)
"""

INTERACTIONS = """
SELECT s.cutoff, s.household_id, s.product_id, count(*) AS purchases, sum(s.quantity) AS quantity,
    sum(s.cents) / 100.0 AS spend, min(s.age) AS days_since_last, max(s.age) AS days_since_first,
    CASE WHEN count(*) > 1 THEN (max(s.age) - min(s.age)) * 1.0 / (count(*) - 1) END AS mean_gap_days,
    sum(half(s.age, 15)) AS decay_15, sum(half(s.age, 30)) AS decay_30, sum(half(s.age, 60)) AS decay_60,
    sum(half(s.age, 90)) AS decay_90, sum(half(s.age, 180)) AS decay_180,
    sum(s.age <= 30) AS purchases_30, sum(s.age <= 90) AS purchases_90,
    u.baskets AS user_baskets, u.products AS user_products, u.days_since_last AS user_days_since_last,
    i.households AS item_households, i.purchases_30 AS item_purchases_30, i.purchases_90 AS item_purchases_90,
    i.trend AS item_trend,
    CASE WHEN c.labelled THEN EXISTS (
        SELECT 1 FROM bought b WHERE b.household_id = s.household_id AND b.product_id = s.product_id
            AND b.day >= s.cutoff AND b.day < c.label_end) END AS label
FROM seen s JOIN cutoffs c USING (cutoff) JOIN users u USING (cutoff, household_id)
    JOIN items i USING (cutoff, product_id)
GROUP BY s.cutoff, s.household_id, s.product_id
"""

DEMAND = """
SELECT date(day, 'start of month') AS month, day, store_id, coalesce(d.department, 'UNKNOWN') AS department,
    sum(quantity) AS units, sum(cents) / 100.0 AS revenue, sum(discount) / 100.0 AS discount,
    count(DISTINCT basket_id) AS baskets
FROM bought LEFT JOIN products d USING (product_id)
WHERE day < '2017-04-01'
GROUP BY day, store_id, coalesce(d.department, 'UNKNOWN')
"""

ROWS = purchases()
# Product 25 has no department, product 24 is unknown.
DEPARTMENTS = [(number, None if number == 25 else f"D{number % 3}") for number in range(1, 26) if number != 24]


@pytest.fixture(scope="module")
def other() -> sqlite3.Connection:
    """The same shop in SQLite."""
    database = sqlite3.connect(":memory:")
    database.create_function("half", 2, lambda age, half_life: 0.5 ** (age / half_life), deterministic=True)
    database.create_function("logarithm", 1, math.log, deterministic=True)
    database.execute(
        "CREATE TABLE bought (household_id, product_id, basket_id, store_id, day, quantity, cents, discount)"
    )
    for row in ROWS:
        day = row["transaction_timestamp"].astimezone(ZONE).date().isoformat()
        discount = sum(round(row[name] * 100) for name in ("retail_disc", "coupon_disc", "coupon_match_disc"))
        values = (row["household_id"], row["product_id"], row["basket_id"], row["store_id"], day, row["quantity"])
        database.execute(
            "INSERT INTO bought VALUES (?,?,?,?,?,?,?,?)", (*values, round(row["sales_value"] * 100), discount)
        )
    database.execute("CREATE TABLE cutoffs (cutoff, label_end, labelled)")
    for cutoff in CUTOFFS:
        values = (cutoff.day.isoformat(), cutoff.label_end.isoformat(), cutoff.labelled)
        database.execute("INSERT INTO cutoffs VALUES (?,?,?)", values)
    database.execute("CREATE TABLE products (product_id, department)")
    database.executemany("INSERT INTO products VALUES (?,?)", DEPARTMENTS)
    return database


def answers(database: sqlite3.Connection, query: str) -> list[dict[str, Any]]:
    cursor = database.execute(query)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def agree(made: DataFrame, expected: list[dict[str, Any]], keys: list[str]) -> None:
    """Same rows, same columns; whole numbers equal, others to within a billionth."""
    names = list(expected[0])
    rows = [row.asDict() for row in made.select(*names).collect()]

    def by_key(row: dict[str, Any]) -> tuple[str, ...]:
        return tuple(str(row[key]).rjust(12) for key in keys)

    rows.sort(key=by_key)
    expected.sort(key=by_key)
    assert [by_key(row) for row in rows] == [by_key(row) for row in expected]
    for got, want in zip(rows, expected, strict=True):
        for name in names:
            found = str(got[name]) if isinstance(got[name], dt.date) else got[name]
            assert found == want[name] or found == pytest.approx(want[name], abs=1e-9), (name, got, want)


@pytest.fixture(scope="module")
def bought(spark: SparkSession) -> DataFrame:
    return compute.purchases(frame(spark, ROWS), ZONE.key)


@pytest.fixture(scope="module")
def made(spark: SparkSession, bought: DataFrame) -> compute.Features:
    return compute.features(spark, bought, CUTOFFS)


def test_interactions_agree(made: compute.Features, other: sqlite3.Connection) -> None:
    expected = answers(other, SEEN + INTERACTIONS)
    assert {row["label"] for row in expected} == {0, 1, None}
    agree(made.interactions, expected, ["cutoff", "household_id", "product_id"])


def test_users_agree(made: compute.Features, other: sqlite3.Connection) -> None:
    agree(made.users, answers(other, SEEN + "SELECT * FROM users"), ["cutoff", "household_id"])


def test_items_agree(made: compute.Features, other: sqlite3.Connection) -> None:
    agree(made.items, answers(other, SEEN + "SELECT * FROM items"), ["cutoff", "product_id"])


def test_demand_agrees(spark: SparkSession, bought: DataFrame, other: sqlite3.Connection) -> None:
    products = spark.createDataFrame(DEPARTMENTS, "product_id bigint, department string")
    demand = compute.demand(bought, products, ["2017-01-01", "2017-02-01", "2017-03-01"])
    agree(demand, answers(other, DEMAND), ["month", "day", "store_id", "department"])


def test_the_future_does_not_show(spark: SparkSession, made: compute.Features) -> None:
    """Without anything from a cutoff on, all but the label is the same."""
    cutoff = CUTOFFS[0]
    past = [row for row in ROWS if row["transaction_timestamp"].astimezone(ZONE).date() < cutoff.day]
    again = compute.features(spark, compute.purchases(frame(spark, past), ZONE.key), [cutoff])
    for before, after in (
        (made.interactions, again.interactions),
        (made.users, again.users),
        (made.items, again.items),
    ):
        names = [name for name in before.columns if name != "label"]
        full = sorted(before.where(f"cutoff = DATE'{cutoff.day}'").select(*names).collect(), key=str)
        assert full == sorted(after.select(*names).collect(), key=str)


def test_the_order_of_the_events_does_not_matter(spark: SparkSession, made: compute.Features) -> None:
    """To the last bit: sums are of whole numbers."""
    shuffled = list(ROWS)
    random.Random(1).shuffle(shuffled)
    events = frame(spark, shuffled).repartition(7, "basket_id")
    again = compute.features(spark, compute.purchases(events, ZONE.key), CUTOFFS)
    for name in ("interactions", "users", "items"):
        first, second = getattr(made, name), getattr(again, name)
        assert sorted(first.collect(), key=str) == sorted(second.select(*first.columns).collect(), key=str)
