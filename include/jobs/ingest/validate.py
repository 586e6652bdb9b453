"""Judging an interval as a whole, and publishing it when it is sound.

Its counts are held against the ledger, its rows on the staging branch against the expectations. What was found is left
as a page in the lake, its Data Docs.
"""

import logging
import time
from functools import cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table
from pyiceberg.table.refs import MAIN_BRANCH

from include.jobs.ingest.contract import ContractError, Reference
from include.jobs.ingest.expectations import Judgement, Suite, referring
from include.jobs.ingest.page import rendered
from include.jobs.ingest.publish import (
    IntervalNotStagedError,
    held,
    publish,
    quarantine_branch,
    staged_record,
)
from include.jobs.ingest.sample import sample
from include.jobs.lake import lineage
from include.jobs.lake.catalog import load_table
from include.jobs.lake.commits import STAGING, scan_interval
from include.jobs.lake.ledger import Interval, IntervalRecord, iso
from include.jobs.lake.pages import closed_intervals
from include.jobs.lake.tables import EventTables

log = logging.getLogger(__name__)

#: So many rows of an interval may lie outside it whatever their share is: a quiet hour is not refused for one of them.
_STRAYS = 10


def validate(
    catalog: SqlCatalog, tables: EventTables, interval: Interval, suite: Suite, max_stray_fraction: float = 0.05
) -> dict[str, Any]:
    """Judge an interval, and publish it when it is staged and sound; one that is published already is judged again.

    Empty ones pass: nothing was sold. One is refused of whose rows more than `max_stray_fraction`, and more than ten,
    have a message time outside it.

    Returns:
        The job's result: `{success, published, evaluated, failed_expectations, skipped_expectations, rows, judged_rows,
        data_docs, …}`; skipped is what too few rows have a value for.

    Raises:
        IntervalNotStagedError: it is neither staged nor closed.
        LakeError: a table that its fields refer to does not exist.
        LedgerMismatchError: rows in the tables are not as many as recorded.
        StagedAgainError: another run has staged it anew while it was judged.
    """
    begun = time.monotonic()
    events = load_table(catalog, tables.events.identifier)
    staged = staged_record(events, interval)
    record = staged or closed_intervals(events).get(interval)
    if record is None:
        raise IntervalNotStagedError(
            f"interval {interval} of {tables.events.identifier} is neither staged nor closed: run the ingest of these "
            "boundaries first"
        )
    branch = MAIN_BRANCH if staged is None else STAGING
    _complete(events, load_table(catalog, tables.quarantine.identifier), record, branch)
    judgement = Judgement()
    judged = 0
    if record.counts.accepted:
        rows = _rows(events, branch, record, suite)
        for reference in suite.references:
            leads = _leads_somewhere(rows[reference.field], _known(catalog, reference), reference)
            rows = rows.append_column(referring(reference), leads)
        judged = rows.num_rows
        within = 1 - max(max_stray_fraction, min(1.0, _STRAYS / record.counts.accepted))
        judgement = suite.judge(rows, {"start": interval.start, "end": interval.end, "within": within})
    failed = [{"interval": str(interval), **entry} for entry in judgement.entries if not entry["success"]]
    for entry in judgement.skipped:
        log.info("not judged: %s of %s: %d rows have a value, judged from %d on", *entry.values())
    result = {
        "table": tables.events.identifier,
        "success": not failed,
        "published": staged is None or not failed,
        "evaluated": len(judgement.entries),
        "failed_expectations": failed,
        "skipped_expectations": [{"interval": str(interval), **entry} for entry in judgement.skipped],
        "rows": record.counts.accepted,
        "judged_rows": judged,
        "data_docs": _keep(catalog, events, record, judged, judgement),
        "interval_start": iso(interval.start),
        "interval_end": iso(interval.end),
    }
    outputs = []
    if staged is not None and not failed:
        published = publish(catalog, tables, staged)
        result["snapshot_id"] = published.events
        outputs = published.datasets(tables, record)
    result |= lineage.datasets([lineage.as_of_now(events, record.counts.accepted, branch)], outputs)
    return result | {"seconds": round(time.monotonic() - begun, 3)}


def _complete(events: Table, quarantine: Table, record: IntervalRecord, branch: str) -> None:
    held(events, branch, record.interval, record.counts.accepted)
    where = quarantine_branch(quarantine, record) if branch == STAGING else MAIN_BRANCH
    held(quarantine, where, record.interval, record.counts.set_aside)


def _keep(catalog: SqlCatalog, events: Table, record: IntervalRecord, judged: int, judgement: Judgement) -> list[str]:
    """Leave a page in the lake; its address. The page of an interval is replaced when that is judged again."""
    if not judgement.entries and not judgement.skipped:
        return []
    folder = f"{catalog.properties['warehouse']}/data_docs/{_name(events)}"
    address = f"{folder}/{record.interval.start:%Y%m%dT%H%M%SZ}.html"
    with events.io.new_output(address).create(overwrite=True) as stream:
        stream.write(rendered(_name(events), record.interval, record.counts.accepted, judged, judgement).encode())
    return [address]


def explain(result: dict[str, Any]) -> str:
    """What a person reads of a result without success, one line an expectation; empty for one with success."""
    if result["success"]:
        return ""
    lines = [
        f"  {entry['interval']}: {entry['expectation']} of {entry['column'] or 'the table'}: expected "
        f"{entry['expected']}, found {entry['observed']}"
        for entry in result["failed_expectations"]
    ]
    refused = sorted({entry["interval"] for entry in result["failed_expectations"]})
    return (
        f"{len(lines)} of {result['evaluated']} expectations on {result['table']} fail:\n" + "\n".join(lines) + "\n"
        f"Refused: {', '.join(refused)}. What was not published before stays invisible. Look at the producer of these "
        "days, and at the pages of Data Docs that the result names first in data_docs. When the data is right and the "
        "bounds are not, change the suite in include/contracts and run this again; when the data was mended, run the "
        "ingest again"
    )


def _name(table: Table) -> str:
    return ".".join(table.name())


def _rows(events: Table, branch: str, record: IntervalRecord, suite: Suite) -> pa.Table:
    """The columns that the suite looks at: all rows, or of many a sample, with what that would miss."""
    fields = tuple(dict.fromkeys([*suite.columns, "kafka_partition", "kafka_offset"]))
    scan = scan_interval(events, record.interval.start, branch, fields)
    if scan is None:
        raise IntervalNotStagedError(f"table {_name(events)} has no branch {branch}: run the ingest again")
    rows, wanted = record.counts.accepted, suite.sample_rows
    if rows <= wanted:
        return scan.to_arrow()
    log.info("judging a sample of about %d of %d rows", wanted, rows)
    return sample(scan.to_arrow_batch_reader, suite.unique, rows, wanted)


@cache
def _known(catalog: SqlCatalog, reference: Reference) -> pa.ChunkedArray:
    """All values that a reference may have; read once, however many days a process judges."""
    scan = load_table(catalog, reference.table).scan(selected_fields=(reference.column,))
    return scan.to_arrow()[reference.column]


def _leads_somewhere(values: pa.ChunkedArray, known: pa.ChunkedArray, reference: Reference) -> pa.ChunkedArray:
    """Which of the values are known; missing where the value is."""
    try:
        found = pc.is_in(values, value_set=known.cast(values.type).combine_chunks())
    except pa.ArrowInvalid as error:
        raise ContractError(
            f"{reference.field} refers to {reference.table}.{reference.column}, which has values that its type "
            f"{values.type} does not hold ({error}): widen the field in include/contracts"
        ) from error
    return pc.if_else(pc.is_valid(values), found, None)
