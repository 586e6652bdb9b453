"""One interval from Kafka to the lake: plan, read, check, write, stage. Nobody sees it until `publish` has run."""

import datetime as dt
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pyiceberg.catalog.sql import SqlCatalog

from include.jobs.ingest.contract import Contract
from include.jobs.ingest.duplicates import settle
from include.jobs.ingest.helpers import Helpers
from include.jobs.ingest.mended import Mended
from include.jobs.ingest.near import TakenMeanwhileError
from include.jobs.ingest.plan import plan
from include.jobs.ingest.publish import PlanOutdatedError, Snapshots, stage
from include.jobs.ingest.share import Share, Written
from include.jobs.ingest.sources import Sources
from include.jobs.ingest.topic import Topic
from include.jobs.lake import lineage
from include.jobs.lake.catalog import ensure_table, load_table
from include.jobs.lake.erasures import listed_pseudonyms
from include.jobs.lake.errors import JobError
from include.jobs.lake.ledger import Counts, Interval, IntervalRecord, OffsetRange, iso
from include.jobs.lake.pages import closed_intervals, taken_intervals
from include.jobs.lake.tables import EventTables

log = logging.getLogger(__name__)

_MAX_PLANS = 5
_MAX_LOOKS = 20


class FoundLessError(JobError):
    """Kafka no longer has all records that the closed interval holds."""


class TooManyBadRecordsError(JobError):
    """More of the interval breaks its contract than is allowed."""


@dataclass(frozen=True, slots=True)
class Request:
    """What to ingest, and how strictly.

    `take_what_is_there`: where records are gone that the interval had, or should have had, the rest is taken for it.
    """

    interval: Interval
    run_id: str
    lateness: dt.timedelta
    max_bad_fraction: float
    tables: EventTables
    take_what_is_there: bool = False


def ingest(
    catalog: SqlCatalog, topic: Topic, contract: Contract, request: Request, helpers: Helpers | None = None
) -> dict[str, Any]:
    """Stage the rows of the interval's offset ranges, and reserve these for it. Safe to repeat.

    `helpers` are the processes that share the work of a large interval; by default there are none.

    Returns:
        The job's result: counts, ranges, snapshot ids, seconds.

    Raises:
        FoundLessError: records are gone that the closed interval holds. Nothing was staged.
        TooManyBadRecordsError: nothing was staged.
        DuplicatesError: events came more than once and the contract refuses that; nothing was staged.
        PlanOutdatedError: other runs kept taking neighbours meanwhile.
        JobError: see `plan`, `Topic`, `Helpers.write`, `replace_interval`.
    """
    with TemporaryDirectory(prefix="podium-interval-") as folder:
        return _ingest(catalog, topic, contract, request, helpers or Helpers(), Path(folder))


def _ingest(
    catalog: SqlCatalog, topic: Topic, contract: Contract, request: Request, helpers: Helpers, folder: Path
) -> dict[str, Any]:
    begun = time.monotonic()
    events, quarantine = ensure_table(catalog, request.tables.events), ensure_table(catalog, request.tables.quarantine)
    for attempt in range(1, _MAX_PLANS + 1):
        ledger = taken_intervals(events)
        rerun = ledger.get(request.interval) is not None
        closed = closed_intervals(events).get(request.interval)
        mended = Mended.load(events, closed)
        now, take = dt.datetime.now(dt.UTC), request.take_what_is_there
        sources = Sources.from_properties(events.properties)
        planned = plan(request.interval, ledger, sources, topic, now, request.lateness, take_what_is_there=take)
        ranges = planned.ranges
        erased = listed_pseudonyms(catalog)
        share = Share(request.interval, request.run_id, request.tables, contract, planned.there, mended, erased, folder)
        log.info("interval %s: up to %d records in %s", request.interval, len(share), _ranges(ranges))
        written = helpers.write(events, quarantine, topic, share)
        given_up = max(closed.counts.kept - written.counts.kept, 0) if closed else 0
        if closed and given_up and not take:
            written.discard(events, quarantine)
            raise _found_less(closed, written.counts)
        if not _enough_good(request, written.counts):
            written.discard(events, quarantine)
            raise _too_many_bad(request, topic.name, written)
        record = IntervalRecord(
            interval=request.interval,
            topic=topic.name,
            topic_id=planned.topic_id,
            ranges=ranges,
            counts=written.counts,
            run_id=request.run_id,
            closed_at=dt.datetime.now(dt.UTC),
            mended=closed.mended if closed else {},
            given_up=(closed.given_up if closed else 0) + given_up,
            last={**planned.marks, **written.last},
        )
        try:
            if listed_pseudonyms(catalog) != erased:
                written.discard(events, quarantine)
                raise PlanOutdatedError(f"a household was erased while interval {request.interval} was read")
            record, written, staged = _stage(catalog, topic, share, record, written)
        except PlanOutdatedError:
            if attempt == _MAX_PLANS:
                raise
            log.info("planning %s again: a neighbour was taken, or a household erased", request.interval)
            events = ensure_table(catalog, request.tables.events)
            continue
        break
    seconds = time.monotonic() - begun
    read = lineage.topic(topic.name, record.counts.read)
    result = _result(record, written, staged.events, rerun=rerun) | {
        "seconds": round(seconds, 3),
        "rows_per_s": round(record.counts.read / seconds),
        "peak_memory_mb": helpers.peak_memory_mb,
    }
    return result | lineage.datasets([read], staged.datasets(request.tables, record))


def _found_less(closed: IntervalRecord, counts: Counts) -> FoundLessError:
    return FoundLessError(
        f"interval {closed.interval} of topic {closed.topic} holds {closed.counts.kept} records, but only "
        f"{counts.kept} of them are in offsets {_ranges(closed.ranges)} now: the rest was compacted or deleted. "
        "Nothing was changed: what is published stays. Mend the topic (restore it, or set cleanup.policy=delete), run "
        "this again; to correct rows without the topic, use `replay_quarantine`; or run it with `--found-less take` to "
        f"have the table hold only what is there now: {closed.counts.kept - counts.kept} records are given up for good"
    )


def _stage(
    catalog: SqlCatalog, topic: Topic, share: Share, record: IntervalRecord, written: Written
) -> tuple[IntervalRecord, Written, Snapshots]:
    """Stage what was written without its duplicates, which are looked for again when a neighbour has come in between.

    Raises:
        TakenMeanwhileError: neighbours with the same events kept coming.
        JobError: see `settle`, `stage`.
    """
    events, quarantine = share.tables.events.identifier, share.tables.quarantine.identifier
    for attempt in range(1, _MAX_LOOKS + 1):
        written, looked = settle(load_table(catalog, events), load_table(catalog, quarantine), topic, share, written)
        record = replace(record, counts=written.counts)
        try:
            check = looked.check if looked else None
            return record, written, stage(catalog, share.tables, record, written.accepted, written.quarantined, check)
        except TakenMeanwhileError:
            if attempt == _MAX_LOOKS:
                raise
            log.info("looking for duplicates of %s again: a neighbour has come in between", record.interval)
    raise RuntimeError("unreachable")


def _enough_good(request: Request, counts: Counts) -> bool:
    return counts.quarantined <= request.max_bad_fraction * counts.read


def _too_many_bad(request: Request, topic: str, written: Written) -> TooManyBadRecordsError:
    counts = written.counts
    reasons = ", ".join(f"{count} {reason}" for reason, count in written.reasons.most_common())
    return TooManyBadRecordsError(
        f"interval {request.interval} of topic {topic}: {counts.quarantined} of {counts.read} records break the "
        f"contract ({reasons}), allowed is a fraction of {request.max_bad_fraction}. Nothing was staged. Mend the "
        "producer, or raise max_bad_fraction of the topic in the settings if they are to go to quarantine"
    )


def _ranges(ranges: Mapping[int, OffsetRange]) -> dict[str, list[int]]:
    return {str(number): [span.start, span.end] for number, span in sorted(ranges.items())}


def _result(record: IntervalRecord, written: Written, snapshot_id: int, *, rerun: bool) -> dict[str, Any]:
    counts = record.counts
    return {
        "read": counts.read,
        "accepted": counts.accepted,
        "quarantined": counts.quarantined,
        "erased": counts.erased,
        "duplicates": counts.duplicates,
        "given_up": record.given_up,
        "reasons": dict(sorted(written.reasons.items())),
        "events_per_day": dict(sorted(written.days.items())),
        "snapshot_id": snapshot_id,
        "interval_start": iso(record.interval.start),
        "interval_end": iso(record.interval.end),
        "ranges": _ranges(record.ranges),
        "rerun": rerun,
    }
