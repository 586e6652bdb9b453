"""Outcomes of drift checks in the lake: `monitoring.drift`, one row a feature, replaced by interval and version."""

import datetime as dt
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.expressions import And, EqualTo
from pyiceberg.schema import Schema
from pyiceberg.types import BooleanType, DoubleType, IcebergType, LongType, NestedField, StringType, TimestamptzType

from include.jobs.drift.statistics import FeatureDrift
from include.jobs.lake import lineage
from include.jobs.lake.catalog import ensure_table
from include.jobs.lake.ledger import Interval
from include.jobs.lake.tables import MONITORING_DRIFT, TableSpec

_COLUMNS: tuple[tuple[str, IcebergType], ...] = (
    ("interval_start", TimestamptzType()),
    ("interval_end", TimestamptzType()),
    ("model_name", StringType()),
    ("model_version", StringType()),
    ("reference_start", TimestamptzType()),
    ("reference_end", TimestamptzType()),
    ("reference_snapshot", LongType()),
    ("current_snapshot", LongType()),
    ("name", StringType()),
    ("view", StringType()),
    ("test", StringType()),
    ("statistic", DoubleType()),
    ("p_value", DoubleType()),
    ("threshold", DoubleType()),
    ("drifted", BooleanType()),
    ("reference_rows", LongType()),
    ("current_rows", LongType()),
)

DRIFT = TableSpec(
    MONITORING_DRIFT,
    Schema(
        *(
            NestedField(field_id=number, name=name, field_type=kind, required=True)
            for number, (name, kind) in enumerate(_COLUMNS, start=1)
        )
    ),
)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was compared with what, for which model."""

    interval: Interval
    reference: Interval
    model_name: str
    model_version: str
    reference_snapshot: int
    current_snapshot: int


def store(catalog: SqlCatalog, comparison: Comparison, features: Sequence[FeatureDrift]) -> lineage.Dataset:
    """Write the rows of a comparison in place of those of an earlier check of the same interval and version."""
    same: dict[str, dt.datetime | str | int] = {
        "interval_start": comparison.interval.start,
        "interval_end": comparison.interval.end,
        "model_name": comparison.model_name,
        "model_version": comparison.model_version,
        "reference_start": comparison.reference.start,
        "reference_end": comparison.reference.end,
        "reference_snapshot": comparison.reference_snapshot,
        "current_snapshot": comparison.current_snapshot,
    }
    fields = [name for name, _ in _COLUMNS if name not in same]
    rows = [same | {name: getattr(feature, name) for name in fields} for feature in features]
    table = ensure_table(catalog, DRIFT)
    with warnings.catch_warnings():
        # The first check of an interval replaces nothing.
        warnings.filterwarnings("ignore", message="Delete operation did not match any records")
        table.overwrite(
            pa.Table.from_pylist(rows, schema=DRIFT.arrow_schema),
            overwrite_filter=And(
                EqualTo("interval_start", comparison.interval.start.isoformat()),
                EqualTo("interval_end", comparison.interval.end.isoformat()),
                EqualTo("model_name", comparison.model_name),
                EqualTo("model_version", comparison.model_version),
            ),
        )
    return lineage.as_of_now(table, len(rows))
