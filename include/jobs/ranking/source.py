"""Reading interactions and purchases from the lake, as of a snapshot."""

import datetime as dt
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.expressions import And, BooleanExpression, EqualTo, GreaterThanOrEqual, LessThan

from include.jobs.lake.catalog import load_table
from include.jobs.lake.feature_view import published_view
from include.jobs.lake.local_time import local_days
from include.jobs.lake.tables import FEATURES_INTERACTIONS, FEATURES_SERVING, TRANSACTIONS
from include.jobs.ranking.errors import RankingError
from include.jobs.ranking.interactions import COLUMNS, Interactions
from include.jobs.ranking.lists import Purchases

_DAY = dt.timedelta(days=1)


class MissingCutoffError(RankingError):
    """The feature table holds nothing, or no labels, for a cutoff."""


class MissingPurchasesError(RankingError):
    """The lake holds no purchases of a month."""


def snapshot_ids(catalog: SqlCatalog) -> dict[str, int]:
    """The snapshots of the tables that models are made from, as the published view of the features has them.

    By table; that of `features.serving` is the view's own.

    Raises:
        LakeError: no view is published.
    """
    view = published_view(catalog)
    return {
        FEATURES_SERVING: view.snapshot_id,
        **{name: view.snapshots[name] for name in (FEATURES_INTERACTIONS, TRANSACTIONS)},
    }


def read_interactions(
    catalog: SqlCatalog, cutoff: dt.date, snapshot_id: int | None = None, *, labels: bool = False
) -> Interactions:
    """The interactions of a cutoff; labels only when asked for, so that a month to be judged cannot leak.

    Raises:
        MissingCutoffError: no rows, or labels asked for a month that was not complete.
    """
    wanted = ("household_id", "product_id", *COLUMNS, *(("label",) if labels else ()))
    rows = _scan(catalog, FEATURES_INTERACTIONS, EqualTo("cutoff", cutoff.isoformat()), wanted, snapshot_id)
    if not rows.num_rows:
        raise MissingCutoffError(
            f"{FEATURES_INTERACTIONS} holds no rows of cutoff {cutoff}: build the features with this cutoff first"
        )
    if labels and rows["label"].null_count:
        raise MissingCutoffError(
            f"{FEATURES_INTERACTIONS} has no labels for cutoff {cutoff}, since its month was not complete when the "
            "features were built: ingest the month, then build the features again"
        )
    return Interactions.sorted(
        cutoff,
        rows["household_id"].to_numpy().astype(np.int64),
        rows["product_id"].to_numpy().astype(np.int64),
        {name: rows[name].to_numpy().astype(np.float64) for name in COLUMNS},
        rows["label"].to_numpy().astype(np.float64) if labels else None,
    )


def read_purchases(
    catalog: SqlCatalog, month: dt.date, timezone: ZoneInfo, snapshot_id: int | None = None
) -> Purchases:
    """The distinct products that each household bought in the local month beginning on `month`.

    When it was bought is told by the event itself, as in the features, whatever Kafka's clock said when it came.

    Raises:
        MissingPurchasesError: nothing was bought.
    """
    start, end = month_bounds(month, timezone)
    # More than enough, so that fewer files are read: the local day decides, as it does in the features.
    near = And(
        GreaterThanOrEqual("transaction_timestamp", (start - _DAY).isoformat()),
        LessThan("transaction_timestamp", (end + _DAY).isoformat()),
    )
    columns = ("household_id", "product_id", "transaction_timestamp")
    rows = _scan(catalog, TRANSACTIONS, near, columns, snapshot_id)
    days = local_days(rows["transaction_timestamp"], timezone)
    rows = rows.filter(pa.array((days >= np.datetime64(month)) & (days < np.datetime64(next_month(month)))))
    pairs = (
        rows.group_by(["household_id", "product_id"])
        .aggregate([])
        .sort_by([("household_id", "ascending"), ("product_id", "ascending")])
    )
    if not pairs.num_rows:
        raise MissingPurchasesError(
            f"{TRANSACTIONS} holds no purchases of the month from {month} ({timezone.key}): ingest it first"
        )
    return Purchases(pairs["household_id"].to_numpy(), pairs["product_id"].to_numpy())


def month_bounds(month: dt.date, timezone: ZoneInfo) -> tuple[dt.datetime, dt.datetime]:
    """First instant of a local month and of the next one."""
    start = dt.datetime(month.year, month.month, 1, tzinfo=timezone)
    return start, dt.datetime.combine(next_month(month), dt.time(), tzinfo=timezone)


def next_month(day: dt.date) -> dt.date:
    """First day of the next month."""
    return (day.replace(day=1) + dt.timedelta(days=32)).replace(day=1)


def _scan(
    catalog: SqlCatalog, name: str, where: BooleanExpression, columns: tuple[str, ...], snapshot_id: int | None
) -> pa.Table:
    table = load_table(catalog, name)
    return table.scan(row_filter=where, selected_fields=columns, snapshot_id=snapshot_id).to_arrow()
