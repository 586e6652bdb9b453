"""What is compared: an interval's trade as seen by line, by basket and by household.

Each view is a sample of equally drawn rows with numeric and categorical features. Rows are put in order before they
are drawn, so that the same rows and seed give the same sample however the table is laid out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from include.jobs.lake.local_time import local_seconds

Numbers: TypeAlias = npt.NDArray[np.float64]
Names: TypeAlias = npt.NDArray[np.str_]

LINE_COLUMNS = (
    "event_id",
    "transaction_timestamp",
    "household_id",
    "store_id",
    "basket_id",
    "product_id",
    "quantity",
    "sales_value",
    "retail_disc",
    "coupon_disc",
)
"""Columns of `sales.transactions` that the views need."""

PRODUCT_COLUMNS = ("product_id", "department", "brand")
"""Columns of `reference.products` that the views need."""


@dataclass(frozen=True, slots=True)
class View:
    """A sample of one kind of row: features by name, each (n,).

    A number that is missing is NaN, a name that is missing is the category `unknown`.
    """

    name: str
    rows: int
    numeric: Mapping[str, Numbers]
    categorical: Mapping[str, Names]


def views_of(
    lines: pa.Table, products: pa.Table, timezone: ZoneInfo, sample_size: int, seed: int
) -> tuple[View, View, View]:
    """Lines, baskets and households of a table with `LINE_COLUMNS`; at most `sample_size` rows of each."""
    lines = lines.sort_by([("household_id", "ascending"), ("basket_id", "ascending"), ("event_id", "ascending")])
    draw = np.random.default_rng(seed)
    return (
        _lines(_sample(lines, sample_size, draw), products, timezone),
        _baskets(_sample(_per_basket(lines), sample_size, draw)),
        _households(_sample(_per_household(lines), sample_size, draw)),
    )


def _lines(lines: pa.Table, products: pa.Table, timezone: ZoneInfo) -> View:
    quantity, value = _numbers(lines["quantity"]), _numbers(lines["sales_value"])
    discount = _numbers(lines["retail_disc"])
    coupon = _numbers(lines["coupon_disc"])
    found = _positions(products["product_id"], lines["product_id"])
    return View(
        "line",
        lines.num_rows,
        {
            "line_quantity": quantity,
            "line_value": value,
            "line_unit_price": value / np.maximum(quantity, 1.0),
            "line_discount_share": discount / np.maximum(value + discount, 0.01),
            "line_hour": _local_hours(lines["transaction_timestamp"], timezone),
        },
        {
            "line_discounted": _positive(discount),
            "line_coupon": _positive(coupon),
            "line_store": _names(lines["store_id"]),
            "line_department": _looked_up(products["department"], found),
            "line_brand": _looked_up(products["brand"], found),
        },
    )


def _per_basket(lines: pa.Table) -> pa.Table:
    return (
        lines.group_by(["household_id", "basket_id"])
        .aggregate([("event_id", "count"), ("sales_value", "sum"), ("quantity", "sum"), ("store_id", "min")])
        .sort_by([("household_id", "ascending"), ("basket_id", "ascending")])
    )


def _baskets(baskets: pa.Table) -> View:
    value, lines = _numbers(baskets["sales_value_sum"]), _numbers(baskets["event_id_count"])
    return View(
        "basket",
        baskets.num_rows,
        {"basket_lines": lines, "basket_value": value, "basket_value_per_line": value / lines},
        {},
    )


def _per_household(lines: pa.Table) -> pa.Table:
    return (
        lines.group_by(["household_id"])
        .aggregate(
            [
                ("basket_id", "count_distinct"),
                ("product_id", "count_distinct"),
                ("store_id", "count_distinct"),
                ("event_id", "count"),
                ("sales_value", "sum"),
                ("retail_disc", "sum"),
            ]
        )
        .sort_by([("household_id", "ascending")])
    )


def _households(households: pa.Table) -> View:
    spend, discount = _numbers(households["sales_value_sum"]), _numbers(households["retail_disc_sum"])
    baskets, lines = _numbers(households["basket_id_count_distinct"]), _numbers(households["event_id_count"])
    return View(
        "household",
        households.num_rows,
        {
            "household_baskets": baskets,
            "household_spend": spend,
            "household_basket_value": spend / baskets,
            "household_products": _numbers(households["product_id_count_distinct"]),
            "household_variety": _numbers(households["product_id_count_distinct"]) / lines,
            "household_stores": _numbers(households["store_id_count_distinct"]),
            "household_discount_share": discount / np.maximum(spend + discount, 0.01),
        },
        {},
    )


def _sample(rows: pa.Table, size: int, draw: np.random.Generator) -> pa.Table:
    if rows.num_rows <= size:
        return rows
    return rows.take(pa.array(np.sort(draw.choice(rows.num_rows, size, replace=False))))


def _positive(values: Numbers) -> Names:
    known: Names = np.where(np.isnan(values), "unknown", np.where(values > 0, "yes", "no"))
    return known


def _numbers(column: pa.ChunkedArray) -> Numbers:
    numbers: Numbers = column.to_numpy().astype(np.float64)
    return numbers


def _names(column: pa.ChunkedArray) -> Names:
    return np.asarray(pc.fill_null(pc.cast(column, pa.string()), "unknown").to_numpy(zero_copy_only=False), np.str_)


def _positions(ids: pa.ChunkedArray, wanted: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    found = pc.fill_null(pc.index_in(wanted, value_set=ids.combine_chunks()), -1)
    return np.asarray(found.to_numpy(), np.int64)


def _looked_up(column: pa.ChunkedArray, positions: npt.NDArray[np.int64]) -> Names:
    # Position -1, an unknown product, finds the name that is put last.
    return np.append(_names(column), "unknown")[positions]


def _local_hours(times: pa.ChunkedArray, timezone: ZoneInfo) -> Numbers:
    """Hour of the local day, 0 to 24, with minutes as fractions."""
    hours: Numbers = (local_seconds(times, timezone) % 86_400) / 3600.0
    return hours
