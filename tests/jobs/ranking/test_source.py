"""What was bought in a month is told by the purchases themselves: no row is on both sides of a cutoff, none is lost."""

import datetime as dt
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog

from include.jobs.lake.catalog import ensure_table
from include.jobs.ranking.source import MissingPurchasesError, read_purchases
from tests.jobs.contracted import SALES

NEW_YORK, ST_JOHNS = ZoneInfo("America/New_York"), ZoneInfo("America/St_Johns")
#: By product: when it was bought, and when Kafka got it.
BOUGHT = {
    1: ("2017-11-30T23:59:59-05:00", "2017-12-01T08:00:00-05:00"),
    2: ("2017-12-01T00:00:00-05:00", "2017-12-01T00:00:05-05:00"),
    3: ("2017-12-31T23:59:59-05:00", "2018-01-01T00:10:00-05:00"),
    4: ("2018-01-01T00:00:00-05:00", "2018-01-01T00:00:00-05:00"),
    # A clock ahead of the shop's, and a topic that stamps what it takes, years later.
    5: ("2017-12-15T12:00:00-05:00", "2017-11-01T12:00:00-05:00"),
    6: ("2017-12-15T12:00:00-05:00", "2026-06-01T12:00:00-04:00"),
    # A clock put back at one past midnight: this minute is of October again.
    7: ("2009-11-01T02:31:30+00:00", "2009-11-01T02:31:30+00:00"),
    8: ("2009-11-01T02:30:30+00:00", "2009-11-01T02:30:30+00:00"),
}


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> SqlCatalog:
    folder: Path = tmp_path_factory.mktemp("lake")
    catalog = SqlCatalog("lake", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}")
    schema = SALES.arrow_schema
    moments = {"transaction_timestamp": 0, "event_time": 1, "interval_start": 1}
    texts = {"event_id": "e"}
    rows = [
        {
            name: dt.datetime.fromisoformat(times[moments[name]]) if name in moments else texts.get(name, number)
            for name in schema.names
        }
        for number, times in BOUGHT.items()
    ]
    ensure_table(catalog, SALES).append(pa.Table.from_pylist(rows, schema=schema))
    return catalog


def products(catalog: SqlCatalog, month: dt.date, zone: ZoneInfo) -> set[int]:
    return set(read_purchases(catalog, month, zone).product_id.tolist())


def test_the_event_says_when_it_was_bought_not_kafka(catalog: SqlCatalog) -> None:
    assert products(catalog, dt.date(2017, 12, 1), NEW_YORK) == {2, 3, 5, 6}
    assert products(catalog, dt.date(2017, 11, 1), NEW_YORK) == {1}
    assert products(catalog, dt.date(2018, 1, 1), NEW_YORK) == {4}
    with pytest.raises(MissingPurchasesError, match="no purchases of the month from 2026-06-01"):
        read_purchases(catalog, dt.date(2026, 6, 1), NEW_YORK)


@pytest.mark.parametrize("zone", [NEW_YORK, ST_JOHNS, ZoneInfo("UTC"), ZoneInfo("Pacific/Apia")])
def test_every_purchase_is_of_one_month_and_on_one_side_of_each_cutoff(catalog: SqlCatalog, zone: ZoneInfo) -> None:
    """The side that features see is where the local day is before the cutoff; the other is the month's."""
    own = {number: dt.datetime.fromisoformat(at).astimezone(zone).date() for number, (at, _) in BOUGHT.items()}
    months = sorted({day.replace(day=1) for day in own.values()})
    taken = [products(catalog, month, zone) for month in months]
    assert sorted(number for each in taken for number in each) == sorted(BOUGHT)
    for month, after in zip(months, taken, strict=True):
        before = {number for number, day in own.items() if day < month}
        assert not before & after
