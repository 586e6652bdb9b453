"""Everything that the contract of transactions admits has features, and the same ones by another engine."""

import datetime as dt
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from pyspark.sql import SparkSession

from include.jobs.features import compute
from include.jobs.features.history import Cutoff, next_month
from include.jobs.features.tables import INTERACTIONS
from tests.jobs.admitted import shops
from tests.jobs.features.duck import KEYS, Shop, answer, differences, opened
from tests.jobs.features.shop import ZONE, frame, purchases

_SCHEMA = pa.schema(
    [
        *((name, pa.int64()) for name in ("household_id", "store_id", "basket_id", "product_id", "quantity")),
        *((name, pa.float64()) for name in ("sales_value", "retail_disc", "coupon_disc", "coupon_match_disc")),
        ("transaction_timestamp", pa.timestamp("us", "UTC")),
    ]
)
_PRODUCTS = pa.table({"product_id": [1, 2, 3], "department": ["GROCERY", None, "FUEL"]})
_HOUSEHOLDS = pa.table({"household_id": [1], **{name: ["1"] for name in compute.PROFILE}})
_LONE = {**purchases()[0], "household_id": 1, "product_id": 1, "quantity": 0, "sales_value": 0.0, "retail_disc": 0.0}


def _bought(*moments: str, **changes: Any) -> list[dict[str, Any]]:
    return [
        {**_LONE, **changes, "basket_id": number, "transaction_timestamp": dt.datetime.fromisoformat(moment)}
        for number, moment in enumerate(moments)
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("admitted")


# Few examples of many edges each: an engine that starts jobs takes its time.
@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@example(rows=_bought("2000-01-01T00:00:00+00:00"))
@example(rows=_bought("2006-11-15T12:00:00+00:00", "2006-12-15T12:00:00+00:00", "2100-01-01T00:00:00+00:00"))
@given(rows=shops)
def test_another_engine_agrees_on_all_that_is_admitted(
    spark: SparkSession, folder: Path, rows: list[dict[str, Any]]
) -> None:
    events = pa.Table.from_pylist(rows, _SCHEMA)
    days = sorted({row["transaction_timestamp"].astimezone(ZONE).date() for row in rows})
    months = sorted({day.replace(day=1) for day in days})
    # Of the first and the last month, and of one in between: what is seen from afar and from near.
    ends = sorted({next_month(month) for month in (months[0], months[len(months) // 2], months[-1])})
    cutoffs = [Cutoff(day, next_month(day), labelled=bool(number % 2)) for number, day in enumerate(ends)]
    paths = {}
    for name, table in (("events", events), ("products", _PRODUCTS), ("households", _HOUSEHOLDS)):
        paths[name] = folder / f"{name}.parquet"
        pq.write_table(table, paths[name])
    read = {name: spark.read.parquet(str(path)) for name, path in paths.items()}
    bought = compute.purchases(read["events"], ZONE.key)
    made = compute.features(spark, bought, read["products"], read["households"], cutoffs)
    database = opened(Shop(events, _PRODUCTS, _HOUSEHOLDS))
    answer(database, cutoffs)
    tables = {
        "interactions": made.interactions.select(*INTERACTIONS.columns),
        "users": made.users,
        "items": made.items,
        "preferences": made.preferences,
        "demand": compute.demand(bought, read["products"], [str(month) for month in months]),
    }
    try:
        for name in KEYS:
            tables[name].write.mode("overwrite").parquet(str(folder / name))
            assert differences(database, name, folder / name) == {}, name
    finally:
        spark.catalog.clearCache()


@pytest.mark.parametrize(
    ("zone", "moments"),
    [
        ("America/New_York", ["2017-11-30T23:59:59-05:00", "2017-12-01T00:00:00-05:00", "2018-01-01T04:59:59+00:00"]),
        # Put back at one minute past midnight, on the first of a month: that minute, and no more, is of November twice.
        ("America/St_Johns", [f"2009-11-01T02:{minute}:00+00:00" for minute in (29, 30, 31, 32, 59)]),
        # A midnight that is skipped, and one that comes twice.
        ("Africa/Cairo", ["2010-04-29T21:59:59+00:00", "2010-04-29T22:00:00+00:00", "2010-09-30T20:59:59+00:00"]),
        ("Asia/Kathmandu", ["2017-11-30T18:14:59+00:00", "2017-11-30T18:15:00+00:00"]),
        ("Pacific/Apia", ["2011-12-30T09:59:59+00:00", "2011-12-30T10:00:00+00:00"]),
    ],
)
def test_the_day_of_a_purchase_is_its_own_on_the_local_clock(
    spark: SparkSession, zone: str, moments: list[str]
) -> None:
    """By the same rule as the gate's (see the tests of `include.jobs.lake.local_time`), whenever Kafka got it."""
    rows = [{**row, "event_time": dt.datetime(2030, 1, 1, tzinfo=dt.UTC)} for row in _bought(*moments)]
    found = compute.purchases(frame(spark, rows), zone).select("basket_id", "day").collect()
    own = [dt.datetime.fromisoformat(moment).astimezone(ZoneInfo(zone)).date() for moment in moments]
    assert [day for _, day in sorted((row.basket_id, row.day) for row in found)] == own
