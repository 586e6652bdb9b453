"""Judging a closed interval as a whole: its counts against the ledger, its rows against the expectations."""

import logging
import time
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table

from include.jobs.ingest.expectations import Suite
from include.jobs.lake.catalog import load_table
from include.jobs.lake.errors import JobError
from include.jobs.lake.intervals import of_interval
from include.jobs.lake.ledger import Interval, IntervalRecord, Ledger, iso
from include.jobs.lake.tables import QUARANTINE, TRANSACTIONS

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

_SEED = 7
_HASH = 2_654_435_761
_SCALE = 2**32


class IntervalNotClosedError(JobError):
    """There is nothing to judge yet."""


class LedgerMismatchError(JobError):
    """The tables do not hold what the ledger records."""


class ExpectationsFailedError(JobError):
    """The interval is not what it should be."""


def validate(catalog: SqlCatalog, interval: Interval, suite: Suite) -> dict[str, Any]:
    """Judge an interval. Empty ones pass: nothing was sold.

    Returns:
        The job's result: `{success, evaluated, failed_expectations, rows, sampled, …}`.

    Raises:
        IntervalNotClosedError: the ledger has no such interval.
        LedgerMismatchError: rows in the tables are not as many as recorded.
    """
    begun = time.monotonic()
    events = load_table(catalog, TRANSACTIONS.identifier)
    record = Ledger.from_properties(events.properties).get(interval)
    if record is None:
        raise IntervalNotClosedError(
            f"interval {interval} of {TRANSACTIONS.identifier} is not closed: run the ingest of these boundaries first"
        )
    _held(events, interval, record.counts.accepted)
    _held(load_table(catalog, QUARANTINE.identifier), interval, record.counts.quarantined)
    entries: list[dict[str, Any]] = []
    judged = 0
    if record.counts.accepted:
        rows = _rows(events, record, suite)
        judged = len(rows)
        entries = suite.judge(rows, {"start": interval.start, "end": interval.end})
    failed = [entry for entry in entries if not entry["success"]]
    return {
        "success": not failed,
        "evaluated": len(entries),
        "failed_expectations": failed,
        "rows": record.counts.accepted,
        "judged_rows": judged,
        "interval_start": iso(interval.start),
        "interval_end": iso(interval.end),
        "seconds": round(time.monotonic() - begun, 3),
    }


def explain(result: dict[str, Any]) -> ExpectationsFailedError:
    """The error for a result without success: one line an expectation."""
    lines = [
        f"  {entry['expectation']} of {entry['column'] or 'the table'}: expected {entry['expected']}, "
        f"found {entry['observed']}"
        for entry in result["failed_expectations"]
    ]
    return ExpectationsFailedError(
        f"interval [{result['interval_start']}, {result['interval_end']}) of {TRANSACTIONS.identifier} fails "
        f"{len(lines)} of {result['evaluated']} expectations:\n" + "\n".join(lines) + "\n"
        "Look at the producer of these days. When the data is right and the bounds are not, change "
        "include/contracts/transactions.expectations.yaml and run this again"
    )


def _held(table: Table, interval: Interval, recorded: int) -> None:
    found = table.scan(row_filter=of_interval(interval.start)).count()
    if found != recorded:
        raise LedgerMismatchError(
            f"interval {interval}: {'.'.join(table.name())} holds {found} rows, the ledger records {recorded}. Run the "
            "ingest of this interval again: it reads the recorded offsets and replaces the rows"
        )


def _rows(events: Table, record: IntervalRecord, suite: Suite) -> "pd.DataFrame":
    """The columns that the suite looks at: all rows, or a seeded sample of them, the same in every run."""
    fields = tuple(dict.fromkeys([*suite.columns, "kafka_partition", "kafka_offset"]))
    fraction = min(1.0, suite.sample_rows / record.counts.accepted)
    scan = events.scan(row_filter=of_interval(record.interval.start), selected_fields=fields)
    if fraction == 1.0:
        return scan.to_arrow().to_pandas()
    log.info("judging a sample of about %d of %d rows", suite.sample_rows, record.counts.accepted)
    kept = [batch.filter(_sampled(batch, fraction)) for batch in scan.to_arrow_batch_reader()]
    return pa.Table.from_batches(kept).to_pandas()


def _sampled(batch: pa.RecordBatch, fraction: float) -> pa.Array:
    """A multiplicative hash of a record's place in Kafka decides, so that the choice needs no state."""
    place = pc.add(pc.multiply(batch["kafka_offset"], 64), batch["kafka_partition"].cast(pa.int64()))
    mixed = pc.bit_wise_and(pc.multiply(pc.bit_wise_and(pc.add(place, _SEED), _SCALE - 1), _HASH // 2), _SCALE - 1)
    return pc.less(mixed, int(fraction * _SCALE))
