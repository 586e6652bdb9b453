"""A drift check: reference and interval from the lake, tests, outcome."""

import datetime as dt
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.expressions import And, GreaterThanOrEqual, LessThan

from include.jobs.drift.errors import DriftError
from include.jobs.drift.statistics import compare
from include.jobs.drift.store import Comparison, store
from include.jobs.drift.views import LINE_COLUMNS, PRODUCT_COLUMNS, views_of
from include.jobs.lake import lineage
from include.jobs.lake.catalog import load_table, open_catalog
from include.jobs.lake.ledger import Interval, iso
from include.jobs.lake.tables import PRODUCTS, TRANSACTIONS
from include.jobs.ranking.registry import Registry

_SNAPSHOT_TAG = f"snapshot.{TRANSACTIONS}"
_KNOWN_UNTIL_TAG = "known_until"

_log = logging.getLogger(__name__)


class NoReferenceError(DriftError):
    """The model does not say what it was made from, or the lake no longer has it."""


class EmptyIntervalError(DriftError):
    """There is nothing to compare."""


@dataclass(frozen=True, slots=True)
class CheckRequest:
    """What is checked, and how strictly.

    Attributes:
        interval: of the events' own time, as features, labels and the gate have it.
        version: of the model, or `@alias`.
        timezone: of the shops.
        significance: chance of a false alarm over all features together, when nothing has changed.
        min_drifted_fraction: of the features, from which on the interval as a whole counts as drifted.
        sample_size: rows a view and side.
        seed: of the samples.
    """

    interval: Interval
    version: str
    timezone: ZoneInfo
    significance: float
    min_drifted_fraction: float
    sample_size: int
    seed: int

    def __post_init__(self) -> None:
        if not 0 < self.significance < 1:
            raise DriftError(f"--p-value must lie between 0 and 1, not at {self.significance}")
        if not 0 < self.min_drifted_fraction <= 1:
            raise DriftError(f"--min-drifted-fraction must be above 0 and at most 1, not {self.min_drifted_fraction}")
        if self.sample_size < 100:
            raise DriftError(f"--sample-size must be at least 100, not {self.sample_size}: fewer rows prove nothing")


def run_check(registry: Registry, request: CheckRequest) -> dict[str, Any]:
    """Compare, store the outcome and return the job's result.

    The reference is as long as the interval and ends where the model's knowledge does, so that figures of
    households (baskets, spend) are over the same time on both sides.

    Raises:
        NoReferenceError: the model's snapshot or its end is not known, or gone.
        EmptyIntervalError: one side has no rows.
    """
    started = time.monotonic()
    version = str(registry.version(request.version).version)
    snapshot, known_until = reference_of(registry.run_tags(version), registry.model_name, version)
    length = request.interval.end - request.interval.start
    reference = Interval(known_until - length, known_until)
    catalog = open_catalog()
    sales = load_table(catalog, TRANSACTIONS)
    current = sales.current_snapshot()
    if current is None:
        raise EmptyIntervalError(f"table {TRANSACTIONS} is empty: ingest events first")
    if sales.snapshot_by_id(snapshot) is None:
        raise NoReferenceError(
            f"snapshot {snapshot} of {TRANSACTIONS}, from which version {version} of {registry.model_name} "
            "was made, is gone (expired): train again, and keep snapshots for as long as their models serve"
        )
    reference_data = load_table(catalog, PRODUCTS.identifier)
    products = reference_data.scan(selected_fields=PRODUCT_COLUMNS).to_arrow()
    before, now = (
        views_of(rows, products, request.timezone, request.sample_size, request.seed)
        for rows in (
            _lines(catalog, reference, snapshot, "the reference"),
            _lines(catalog, request.interval, current.snapshot_id, "the interval"),
        )
    )
    features = compare(before, now, request.significance)
    comparison = Comparison(request.interval, reference, registry.model_name, version, snapshot, current.snapshot_id)
    written = store(catalog, comparison, features)
    fraction = sum(feature.drifted for feature in features) / len(features)
    _log.info("%d features, %.0f %% drifted", len(features), 100 * fraction)
    return {
        "features": [
            {
                "name": feature.name,
                "test": feature.test,
                "statistic": round(feature.statistic, 6),
                "p_value": feature.p_value,
                "drifted": feature.drifted,
            }
            for feature in features
        ],
        "drifted": fraction >= request.min_drifted_fraction,
        "drifted_fraction": round(fraction, 4),
        "model_version": version,
        "interval_start": iso(request.interval.start),
        "interval_end": iso(request.interval.end),
        "reference_start": iso(reference.start),
        "reference_end": iso(reference.end),
        "reference_snapshot": str(snapshot),
        "current_snapshot": str(current.snapshot_id),
        "seconds": round(time.monotonic() - started, 2),
    } | lineage.datasets(
        [
            lineage.model(registry.model_name, version),
            lineage.table(TRANSACTIONS, current.snapshot_id, features[0].current_rows),
            lineage.table(TRANSACTIONS, snapshot, features[0].reference_rows),
            lineage.as_of_now(reference_data, products.num_rows),
        ],
        [written],
    )


def reference_of(tags: Mapping[str, str], model_name: str, version: str) -> tuple[int, dt.datetime]:
    """The snapshot that a model was made from, and until when it knows what happened, from its run's tags.

    Raises:
        NoReferenceError: the tags are missing or no such values.
    """
    try:
        return int(tags[_SNAPSHOT_TAG]), dt.datetime.fromisoformat(tags[_KNOWN_UNTIL_TAG]).astimezone(dt.UTC)
    except (KeyError, ValueError) as error:
        raise NoReferenceError(
            f"the run of version {version} of {model_name} has no usable tags {_SNAPSHOT_TAG} and {_KNOWN_UNTIL_TAG} "
            f"({error}): train it again, training sets them"
        ) from error


def _lines(catalog: SqlCatalog, interval: Interval, snapshot: int, what: str) -> pa.Table:
    during = And(
        GreaterThanOrEqual("transaction_timestamp", interval.start.isoformat()),
        LessThan("transaction_timestamp", interval.end.isoformat()),
    )
    table = load_table(catalog, TRANSACTIONS)
    rows = table.scan(row_filter=during, selected_fields=LINE_COLUMNS, snapshot_id=snapshot).to_arrow()
    if not rows.num_rows:
        raise EmptyIntervalError(
            f"{what} {interval} has no transactions in {TRANSACTIONS} (snapshot {snapshot}): "
            "ingest it, or check another interval"
        )
    return rows
