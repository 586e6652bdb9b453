"""The features in plain SQL, by DuckDB: another engine, other code, which must give the same answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from include.jobs.features.history import Cutoff

ZONE = "America/New_York"

_BOUGHT = """
CREATE TABLE bought AS
SELECT household_id, product_id, basket_id, store_id, day, quantity,
    CAST(round_even(sales_value * 100, 0) AS BIGINT) AS cents,
    CAST(round_even(retail_disc * 100, 0) + round_even(coupon_disc * 100, 0) + round_even(coupon_match_disc * 100, 0)
        AS BIGINT) AS discount,
    CAST(retail_disc > 0 AS INT) AS promoted
FROM events
"""

# A product counts once a basket and day, however many lines it has there.
_SEEN = """
CREATE TABLE seen AS
WITH lines AS (
    SELECT household_id, product_id, basket_id, day, sum(quantity) AS quantity, sum(cents) AS cents,
        sum(discount) AS discount, max(promoted) AS promoted
    FROM bought GROUP BY ALL
)
SELECT cutoff, label_end, labelled, lines.*, date_diff('day', day, cutoff) AS age
FROM lines JOIN cutoffs ON day < cutoff
"""

_USERS = """
CREATE TABLE users AS
WITH baskets AS (
    SELECT cutoff, household_id, basket_id, sum(cents) AS cents, sum(discount) AS discount,
        date_diff('day', day, cutoff) AS age
    FROM bought JOIN cutoffs ON day < cutoff GROUP BY cutoff, household_id, basket_id, day
),
counted AS (
    SELECT cutoff, household_id, product_id, count(*) AS purchases FROM seen GROUP BY ALL
),
products AS (
    SELECT cutoff, household_id, count(*) AS products, avg(CAST(purchases > 1 AS INT)) AS repeat_share
    FROM counted GROUP BY ALL
),
summed AS (
    SELECT cutoff, household_id, count(*) AS baskets, any_value(products) AS products, sum(cents) / 100.0 AS spend,
        sum(cents) / 100.0 / count(*) AS mean_basket_value, sum(discount) / 100.0 AS discount,
        min(age) AS days_since_last, max(age) AS days_since_first,
        CASE WHEN count(*) > 1 THEN (max(age) - min(age)) / (count(*) - 1) END AS mean_gap_days,
        count(*) FILTER (age <= 30) AS baskets_30, count(*) FILTER (age <= 90) AS baskets_90,
        coalesce(sum(cents) FILTER (age <= 90), 0) / 100.0 AS spend_90, any_value(repeat_share) AS repeat_share
    FROM baskets JOIN products USING (cutoff, household_id) GROUP BY cutoff, household_id
)
SELECT * FROM summed LEFT JOIN households USING (household_id)
"""

_ITEMS = """
CREATE TABLE items AS
WITH counted AS (
    SELECT cutoff, product_id, count(*) AS purchases FROM seen GROUP BY cutoff, product_id, household_id
),
repeats AS (
    SELECT cutoff, product_id, avg(CAST(purchases > 1 AS INT)) AS repeat_share FROM counted GROUP BY ALL
),
summed AS (
    SELECT cutoff, product_id, count(DISTINCT household_id) AS households, count(*) AS purchases,
        count(*) FILTER (age <= 30) AS purchases_30, count(*) FILTER (age <= 90) AS purchases_90,
        sum(quantity) AS quantity, sum(cents) / 100.0 AS spend,
        sum(cents) / 100.0 / greatest(sum(quantity), 1) AS price_mean,
        sum(cents) FILTER (age <= 30) / 100.0 / greatest(sum(quantity) FILTER (age <= 30), 1) AS price_30,
        CASE WHEN sum(discount) + sum(cents) = 0 THEN 0 ELSE sum(discount) / (sum(discount) + sum(cents)) END
            AS discount_share,
        avg(promoted) AS promoted_share, min(age) AS days_since_last, max(age) AS days_since_first
    FROM seen GROUP BY cutoff, product_id
)
SELECT summed.*, repeat_share, ln(((purchases_30 + 1) / 30) / ((purchases_90 - purchases_30 + 2) / 60)) AS trend,
    row_number() OVER (PARTITION BY cutoff ORDER BY households DESC, purchases DESC, product_id) AS popularity_rank
FROM summed JOIN repeats USING (cutoff, product_id)
"""

_INTERACTIONS = """
CREATE TABLE interactions AS
WITH later AS (
    SELECT DISTINCT cutoff, household_id, product_id, 1 AS bought_later
    FROM bought JOIN cutoffs ON day >= cutoff AND day < label_end WHERE labelled
)
SELECT s.cutoff, s.household_id, s.product_id, count(*) AS purchases, sum(s.quantity) AS quantity,
    sum(s.cents) / 100.0 AS spend, min(s.age) AS days_since_last, max(s.age) AS days_since_first,
    CASE WHEN count(*) > 1 THEN (max(s.age) - min(s.age)) / (count(*) - 1) END AS mean_gap_days,
    sum(0.5::DOUBLE ** (s.age / 15)) AS decay_15, sum(0.5::DOUBLE ** (s.age / 30)) AS decay_30,
    sum(0.5::DOUBLE ** (s.age / 60)) AS decay_60, sum(0.5::DOUBLE ** (s.age / 90)) AS decay_90,
    sum(0.5::DOUBLE ** (s.age / 180)) AS decay_180,
    count(*) FILTER (s.age <= 30) AS purchases_30, count(*) FILTER (s.age <= 90) AS purchases_90,
    any_value(u.baskets) AS user_baskets, any_value(u.products) AS user_products,
    any_value(u.days_since_last) AS user_days_since_last, any_value(i.households) AS item_households,
    any_value(i.purchases_30) AS item_purchases_30, any_value(i.purchases_90) AS item_purchases_90,
    any_value(i.trend) AS item_trend,
    CASE WHEN any_value(s.labelled) THEN coalesce(any_value(bought_later), 0) END AS label
FROM seen s JOIN users u USING (cutoff, household_id) JOIN items i USING (cutoff, product_id)
    LEFT JOIN later USING (cutoff, household_id, product_id)
GROUP BY s.cutoff, s.household_id, s.product_id
"""

_PREFERENCES = """
CREATE TABLE preferences AS
WITH summed AS (
    SELECT cutoff, household_id, coalesce(department, 'UNKNOWN') AS department, count(*) AS purchases,
        sum(round_even(0.5::DOUBLE ** (age / 90) * 2 ** 40, 0)) / 2 ** 40 AS decay_90
    FROM seen LEFT JOIN products USING (product_id) GROUP BY ALL
)
SELECT *, CASE WHEN sum(decay_90) OVER household > 0 THEN decay_90 / sum(decay_90) OVER household
    ELSE purchases / sum(purchases) OVER household END AS share
FROM summed WINDOW household AS (PARTITION BY cutoff, household_id)
"""

_DEMAND = """
CREATE TABLE demand AS
SELECT CAST(date_trunc('month', day) AS DATE) AS month, day, store_id, coalesce(department, 'UNKNOWN') AS department,
    sum(quantity) AS units, sum(cents) / 100.0 AS revenue, sum(discount) / 100.0 AS discount,
    count(DISTINCT (household_id, basket_id)) AS baskets
FROM bought LEFT JOIN products USING (product_id) GROUP BY ALL
"""

#: The tables and what tells their rows apart, in the order in which they are made.
KEYS = {
    "users": ("cutoff", "household_id"),
    "items": ("cutoff", "product_id"),
    "interactions": ("cutoff", "household_id", "product_id"),
    "preferences": ("cutoff", "household_id", "department"),
    "demand": ("month", "day", "store_id", "department"),
}


@dataclass(frozen=True)
class Shop:
    """What the features are made from: events as in `sales.transactions`, and the reference data."""

    events: pa.Table
    products: pa.Table
    households: pa.Table


def with_days(events: pa.Table, zone: str = ZONE) -> pa.Table:
    """The events with their local `day`: another library's idea of the time zone than Spark's."""
    local = pc.local_timestamp(events["transaction_timestamp"].cast(pa.timestamp("us", zone)))
    return events.append_column("day", local.cast(pa.date32()))


def opened(shop: Shop) -> duckdb.DuckDBPyConnection:
    """A database with the shop's `events`, `products` and `households`."""
    database = duckdb.connect()
    database.register("events", with_days(shop.events))
    database.register("products", shop.products)
    database.register("households", shop.households)
    return database


def answer(database: duckdb.DuckDBPyConnection, cutoffs: Sequence[Cutoff]) -> None:
    """Make the five tables in a database that has `events` (with `day`), `products` and `households`."""
    columns: Mapping[str, pa.Array] = {
        "cutoff": pa.array([cutoff.day for cutoff in cutoffs]),
        "label_end": pa.array([cutoff.label_end for cutoff in cutoffs]),
        "labelled": pa.array([cutoff.labelled for cutoff in cutoffs]),
    }
    database.register("cutoffs", pa.table(columns))
    for statement in (_BOUGHT, _SEEN, _USERS, _ITEMS, _INTERACTIONS, _PREFERENCES, _DEMAND):
        database.execute(statement)


def differences(database: duckdb.DuckDBPyConnection, table: str, made: Path, where: str = "true") -> dict[str, int]:
    """How many rows differ, by column, between a table here and Parquet files; `rows` that only one of them has.

    Whole numbers and texts must be equal, others to within a billionth of their size.
    """
    keys = ", ".join(KEYS[table])
    description = database.execute(f"DESCRIBE {table}").fetchall()
    ours = {name: kind for name, kind, *_ in description}
    theirs = {row[0] for row in database.execute(f"DESCRIBE SELECT * FROM '{made}/*.parquet'").fetchall()}
    assert set(ours) == theirs, set(ours) ^ theirs
    tests = []
    for name, kind in ours.items():
        differ = f"a.{name} IS DISTINCT FROM b.{name}"
        if kind == "DOUBLE" or kind.startswith("DECIMAL"):
            differ += f" AND NOT coalesce(abs(a.{name} - b.{name}) <= 1e-9 * greatest(1, abs(a.{name})), false)"
        tests.append(f"count(*) FILTER ({differ}) AS {name}")
    (ours_only, theirs_only) = (
        database.execute(f"SELECT count(*) FROM {one} ANTI JOIN {other} USING ({keys})").fetchone()[0]  # type: ignore[index]
        for one, other in (
            (f"(SELECT * FROM {table} WHERE {where})", f"'{made}/*.parquet'"),
            (f"'{made}/*.parquet'", f"(SELECT * FROM {table} WHERE {where})"),
        )
    )
    joined = f"FROM {table} a JOIN '{made}/*.parquet' b USING ({keys})"
    counts = database.execute(f"SELECT {', '.join(tests)} {joined}").fetchone() or ()
    found = dict(zip(ours, counts, strict=True)) | {"rows": ours_only + theirs_only}
    return {name: count for name, count in found.items() if count}
