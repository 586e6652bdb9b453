"""The features by Polars: the same tables as Podium's Spark job makes."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from include.jobs.features.history import Cutoff

HALF_LIVES = (15, 30, 60, 90, 180)


def features(folder: Path, cutoffs: Sequence[Cutoff]) -> dict[str, pl.LazyFrame]:
    """The five tables, lazily, of `events`, `products` and `households` (Parquet) in a folder."""
    products = pl.scan_parquet(folder / "products.parquet").select("product_id", "department")
    bought = (
        _bought(folder).join(products, "product_id", how="left").with_columns(pl.col("department").fill_null("UNKNOWN"))
    )
    wanted = pl.LazyFrame(
        {
            "cutoff": [cutoff.day for cutoff in cutoffs],
            "label_end": [cutoff.label_end for cutoff in cutoffs],
            "labelled": [cutoff.labelled for cutoff in cutoffs],
        }
    )
    seen = _seen(bought, wanted)
    pairs = _pairs(seen, bought, wanted)
    users, items = _users(bought, pairs, wanted), _items(seen, pairs)
    households = pl.scan_parquet(folder / "households.parquet")
    return {
        "users": users.join(households, "household_id", how="left"),
        "items": items,
        "interactions": _interactions(pairs, users, items),
        "preferences": _preferences(seen),
        "demand": _demand(bought),
    }


def _bought(folder: Path) -> pl.LazyFrame:
    discounts = ("retail_disc", "coupon_disc", "coupon_match_disc")
    return pl.scan_parquet(folder / "events.parquet").select(
        *("household_id", "product_id", "basket_id", "store_id", "day", "quantity"),
        _cents("sales_value").alias("cents"),
        pl.sum_horizontal(_cents(name) for name in discounts).alias("discount"),
        (pl.col("retail_disc") > 0).cast(pl.Int64).alias("promoted"),
    )


def _cents(name: str) -> pl.Expr:
    return (pl.col(name) * 100).round(mode="half_to_even").cast(pl.Int64)


def _aged(rows: pl.LazyFrame, wanted: pl.LazyFrame) -> pl.LazyFrame:
    past = rows.join(wanted, how="cross").filter(pl.col("day") < pl.col("cutoff"))
    return past.with_columns((pl.col("cutoff") - pl.col("day")).dt.total_days().alias("age"))


def _seen(bought: pl.LazyFrame, wanted: pl.LazyFrame) -> pl.LazyFrame:
    # A basket may have lines on two days: what is of another day may be of the future.
    lines = bought.group_by("household_id", "product_id", "basket_id", "day").agg(
        pl.col("department").first(),
        pl.col("quantity", "cents", "discount").sum(),
        pl.col("promoted").max(),
    )
    return _aged(lines, wanted)


def _within(days: int) -> pl.Expr:
    return pl.col("age") <= days


def _gap(count: str) -> pl.Expr:
    gap = (pl.col("days_since_first") - pl.col("days_since_last")) / (pl.col(count) - 1)
    return pl.when(pl.col(count) > 1).then(gap).alias("mean_gap_days")


def _pairs(seen: pl.LazyFrame, bought: pl.LazyFrame, wanted: pl.LazyFrame) -> pl.LazyFrame:
    key = ["cutoff", "household_id", "product_id"]
    days = bought.select("household_id", "product_id", "day").unique()
    label_month = (pl.col("day") >= pl.col("cutoff")) & (pl.col("day") < pl.col("label_end"))
    later = days.join(wanted, how="cross").filter(label_month).select(*key, pl.lit(1).alias("later")).unique()
    label = pl.when(pl.col("labelled")).then(pl.col("later").fill_null(0)).alias("label")
    return (
        seen.group_by(key)
        .agg(
            pl.len().alias("purchases"),
            pl.col("quantity").sum(),
            (pl.col("cents").sum() / 100).alias("spend"),
            pl.col("age").min().alias("days_since_last"),
            pl.col("age").max().alias("days_since_first"),
            *((0.5 ** (pl.col("age") / half)).sum().alias(f"decay_{half}") for half in HALF_LIVES),
            _within(30).sum().alias("purchases_30"),
            _within(90).sum().alias("purchases_90"),
            pl.col("labelled").first(),
        )
        .with_columns(_gap("purchases"))
        .join(later, key, how="left")
        .with_columns(label)
        .drop("labelled", "later")
    )


def _users(bought: pl.LazyFrame, pairs: pl.LazyFrame, wanted: pl.LazyFrame) -> pl.LazyFrame:
    baskets = bought.group_by("household_id", "basket_id", "day").agg(pl.col("cents", "discount").sum())
    of_baskets = (
        _aged(baskets, wanted)
        .group_by("cutoff", "household_id")
        .agg(
            pl.len().alias("baskets"),
            (pl.col("cents").sum() / 100).alias("spend"),
            (pl.col("cents").sum() / pl.len() / 100).alias("mean_basket_value"),
            (pl.col("discount").sum() / 100).alias("discount"),
            pl.col("age").min().alias("days_since_last"),
            pl.col("age").max().alias("days_since_first"),
            _within(30).sum().alias("baskets_30"),
            _within(90).sum().alias("baskets_90"),
            (pl.col("cents").filter(_within(90)).sum() / 100).alias("spend_90"),
        )
    )
    of_pairs = pairs.group_by("cutoff", "household_id").agg(
        pl.len().alias("products"), (pl.col("purchases") > 1).mean().alias("repeat_share")
    )
    return of_baskets.join(of_pairs, ["cutoff", "household_id"]).with_columns(_gap("baskets"))


def _items(seen: pl.LazyFrame, pairs: pl.LazyFrame) -> pl.LazyFrame:
    cents, quantity = pl.col("cents"), pl.col("quantity")
    discounted, whole = pl.col("discount").sum(), pl.col("discount").sum() + cents.sum()
    recent = _within(30)
    price_30 = cents.filter(recent).sum() / pl.max_horizontal(quantity.filter(recent).sum(), pl.lit(1)) / 100
    of_lines = seen.group_by("cutoff", "product_id").agg(
        pl.len().alias("purchases"),
        recent.sum().alias("purchases_30"),
        _within(90).sum().alias("purchases_90"),
        quantity.sum(),
        (cents.sum() / 100).alias("spend"),
        (cents.sum() / pl.max_horizontal(quantity.sum(), pl.lit(1)) / 100).alias("price_mean"),
        pl.when(recent.sum() > 0).then(price_30).alias("price_30"),
        pl.when(whole != 0).then(discounted / whole).otherwise(0.0).alias("discount_share"),
        pl.col("promoted").mean().alias("promoted_share"),
        pl.col("age").min().alias("days_since_last"),
        pl.col("age").max().alias("days_since_first"),
    )
    of_pairs = pairs.group_by("cutoff", "product_id").agg(
        pl.len().alias("households"), (pl.col("purchases") > 1).mean().alias("repeat_share")
    )
    rate, before = (pl.col("purchases_30") + 1) / 30, (pl.col("purchases_90") - pl.col("purchases_30") + 2) / 60
    order = ["cutoff", "households", "purchases", "product_id"]
    return (
        of_lines.join(of_pairs, ["cutoff", "product_id"])
        .with_columns((rate / before).log().alias("trend"))
        .sort(order, descending=[False, True, True, False])
        .with_columns((pl.int_range(pl.len()).over("cutoff") + 1).alias("popularity_rank"))
    )


def _interactions(pairs: pl.LazyFrame, users: pl.LazyFrame, items: pl.LazyFrame) -> pl.LazyFrame:
    of_users = users.select(
        *("cutoff", "household_id"),
        *(pl.col(name).alias(f"user_{name}") for name in ("baskets", "products", "days_since_last")),
    )
    names = ("households", "purchases_30", "purchases_90", "trend")
    of_items = items.select("cutoff", "product_id", *(pl.col(name).alias(f"item_{name}") for name in names))
    return pairs.join(of_users, ["cutoff", "household_id"]).join(of_items, ["cutoff", "product_id"])


def _preferences(seen: pl.LazyFrame) -> pl.LazyFrame:
    # As exact as the job's weights are: a share of what has all but faded away depends on it.
    weight = (0.5 ** (pl.col("age") / 90) * 2**40).round(mode="half_to_even")
    summed = seen.group_by("cutoff", "household_id", "department").agg(
        pl.len().alias("purchases"), (weight.sum() / 2**40).alias("decay_90")
    )
    both = [pl.col(name) / pl.col(name).sum().over("cutoff", "household_id") for name in ("decay_90", "purchases")]
    faded = pl.col("decay_90").sum().over("cutoff", "household_id") == 0
    return summed.with_columns(pl.when(faded).then(both[1]).otherwise(both[0]).alias("share"))


def _demand(bought: pl.LazyFrame) -> pl.LazyFrame:
    return (
        bought.with_columns(pl.col("day").dt.truncate("1mo").alias("month"))
        .group_by("month", "day", "store_id", "department")
        .agg(
            pl.col("quantity").sum().alias("units"),
            (pl.col("cents").sum() / 100).alias("revenue"),
            (pl.col("discount").sum() / 100).alias("discount"),
            pl.struct("household_id", "basket_id").n_unique().alias("baskets"),
        )
    )
