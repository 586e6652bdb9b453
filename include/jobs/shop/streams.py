"""The streams of events that the shop publishes: what a message of each is made of."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from include.jobs.shop.inventory import inventory
from include.jobs.shop.promotions import promotions
from include.jobs.shop.source import transactions


@dataclass(frozen=True, slots=True)
class Slice:
    """How much of the year: the first so many households and local months, the so many products that sell most often.

    None is all there is.
    """

    households: int | None = None
    months: int | None = None
    products: int | None = None


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream of events.

    A message's value has `schema_version`, `event_id` and the columns of the table in their order, its key is the
    decimal text of `key_field`. `typed`, `bounded` and `time_field` are the fields that broken records break.
    """

    read: Callable[[Slice], pa.Table]
    key_field: str
    time_field: str
    typed: str
    bounded: str
    identify: Callable[[dict[str, Any]], str]


STREAMS = {
    "transactions": Stream(
        read=lambda part: transactions(part.households, part.months),
        key_field="household_id",
        time_field="transaction_timestamp",
        typed="quantity",
        bounded="sales_value",
        # A basket holds a product once in this data, so the number after them is always 0.
        identify=lambda record: f"{record['basket_id']}-{record['product_id']}-0",
    ),
    "promotions": Stream(
        read=lambda part: promotions(part.products, part.months),
        key_field="product_id",
        time_field="valid_from",
        typed="week",
        bounded="week",
        # A store may show a product in two places in the same week.
        identify=lambda record: (
            f"{record['week']}-{record['store_id']}-{record['product_id']}-"
            f"{record['display_location']}{record['mailer_location']}"
        ),
    ),
    "inventory": Stream(
        read=lambda part: inventory(part.products, part.months),
        key_field="store_id",
        time_field="counted_at",
        typed="on_hand",
        bounded="on_hand",
        identify=lambda record: f"{record['counted_at'][:10]}-{record['store_id']}-{record['product_id']}",
    ),
}
