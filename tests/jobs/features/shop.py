"""A small made-up shop, with what is hard: local midnights, a clock change, a product twice in a basket.

Some baskets have lines on two days. An interval is a local month.
"""

import datetime as dt
import random
from typing import Any
from zoneinfo import ZoneInfo

from pyspark.sql import DataFrame, SparkSession

from include.jobs.lake.ledger import Counts, Interval, IntervalRecord

ZONE = ZoneInfo("America/New_York")
HOUSEHOLDS, PRODUCTS, STORES = 20, 25, 3
EVENTS_SCHEMA = (
    "interval_start timestamp, kafka_partition int, kafka_offset bigint, event_time timestamp, schema_version int, "
    "event_id string, household_id bigint, store_id bigint, basket_id bigint, product_id bigint, quantity bigint, "
    "sales_value double, retail_disc double, coupon_disc double, coupon_match_disc double, "
    "transaction_timestamp timestamp"
)


def midnight(day: dt.date) -> dt.datetime:
    """The local beginning of a day, in UTC."""
    return dt.datetime.combine(day, dt.time(), ZONE).astimezone(dt.UTC)


def purchases(seed: int = 5, baskets: int = 700) -> list[dict[str, Any]]:
    """Events from January to May 2017, as rows of `sales.transactions`."""
    choose = random.Random(seed)
    begin, end = midnight(dt.date(2017, 1, 1)), midnight(dt.date(2017, 6, 1))
    seconds = int((end - begin).total_seconds())
    edges = [midnight(dt.date(2017, month, 1)) for month in (2, 3, 4, 5)]
    rows: list[dict[str, Any]] = []
    for number in range(baskets):
        moment = begin + dt.timedelta(seconds=choose.randrange(seconds))
        if number % 10 == 0:
            # The last second of a local month, and the first of the next.
            moment = choose.choice(edges) - dt.timedelta(seconds=number // 10 % 2)
        household = choose.randint(1, HOUSEHOLDS)
        store = choose.randint(1, STORES)
        bought = choose.choices(range(1, PRODUCTS + 1), k=choose.randint(1, 6))
        for line, product in enumerate(bought):
            # Some baskets have lines on both sides of a midnight between months.
            at = moment + dt.timedelta(seconds=1) if number % 20 == 10 and line % 2 else moment
            rows.append(
                {
                    "interval_start": midnight(at.astimezone(ZONE).date().replace(day=1)),
                    "kafka_partition": 0,
                    "kafka_offset": len(rows),
                    "event_time": at,
                    "schema_version": 1,
                    "event_id": f"{number}-{product}-{line}",
                    "household_id": household,
                    "store_id": store,
                    "basket_id": number,
                    "product_id": product,
                    "quantity": choose.randint(0, 4),
                    "sales_value": choose.randint(0, 2000) / 100,
                    "retail_disc": choose.randint(0, 200) / 100,
                    "coupon_disc": choose.choice([0.0, 0.1]),
                    "coupon_match_disc": choose.choice([0.0, 0.25]),
                    "transaction_timestamp": at,
                }
            )
    return rows


def frame(spark: SparkSession, rows: list[dict[str, Any]]) -> DataFrame:
    """Rows as a DataFrame with the columns of `sales.transactions`."""
    names = [part.strip().split(" ")[0] for part in EVENTS_SCHEMA.split(",")]
    # Without its zone Spark would take a time as the machine's local one.
    values = [tuple(_naive(row[name]) for name in names) for row in rows]
    return spark.createDataFrame(values, EVENTS_SCHEMA)


def closed(start: dt.date, end: dt.date) -> IntervalRecord:
    """A closed interval between two local midnights."""
    interval = Interval(midnight(start), midnight(end))
    return IntervalRecord(interval, "events", "id", {}, Counts(0, 0, 0), "run", dt.datetime.now(dt.UTC))


def _naive(value: Any) -> Any:
    return value.astimezone().replace(tzinfo=None) if isinstance(value, dt.datetime) else value
