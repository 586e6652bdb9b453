"""The promotions of the data package as events: what each store displays or advertises, a week at a time.

The package gives the week's number, 1 to 53. Week 1 is the Sunday that the year begins with, every other one begins on
a Monday; the event's time is the week's first moment in the shop's time zone, when the promotion begins to hold.
"""

import datetime as dt

import pyarrow as pa
import pyarrow.compute as pc

from include.jobs.shop.source import SHOP_TIMEZONE, YEAR, SourceError, end_of, most_sold, read

_WEEKS = 53


def promotions(products: int | None = None, months: int | None = None) -> pa.Table:
    """Promotions in order of time, then store, then product.

    Columns: store_id, product_id, week (int64), display_location, mailer_location (string; "0" is nowhere), valid_from,
    valid_until (microseconds, UTC). All of them are 20.9 million rows.

    Raises:
        SourceError: the package is not installed, or the slice is out of range.
    """
    columns = ("store_id", "product_id", "week", "display_location", "mailer_location")
    end = None if months is None else end_of(months)
    table = read("promotions", columns, None if products is None else most_sold(products))
    starts = [week_start(week) for week in range(1, _WEEKS + 2)]
    times = pa.array([moment.astimezone(dt.UTC) for moment in starts], pa.timestamp("us", "UTC"))
    table = table.append_column("valid_from", times.take(pc.subtract(table["week"], 1)))
    table = table.append_column("valid_until", times.take(table["week"]))
    if end is not None:
        table = table.filter(pc.less(table["valid_from"], end))
    if table.num_rows == 0:
        raise SourceError("the slice holds no promotion: take more products or months")
    # The package names some twice.
    table = table.group_by(table.column_names).aggregate([])
    order = ("valid_from", "store_id", "product_id", "display_location", "mailer_location")
    return table.sort_by([(name, "ascending") for name in order])


def week_start(week: int) -> dt.datetime:
    """The first moment of a week, in the shop's time zone."""
    day = dt.date(YEAR, 1, 1) if week == 1 else dt.date(YEAR, 1, 2) + dt.timedelta(weeks=week - 2)
    return dt.datetime.combine(day, dt.time(), SHOP_TIMEZONE)
