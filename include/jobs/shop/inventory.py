"""What stores have on their shelves, derived from what they sold: the data package has no stock.

In each week (Monday to Sunday), on the morning of the first day on which it sells a product, a store fills the shelf
up to the level: the most that it sells of the product in any week of the year, which never runs out. At the end of each
day on which it sold some it counts what is left:

    received = what is missing to the level, on the days when the shelf is filled, else 0
    on_hand  = level − what was sold since the shelf was filled

So the numbers hang together, to the piece: on_hand = on_hand before + received − sold.
"""

import datetime as dt

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from include.jobs.shop.source import SHOP_TIMEZONE, YEAR, check_months, most_sold, transactions


def inventory(products: int | None = None, months: int | None = None) -> pa.Table:
    """Counts in order of time, then store, then product, of the products that sell most often.

    Columns: store_id, product_id, on_hand, sold, received (int64), counted_at (microseconds, UTC; the last second of
    the local day).

    Raises:
        SourceError: the package is not installed, or the slice is out of range.
    """
    # The level depends on the whole year; a slice is one of the counts.
    table = transactions()
    if products is not None:
        table = table.filter(pc.is_in(table["product_id"], value_set=most_sold(products)))
    counts = _count(*_daily_sales(table))
    if months is not None:
        check_months(months)
        last = np.datetime64(f"{YEAR}-{months:02d}", "M") + 1
        counts = {name: values[counts["day"] < last] for name, values in counts.items()}
    days, place = np.unique(counts.pop("day"), return_inverse=True)
    ends = pa.array([_end_of_day(day) for day in days.tolist()], pa.timestamp("us", "UTC"))
    found = pa.table({**counts, "counted_at": ends.take(pa.array(place))})
    return found.sort_by([(name, "ascending") for name in ("counted_at", "store_id", "product_id")])


def _daily_sales(table: pa.Table) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Store, product, local day and quantity of each day with a sale; ordered by store, product and day."""
    local = pc.local_timestamp(table["transaction_timestamp"].cast(pa.timestamp("us", SHOP_TIMEZONE.key)))
    sales = pa.table(
        {
            "store_id": table["store_id"],
            "product_id": table["product_id"],
            "day": local.cast(pa.date32(), safe=False),
            "sold": table["quantity"],
        }
    )
    keys = ["store_id", "product_id", "day"]
    daily = sales.group_by(keys).aggregate([("sold", "sum")]).sort_by([(name, "ascending") for name in keys])
    store, product, day, sold = (daily[name].to_numpy() for name in (*keys, "sold_sum"))
    return store, product, day.astype("datetime64[D]"), sold


def _count(store: np.ndarray, product: np.ndarray, day: np.ndarray, sold: np.ndarray) -> dict[str, np.ndarray]:
    # Days since 1970 count from a Thursday.
    week = (day.astype(int) + 3) // 7
    new_pair = np.r_[True, (np.diff(store) != 0) | (np.diff(product) != 0)]
    new_week = new_pair | np.r_[True, np.diff(week) != 0]
    pairs, weeks = np.flatnonzero(new_pair), np.flatnonzero(new_week)
    weekly = np.add.reduceat(sold, weeks)
    level = np.maximum.reduceat(weekly, np.searchsorted(weeks, pairs))[np.cumsum(new_pair) - 1]
    before = np.r_[0, np.cumsum(sold)[:-1]]
    since_fill = before + sold - before[weeks][np.cumsum(new_week) - 1]
    missing = np.where(new_pair[weeks], level[weeks], np.r_[0, weekly[:-1]])
    received = np.zeros(len(store), np.int64)
    received[weeks] = missing
    return {
        "store_id": store,
        "product_id": product,
        "day": day,
        "on_hand": level - since_fill,
        "sold": sold,
        "received": received,
    }


def _end_of_day(day: dt.date) -> dt.datetime:
    midnight = dt.datetime.combine(day + dt.timedelta(days=1), dt.time(), SHOP_TIMEZONE).astimezone(dt.UTC)
    return midnight - dt.timedelta(seconds=1)
