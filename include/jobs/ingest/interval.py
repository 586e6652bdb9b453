"""One interval from Kafka to the lake: plan, read, check, write, stage. Nobody sees it until `publish` has run."""

import datetime as dt
import logging
import resource
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table

from include.jobs.ingest.ahead import ahead
from include.jobs.ingest.check import Checked, check_batch
from include.jobs.ingest.contract import Contract
from include.jobs.ingest.erased import leave_out
from include.jobs.ingest.mended import Mended
from include.jobs.ingest.plan import plan
from include.jobs.ingest.publish import PlanOutdatedError, stage
from include.jobs.ingest.topic import Records, Topic
from include.jobs.lake import lineage
from include.jobs.lake.catalog import ensure_table
from include.jobs.lake.erasures import Erased, listed_pseudonyms
from include.jobs.lake.errors import JobError
from include.jobs.lake.intervals import IntervalWriter
from include.jobs.lake.ledger import Counts, Interval, IntervalRecord, Ledger, OffsetRange, iso
from include.jobs.lake.tables import EventTables

log = logging.getLogger(__name__)

_PROGRESS_S = 5.0
_MAX_PLANS = 5


class TooManyBadRecordsError(JobError):
    """More of the interval breaks its contract than is allowed."""


@dataclass(frozen=True, slots=True)
class Request:
    """What to ingest, and how strictly."""

    interval: Interval
    run_id: str
    lateness: dt.timedelta
    max_bad_fraction: float
    tables: EventTables


@dataclass(frozen=True, slots=True)
class _Written:
    counts: Counts
    reasons: Counter[str]
    days: Counter[str]
    accepted: IntervalWriter
    quarantined: IntervalWriter

    def discard(self) -> None:
        """Remove the files: they will not be staged."""
        self.accepted.discard()
        self.quarantined.discard()


def ingest(catalog: SqlCatalog, topic: Topic, contract: Contract, request: Request) -> dict[str, Any]:
    """Stage the rows of the interval's offset ranges, and reserve these for it. Safe to repeat.

    Returns:
        The job's result: counts, ranges, snapshot ids, seconds.

    Raises:
        TooManyBadRecordsError: nothing was staged.
        PlanOutdatedError: other runs kept taking neighbours meanwhile.
        JobError: see `plan`, `Topic`, `replace_interval`.
    """
    begun = time.monotonic()
    events, quarantine = ensure_table(catalog, request.tables.events), ensure_table(catalog, request.tables.quarantine)
    for attempt in range(1, _MAX_PLANS + 1):
        view = topic.view(request.interval)
        ledger = Ledger.of_taken(events.properties)
        rerun = ledger.get(request.interval) is not None
        closed = Ledger.from_properties(events.properties).get(request.interval)
        mended = Mended.load(events, closed)
        ranges = plan(request.interval, ledger, view, dt.datetime.now(dt.UTC), request.lateness)
        erased = Erased.load(catalog)
        written = _write(events, quarantine, topic, contract, request, ranges, mended, erased)
        _enough_good(request, topic.name, written)
        record = IntervalRecord(
            interval=request.interval,
            topic=topic.name,
            topic_id=view.topic_id,
            ranges=ranges,
            counts=written.counts,
            run_id=request.run_id,
            closed_at=dt.datetime.now(dt.UTC),
            mended=closed.mended if closed else {},
        )
        try:
            if listed_pseudonyms(catalog) != erased.pseudonyms:
                written.discard()
                raise PlanOutdatedError(f"a household was erased while interval {request.interval} was read")
            snapshot_id = stage(catalog, request.tables, record, written.accepted.files, written.quarantined.files)
        except PlanOutdatedError:
            if attempt == _MAX_PLANS:
                raise
            log.info("planning %s again: a neighbour was taken, or a household erased", request.interval)
            events = ensure_table(catalog, request.tables.events)
            continue
        break
    seconds = time.monotonic() - begun
    read = lineage.topic(topic.name, record.counts.read)
    staged = [
        lineage.table(request.tables.events.identifier, snapshot_id, record.counts.accepted),
        lineage.table(request.tables.quarantine.identifier, None, record.counts.quarantined),
    ]
    result = _result(record, written, snapshot_id, rerun=rerun, seconds=seconds)
    return result | lineage.datasets([read], staged)


def _write(
    events: Table,
    quarantine: Table,
    topic: Topic,
    contract: Contract,
    request: Request,
    ranges: Mapping[int, OffsetRange],
    mended: Mended,
    erased: Erased,
) -> _Written:
    start = request.interval.start
    expected = sum(len(span) for span in ranges.values())
    log.info("interval %s: up to %d records in %s", request.interval, expected, _ranges(ranges))
    reasons: Counter[str] = Counter()
    days: Counter[str] = Counter()
    read = left_out = 0
    reported = time.monotonic()
    accepted_schema, quarantined_schema = request.tables.events.arrow_schema, request.tables.quarantine.arrow_schema
    with ExitStack() as stack:
        accepted = stack.enter_context(IntervalWriter(events, start, accepted_schema))
        quarantined = stack.enter_context(IntervalWriter(quarantine, start, quarantined_schema))
        for records, checked in ahead(_checked(contract, ahead(topic.read(ranges)))):
            checked, gone = leave_out(erased, records, checked)
            left_out += gone
            back, checked = mended.put_back(records, checked)
            for good in (_accepted(records, checked, start, accepted_schema), *back):
                days.update(_per_day(good))
                accepted.write(good)
            quarantined.write(_quarantined(records, checked, request, quarantined_schema))
            reasons.update(broken.reason.value for broken in checked.broken)
            read += len(records)
            if time.monotonic() - reported > _PROGRESS_S:
                reported = time.monotonic()
                log.info("read %d of up to %d records", read, expected)
    return _Written(Counts(read, accepted.rows, quarantined.rows, left_out), reasons, days, accepted, quarantined)


def _checked(contract: Contract, batches: Iterator[Records]) -> Iterator[tuple[Records, Checked]]:
    return ((records, check_batch(contract, records.keys, records.values)) for records in batches)


def _enough_good(request: Request, topic: str, written: _Written) -> None:
    counts = written.counts
    if counts.quarantined <= request.max_bad_fraction * counts.read:
        return
    written.discard()
    reasons = ", ".join(f"{count} {reason}" for reason, count in written.reasons.most_common())
    raise TooManyBadRecordsError(
        f"interval {request.interval} of topic {topic}: {counts.quarantined} of {counts.read} records break the "
        f"contract ({reasons}), allowed is a fraction of {request.max_bad_fraction}. Nothing was staged. Mend the "
        "producer, or raise max_bad_fraction of the topic in the settings if they are to go to quarantine"
    )


def _accepted(records: Records, checked: Checked, start: dt.datetime, schema: pa.Schema) -> pa.RecordBatch:
    columns = _origin(records, checked.good, start) | checked.columns
    return _batch(columns, len(checked.good), schema)


def _quarantined(records: Records, checked: Checked, request: Request, schema: pa.Schema) -> pa.RecordBatch:
    places = pa.array([broken.index for broken in checked.broken], pa.int64())
    columns = _origin(records, places, request.interval.start) | {
        "key": records.keys.take(places),
        "value": records.values.take(places),
        "reason": pa.array([broken.reason.value for broken in checked.broken], pa.string()),
        "detail": pa.array([broken.detail for broken in checked.broken], pa.string()),
        "run_id": pa.repeat(pa.scalar(request.run_id), len(places)),
    }
    return _batch(columns, len(places), schema)


def _per_day(accepted: pa.RecordBatch) -> dict[str, int]:
    """Rows by UTC day of their event time."""
    counts = pc.value_counts(accepted.column("event_time").cast(pa.date32()))
    return {row["values"].isoformat(): row["counts"] for row in counts.to_pylist()}


def _origin(records: Records, places: pa.Array, start: dt.datetime) -> dict[str, pa.Array]:
    """The columns that tell where a record came from."""

    def take(column: pa.Array) -> pa.Array:
        return column if len(places) == len(column) else column.take(places)

    return {
        "interval_start": pa.repeat(pa.scalar(start, pa.timestamp("us", "UTC")), len(places)),
        "kafka_partition": take(records.partitions),
        "kafka_offset": take(records.offsets),
        "event_time": take(records.times).cast(pa.timestamp("ms", "UTC")),
    }


def _batch(columns: Mapping[str, pa.Array], rows: int, schema: pa.Schema) -> pa.RecordBatch:
    if rows == 0:
        return pa.RecordBatch.from_pylist([], schema=schema)
    # A column that only a newer contract knows stays empty.
    nothing = pa.nulls(rows)
    arrays = [columns.get(item.name, nothing).cast(item.type) for item in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _ranges(ranges: Mapping[int, OffsetRange]) -> dict[str, list[int]]:
    return {str(number): [span.start, span.end] for number, span in sorted(ranges.items())}


def _result(
    record: IntervalRecord, written: _Written, snapshot_id: int, *, rerun: bool, seconds: float
) -> dict[str, Any]:
    counts = record.counts
    return {
        "read": counts.read,
        "accepted": counts.accepted,
        "quarantined": counts.quarantined,
        "erased": counts.erased,
        "reasons": dict(sorted(written.reasons.items())),
        "events_per_day": dict(sorted(written.days.items())),
        "seconds": round(seconds, 3),
        "rows_per_s": round(counts.read / seconds),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "snapshot_id": snapshot_id,
        "interval_start": iso(record.interval.start),
        "interval_end": iso(record.interval.end),
        "ranges": _ranges(record.ranges),
        "rerun": rerun,
    }
