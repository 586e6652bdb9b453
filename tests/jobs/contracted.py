"""The table of transactions with the columns that its contract gives it, where the ingest's code is not at hand."""

from pyiceberg.types import DoubleType, IcebergType, IntegerType, LongType, StringType, TimestamptzType

from include.jobs.lake.tables import TRANSACTIONS, EventTables

_COLUMNS: dict[str, IcebergType] = {
    "schema_version": IntegerType(),
    "event_id": StringType(),
    **dict.fromkeys(("household_id", "store_id", "basket_id", "product_id", "quantity"), LongType()),
    **dict.fromkeys(("sales_value", "retail_disc", "coupon_disc", "coupon_match_disc"), DoubleType()),
    "transaction_timestamp": TimestamptzType(),
}
SALES = EventTables.of(TRANSACTIONS, [(name, kind, True) for name, kind in _COLUMNS.items()]).events
