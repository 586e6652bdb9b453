"""The features. Pure: DataFrames in, DataFrames out, the same rows whatever the order of the input.

Point in time: a row of cutoff `c` sees purchases of local days strictly before `c`; only `label` looks ahead.
Sums are taken over whole numbers (cents, weights in fixed point), because sums of floats depend on their order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from include.jobs.features.history import Cutoff

HALF_LIVES = (15, 30, 60, 90, 180)
#: What households told of themselves; few did.
PROFILE = ("age", "income", "home_ownership", "marital_status", "household_size", "household_comp", "kids_count")
_UNKNOWN = "UNKNOWN"
#: Weights are summed as multiples of this.
_FIXED_POINT = 2**40


@dataclass(frozen=True, slots=True)
class Features:
    """The feature tables, lazily."""

    users: DataFrame
    items: DataFrame
    interactions: DataFrame
    preferences: DataFrame


def purchases(events: DataFrame, timezone: str, *kept: str) -> DataFrame:
    """Events of `sales.transactions` as purchases: whole numbers, and the local day as `day`; and the columns `kept`.

    Spread by household: all work by household then needs no further shuffle. They are computed and kept in the cache.
    """
    bought = events.select(
        "household_id",
        "product_id",
        "basket_id",
        "store_id",
        F.to_date(F.from_utc_timestamp("transaction_timestamp", timezone)).alias("day"),
        "quantity",
        _cents("sales_value").alias("cents"),
        (_cents("retail_disc") + _cents("coupon_disc") + _cents("coupon_match_disc")).alias("discount_cents"),
        (F.col("retail_disc") > 0).cast("int").alias("promoted"),
        *kept,
    ).repartition("household_id")
    # Spark knows how cached rows are spread only once they are there: whatever is planned before shuffles them again.
    bought.persist().count()
    return bought


def sums(rows: DataFrame, *by: str, unseen: Sequence[str] = ()) -> dict[tuple[Any, ...], tuple[int, int, int]]:
    """What the rows of each group hold, by its key: their number, and sums of hashes of all columns but `unseen`.

    The order of rows does not matter, and the sums of several groups are those of all of them together.
    """
    names = [name for name in rows.columns if name not in unseen]
    # A null leaves xxhash64 as it is: whether a column is null is hashed beside it.
    number = F.xxhash64(*names, *(F.isnull(name) for name in names))
    # In halves, whose sums stay below 2**63.
    halves = F.sum(number.bitwiseAND(2**32 - 1)), F.sum(F.shiftright(number, 32))
    found = rows.groupBy(*by).agg(F.count("*"), *(F.coalesce(half, F.lit(0)) for half in halves))
    return {tuple(row[: len(by)]): tuple(row[len(by) :]) for row in found.collect()}


def features(
    spark: SparkSession, bought: DataFrame, products: DataFrame, households: DataFrame, cutoffs: Sequence[Cutoff]
) -> Features:
    """All but demand at each cutoff, from `purchases` and the reference data; what tables share stays in the cache."""
    days = _calendar(spark, bought, cutoffs)
    pairs = _pairs(bought, days).persist()
    users = _users(bought, pairs, days).persist()
    items = _items(pairs).persist()
    profiles = users.join(F.broadcast(households.select("household_id", *PROFILE)), "household_id", "left")
    return Features(profiles, items, _interactions(pairs, users, items), _preferences(pairs, products))


def demand(bought: DataFrame, products: DataFrame, months: Sequence[str]) -> DataFrame:
    """Units and revenue per local day, store and department, of the given months (ISO first days)."""
    return (
        _with_department(bought.withColumn("month", F.trunc("day", "month")), products)
        .where(F.col("month").isin([F.lit(month).cast("date") for month in months]))
        # By basket first: counting baskets then needs no distinct, and the household keeps it free of a shuffle.
        .groupBy("household_id", "basket_id", "month", "day", "store_id", "department")
        .agg(*(F.sum(name).alias(name) for name in ("quantity", "cents", "discount_cents")))
        .groupBy("month", "day", "store_id", "department")
        .agg(
            F.sum("quantity").alias("units"),
            (F.sum("cents") / 100).alias("revenue"),
            (F.sum("discount_cents") / 100).alias("discount"),
            F.count("*").alias("baskets"),
        )
    )


def _with_department(rows: DataFrame, products: DataFrame) -> DataFrame:
    departments = products.select("product_id", "department")
    return rows.join(F.broadcast(departments), "product_id", "left").fillna(_UNKNOWN, ["department"])


def _calendar(spark: SparkSession, bought: DataFrame, cutoffs: Sequence[Cutoff]) -> DataFrame:
    """What every day means to every cutoff: a few thousand rows, so that nothing is computed a purchase.

    `past` is 1 before the cutoff and 0 in the label month; `age` (days) and what follows from it are null and 0 in
    the label month. `label` is 1 there, 0 before, and null where the label month is not complete.
    """
    rows = ", ".join(
        f"(DATE'{cutoff.day}', DATE'{cutoff.label_end}', {str(cutoff.labelled).lower()})" for cutoff in cutoffs
    )
    wanted = spark.sql(f"SELECT * FROM VALUES {rows} AS t(cutoff, label_end, labelled)")
    past = F.col("day") < F.col("cutoff")
    aged = (
        bought.select("day")
        .distinct()
        .join(F.broadcast(wanted), F.col("day") < F.col("label_end"))
        .withColumn("age", F.when(past, F.datediff("cutoff", "day")))
    )
    return F.broadcast(
        aged.select(
            "day",
            "cutoff",
            "age",
            past.cast("int").alias("past"),
            F.coalesce(F.col("age") <= 30, F.lit(False)).cast("int").alias("past_30"),
            F.coalesce(F.col("age") <= 90, F.lit(False)).cast("int").alias("past_90"),
            F.when(F.col("labelled"), (~past).cast("int")).alias("label"),
            *(_weight(half_life).alias(f"weight_{half_life}") for half_life in HALF_LIVES),
        )
    )


def _pairs(bought: DataFrame, days: DataFrame) -> DataFrame:
    """One row per cutoff, household and product bought before it: what these two alone tell."""
    # A product counts once a basket, however many lines it has there; what is of another day may be of the future.
    lines = bought.groupBy("household_id", "product_id", "basket_id", "day").agg(
        *(F.sum(name).alias(name) for name in ("quantity", "cents", "discount_cents")),
        F.max("promoted").alias("promoted"),
    )
    return (
        lines.join(days, "day")
        .groupBy("cutoff", "household_id", "product_id")
        .agg(
            F.sum("past").cast("int").alias("purchases"),
            F.sum(F.col("quantity") * F.col("past")).alias("quantity"),
            F.sum(F.col("cents") * F.col("past")).alias("cents"),
            F.sum(F.col("discount_cents") * F.col("past")).alias("discount_cents"),
            F.sum(F.col("promoted") * F.col("past")).alias("promoted"),
            F.sum(F.col("quantity") * F.col("past_30")).alias("quantity_30"),
            F.sum(F.col("cents") * F.col("past_30")).alias("cents_30"),
            F.min("age").alias("days_since_last"),
            F.max("age").alias("days_since_first"),
            *((F.sum(f"weight_{half}") / _FIXED_POINT).alias(f"decay_{half}") for half in HALF_LIVES),
            F.sum("weight_90").alias("weight_90"),
            F.sum("past_30").cast("int").alias("purchases_30"),
            F.sum("past_90").cast("int").alias("purchases_90"),
            F.max("label").alias("label"),
        )
        .where("purchases > 0")
        # Sorted here, while rows are narrow; the joins and the write keep the order.
        .sortWithinPartitions("cutoff", "household_id", "product_id")
    )


def _users(bought: DataFrame, pairs: DataFrame, days: DataFrame) -> DataFrame:
    baskets = bought.groupBy("household_id", "basket_id", "day").agg(
        F.sum("cents").alias("cents"), F.sum("discount_cents").alias("discount_cents")
    )
    of_baskets = (
        baskets.join(days.where("past = 1"), "day")
        .groupBy("cutoff", "household_id")
        .agg(
            F.count("*").cast("int").alias("baskets"),
            (F.sum("cents") / 100).alias("spend"),
            (F.sum("cents") / F.count("*") / 100).alias("mean_basket_value"),
            (F.sum("discount_cents") / 100).alias("discount"),
            F.min("age").alias("days_since_last"),
            F.max("age").alias("days_since_first"),
            F.sum("past_30").cast("int").alias("baskets_30"),
            F.sum("past_90").cast("int").alias("baskets_90"),
            (F.sum(F.col("cents") * F.col("past_90")) / 100).alias("spend_90"),
        )
    )
    of_pairs = pairs.groupBy("cutoff", "household_id").agg(
        F.count("*").cast("int").alias("products"),
        (F.count_if(F.col("purchases") > 1) / F.count("*")).alias("repeat_share"),
    )
    return of_baskets.join(of_pairs, ["cutoff", "household_id"]).withColumn("mean_gap_days", _mean_gap("baskets"))


def _items(pairs: DataFrame) -> DataFrame:
    of_pairs = pairs.groupBy("cutoff", "product_id").agg(
        F.count("*").cast("int").alias("households"),
        F.sum("purchases").cast("int").alias("purchases"),
        F.sum("purchases_30").cast("int").alias("purchases_30"),
        F.sum("purchases_90").cast("int").alias("purchases_90"),
        F.sum("quantity").alias("quantity"),
        (F.sum("cents") / 100).alias("spend"),
        _price("cents", "quantity").alias("price_mean"),
        F.when(F.sum("purchases_30") > 0, _price("cents_30", "quantity_30")).alias("price_30"),
        _share("discount_cents", "cents").alias("discount_share"),
        (F.sum("promoted") / F.sum("purchases")).alias("promoted_share"),
        (F.count_if(F.col("purchases") > 1) / F.count("*")).alias("repeat_share"),
        F.min("days_since_last").alias("days_since_last"),
        F.max("days_since_first").alias("days_since_first"),
    )
    # Ties are broken by number, so that ranks are the same in every run.
    by_popularity = Window.partitionBy("cutoff").orderBy(F.desc("households"), F.desc("purchases"), "product_id")
    return of_pairs.withColumn("popularity_rank", F.row_number().over(by_popularity)).withColumn("trend", _trend())


def _preferences(pairs: DataFrame, products: DataFrame) -> DataFrame:
    """What departments a household prefers: its purchases there, weighted by recency, and their share of all.

    Where all of a household's purchases are so old that no weight is left of them, each counts the same.
    """
    of_departments = (
        _with_department(pairs, products)
        .groupBy("cutoff", "household_id", "department")
        # Decimals, because there are households that many share, whose weights together no long holds.
        .agg(F.sum("purchases").alias("purchases"), F.sum(F.col("weight_90").cast("decimal(20,0)")).alias("weight"))
    )
    of_household = Window.partitionBy("cutoff", "household_id")
    return (
        of_departments.withColumn("all_purchases", F.sum("purchases").over(of_household))
        .withColumn("all_weight", F.sum("weight").over(of_household))
        .select(
            "cutoff",
            "household_id",
            "department",
            F.col("purchases").cast("int").alias("purchases"),
            (F.col("weight").cast("double") / _FIXED_POINT).alias("decay_90"),
            F.when(F.col("all_weight") > 0, F.col("weight").cast("double") / F.col("all_weight").cast("double"))
            .otherwise(F.col("purchases") / F.col("all_purchases"))
            .alias("share"),
        )
    )


def _interactions(pairs: DataFrame, users: DataFrame, items: DataFrame) -> DataFrame:
    of_users = users.select(
        "cutoff",
        "household_id",
        F.col("baskets").alias("user_baskets"),
        F.col("products").alias("user_products"),
        F.col("days_since_last").alias("user_days_since_last"),
    )
    of_items = items.select(
        "cutoff",
        "product_id",
        F.col("households").alias("item_households"),
        F.col("purchases_30").alias("item_purchases_30"),
        F.col("purchases_90").alias("item_purchases_90"),
        F.col("trend").alias("item_trend"),
    )
    return (
        pairs.withColumn("spend", F.col("cents") / 100)
        .withColumn("mean_gap_days", _mean_gap("purchases"))
        .join(F.broadcast(of_users), ["cutoff", "household_id"])
        .join(F.broadcast(of_items), ["cutoff", "product_id"])
    )


def _cents(name: str) -> Column:
    # Not `round`: Spark takes that through decimal text, which is a hundred times slower.
    return F.rint(F.col(name) * 100).cast("long")


def _price(cents: str, quantity: str) -> Column:
    """Mean price of one, in dollars."""
    return F.sum(cents) / F.greatest(F.sum(quantity), F.lit(1)) / 100


def _share(part: str, rest: str) -> Column:
    """`part / (part + rest)` of the sums; 0 when both are."""
    return F.coalesce(F.sum(part) / F.nullif(F.sum(part) + F.sum(rest), F.lit(0)), F.lit(0.0))


def _weight(half_life: int) -> Column:
    """`0.5 ** (age / half_life)` in fixed point, ages in days."""
    weight = F.rint(F.pow(F.lit(0.5), F.col("age") / half_life) * _FIXED_POINT).cast("long")
    return F.coalesce(weight, F.lit(0).cast("long"))


def _mean_gap(count: str) -> Column:
    """Mean days between purchases; null of a single one."""
    return F.when(F.col(count) > 1, (F.col("days_since_first") - F.col("days_since_last")) / (F.col(count) - 1))


def _trend() -> Column:
    """Log of the rate of the last 30 days over that of the 60 days before, smoothed so that nothing means 0."""
    recent = (F.col("purchases_30") + 1) / 30
    before = (F.col("purchases_90") - F.col("purchases_30") + 2) / 60
    return F.log(recent / before)
