"""Staging an interval and publishing it: its rows become visible and it is closed, in one commit of the events."""

import dataclasses
import datetime as dt
from collections.abc import Callable

from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table
from pyiceberg.table.refs import MAIN_BRANCH

from include.jobs.ingest.plan import fits
from include.jobs.ingest.sources import Sources
from include.jobs.lake import lineage
from include.jobs.lake.catalog import load_table
from include.jobs.lake.commits import (
    STAGING,
    discard_staged,
    files_of,
    publish_interval,
    replace_interval,
    scan_interval,
)
from include.jobs.lake.errors import JobError
from include.jobs.lake.ledger import Interval, IntervalRecord, iso
from include.jobs.lake.pages import closed_intervals, staged_intervals, taken_intervals
from include.jobs.lake.tables import EventTables


class PlanOutdatedError(JobError):
    """Another run took a neighbouring interval meanwhile, so that the planned offsets no longer fit."""


class IntervalNotStagedError(JobError):
    """There is nothing to judge or to publish."""


class StagedAgainError(JobError):
    """Another run has staged the interval anew since it was judged."""


class LedgerMismatchError(JobError):
    """The tables do not hold what the ledger records."""


@dataclasses.dataclass(frozen=True, slots=True)
class Snapshots:
    """What staging or publishing an interval has made; of the quarantine None where that was left as it is."""

    events: int
    quarantine: int | None

    def datasets(self, tables: EventTables, record: IntervalRecord) -> list[lineage.Dataset]:
        """Both tables as outputs."""
        return [
            lineage.table(tables.events.identifier, self.events, record.counts.accepted, record.given_up),
            lineage.table(tables.quarantine.identifier, self.quarantine, record.counts.set_aside),
        ]


def staged_record(table: Table, interval: Interval) -> IntervalRecord | None:
    """What is recorded of a staged interval, None when there is none."""
    return staged_intervals(table).get(interval)


def stage(
    catalog: SqlCatalog,
    tables: EventTables,
    record: IntervalRecord,
    accepted: list[DataFile],
    quarantined: list[DataFile],
    beside: Callable[[Table], None] | None = None,
) -> Snapshots:
    """Stage an interval: these files are its whole content. The snapshots are those of the staging branches.

    `beside` is called with every state of the events' table that the stage would build on; what it raises ends it.

    Raises:
        PlanOutdatedError: the record's ranges do not fit those of its neighbours.
        CommitConflictError: see `replace_interval`.
    """

    def check(table: Table) -> None:
        # Staged neighbours count as closed ones do: what is being judged keeps its offsets, however it ends.
        if not fits(record.interval, taken_intervals(table), _sources(table), record.ranges):
            raise PlanOutdatedError(
                f"interval {record.interval}: other runs took its neighbours while it was read. Run it again, when "
                "fewer intervals run at once"
            )
        if beside is not None:
            beside(table)

    check(load_table(catalog, tables.events.identifier))
    start = record.interval.start
    summary = {"podium.run-id": record.run_id, "podium.interval-start": iso(start)}
    # Two tables cannot commit together. The commit of the accepted rows comes last, because it is what makes the
    # interval a staged one: a crash in between leaves it as it was, and the next run replaces both.
    name, second = tables.quarantine.identifier, None
    if quarantined or files_of(load_table(catalog, name), start, STAGING):
        second = replace_interval(catalog, name, start, quarantined, branch=STAGING, summary=summary)
    first = replace_interval(
        catalog,
        tables.events.identifier,
        start,
        accepted,
        branch=STAGING,
        summary=summary,
        properties={record.staged_key: record.to_json()},
        check=check,
    )
    return Snapshots(first, second)


def publish(catalog: SqlCatalog, tables: EventTables, record: IntervalRecord) -> Snapshots:
    """Publish a staged interval. Safe to repeat after a crash.

    Raises:
        StagedAgainError: what is staged is not `record`.
        LedgerMismatchError: the tables do not hold what was recorded.
        JobError: see `publish_interval`.
    """
    start = record.interval.start
    summary = {"podium.run-id": record.run_id, "podium.interval-start": iso(start)}

    def check(table: Table) -> None:
        if staged_record(table, record.interval) != record or not fits(
            record.interval, closed_intervals(table), _sources(table), record.ranges
        ):
            raise StagedAgainError(
                f"interval {record.interval} of {tables.events.identifier} is no longer what was judged: another run "
                "has staged, published or discarded it meanwhile. Run `validate` again"
            )

    events, quarantine = (
        load_table(catalog, tables.events.identifier),
        load_table(catalog, tables.quarantine.identifier),
    )
    held(events, STAGING, record.interval, record.counts.accepted)
    branch = quarantine_branch(quarantine, record)
    held(quarantine, branch, record.interval, record.counts.set_aside)
    # Quarantine goes first: a crash before the other commit leaves the interval staged, and the next try finds the
    # quarantined rows published already.
    second = None
    if branch == STAGING and (files_of(quarantine, start, STAGING) or files_of(quarantine, start, MAIN_BRANCH)):
        second = publish_interval(catalog, tables.quarantine.identifier, start, summary=summary)
    closed = dataclasses.replace(record, closed_at=dt.datetime.now(dt.UTC))
    first = publish_interval(
        catalog,
        tables.events.identifier,
        start,
        summary=summary,
        closing={closed.key: closed.to_json()},
        staged=record.staged_key,
        check=check,
    )
    return Snapshots(first, second)


def discard(catalog: SqlCatalog, tables: EventTables, interval: Interval) -> None:
    """Give up a staged interval: its offsets are free again, what was published of it before stays.

    Raises:
        IntervalNotStagedError: there is none.
    """
    record = staged_record(load_table(catalog, tables.events.identifier), interval)
    if record is None:
        raise IntervalNotStagedError(
            f"interval {interval} of {tables.events.identifier} is not staged: there is nothing to discard"
        )
    summary = {"podium.interval-start": iso(interval.start)}
    if files_of(load_table(catalog, tables.quarantine.identifier), interval.start, STAGING):
        discard_staged(catalog, tables.quarantine.identifier, interval.start, summary=summary)
    discard_staged(catalog, tables.events.identifier, interval.start, summary=summary, staged=record.staged_key)


def held(table: Table, branch: str, interval: Interval, recorded: int) -> None:
    """Hold the rows of an interval on a branch against what is recorded.

    Raises:
        LedgerMismatchError: they are not as many.
    """
    found = _count(table, branch, interval)
    if found != recorded:
        raise LedgerMismatchError(
            f"interval {interval}: {'.'.join(table.name())} holds {found} rows on branch {branch}, the ledger records "
            f"{recorded}. Run the ingest of this interval again: it reads the recorded offsets and replaces the rows"
        )


def quarantine_branch(quarantine: Table, record: IntervalRecord) -> str:
    """The branch that has the quarantined rows of a staged interval: `main` when a crash has left them published."""
    staged = _count(quarantine, STAGING, record.interval)
    return STAGING if staged == record.counts.set_aside else MAIN_BRANCH


def _sources(table: Table) -> Sources:
    return Sources.from_properties(table.properties)


def _count(table: Table, branch: str, interval: Interval) -> int:
    scan = scan_interval(table, interval.start, branch)
    return 0 if scan is None else scan.count()
