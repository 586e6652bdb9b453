"""Erasing a household from the tables: every branch and every tag, ledger included.

Tables of events have a ledger of intervals and beside them the quarantine: their intervals are written anew without the
household, one commit each, and the ledger counts what was erased. From every other table with a column `household_id`
its rows are deleted. The snapshots before stay until they are expired.
"""

import dataclasses
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.expressions import EqualTo
from pyiceberg.table import Table, Transaction
from pyiceberg.table.refs import MAIN_BRANCH, SnapshotRefType
from pyiceberg.table.update.snapshot import ManageSnapshots

from include.jobs.lake.commits import STAGING, commit, files_of, replace_interval, scan_interval
from include.jobs.lake.erasures import HOUSEHOLD, Erased
from include.jobs.lake.errors import JobError
from include.jobs.lake.intervals import IntervalWriter
from include.jobs.lake.ledger import Counts, IntervalRecord, Ledger
from include.jobs.lake.pages import closed_intervals, staged_intervals, taken_intervals
from include.jobs.upkeep.tables import all_tables

_TRIES = 10
#: What the name of a quarantine adds to that of its events.
QUARANTINE = "_quarantine"
#: The reason for which a duplicate stands there.
DUPLICATE = "duplicate"
_SCRATCH = "podium.erasure"

log = logging.getLogger(__name__)


class ErasureError(JobError):
    """A household cannot be erased from somewhere."""


class _Overtaken(Exception):
    """Another writer has replaced the interval meanwhile."""


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A snapshot that a tag named and that was written anew: its table, and the ids before and after."""

    table: str
    tag: str
    before: int
    after: int


def erase_rows(catalog: SqlCatalog, household_id: int) -> dict[str, int]:
    """Erase a household from all tables; how many rows of each, staged ones included.

    Raises:
        ErasureError: an interval's tables do not hold what its ledger records, or writers keep replacing it.
    """
    erased: dict[str, int] = {}
    names = all_tables(catalog)
    for name in names:
        table = catalog.load_table(name)
        if _has_ledger(table):
            events, quarantined = _erase_events(catalog, name, household_id)
            erased[name] = events
            erased[name + QUARANTINE] = quarantined
        elif HOUSEHOLD in table.schema().column_names:
            erased[name] = _delete(catalog, name, household_id)
    return erased


def rewrite_tags(catalog: SqlCatalog, household_id: int) -> list[Rewritten]:
    """Let every tag of a table that holds the household name the same content without it.

    Raises:
        ErasureError: a quarantine has a tag.
    """
    done = []
    for name in all_tables(catalog):
        table = catalog.load_table(name)
        tags = {tag: ref for tag, ref in table.refs().items() if ref.snapshot_ref_type is SnapshotRefType.TAG}
        if tags and _is_raw(table):
            raise ErasureError(
                f"{name} has tags ({', '.join(sorted(tags))}), which keep raw records: remove them first"
            )
        if HOUSEHOLD not in table.schema().column_names:
            continue
        for tag, ref in sorted(tags.items()):
            if holds(table, household_id, ref.snapshot_id):
                done.append(Rewritten(name, tag, ref.snapshot_id, _rewrite_tag(catalog, name, tag, household_id)))
    return done


def holds(table: Table, household_id: int, snapshot_id: int | None = None) -> bool:
    """Whether a snapshot holds rows of a household."""
    scan = table.scan(EqualTo(HOUSEHOLD, household_id), (HOUSEHOLD,), snapshot_id=snapshot_id)
    return bool(scan.count())


def _has_ledger(table: Table) -> bool:
    return bool(taken_intervals(table))


def _is_raw(table: Table) -> bool:
    return {"key", "value", "kafka_offset"} <= set(table.schema().column_names)


def _erase_events(catalog: SqlCatalog, name: str, household_id: int) -> tuple[int, int]:
    erased = Erased.only(household_id)
    total = [0, 0]
    for branch in (MAIN_BRANCH, STAGING):
        for record in _ledger(catalog.load_table(name), branch):
            events, raw = _until_done(catalog, name, branch, record, erased)
            total = [total[0] + events, total[1] + raw]
    return total[0], total[1]


def _until_done(catalog: SqlCatalog, name: str, branch: str, record: IntervalRecord, erased: Erased) -> tuple[int, int]:
    for _ in range(_TRIES):
        try:
            return _erase_interval(catalog, name, branch, record, erased)
        except _Overtaken as error:
            log.info("%s: once more", error)
    raise ErasureError(
        f"other writers replaced interval {record.interval} of {name} each time: run it again when fewer are at work"
    )


def _erase_interval(
    catalog: SqlCatalog, name: str, branch: str, record: IntervalRecord, erased: Erased
) -> tuple[int, int]:
    """Write an interval anew, when it holds the household: events with the ledger first, then the quarantine.

    A crash in between leaves quarantined rows that the ledger counts as erased, which the next run finds.
    """
    events, quarantine = catalog.load_table(name), _quarantine(catalog, name)
    current = _ledger(events, branch).get(record.interval)
    if current is None:
        raise _Overtaken(f"interval {record.interval} of {name} was published or discarded")
    # Where events have no household, a key of the topic is the number of something else.
    named = HOUSEHOLD in events.schema().column_names

    def rows(batch: pa.RecordBatch) -> pa.Array:
        return erased.rows(batch[HOUSEHOLD]) if named else pa.repeat(pa.scalar(False), batch.num_rows)

    def raws(batch: pa.RecordBatch) -> pa.Array:
        return erased.raw(batch["key"], batch["value"], batch["detail"], whole=named)

    mine, raw = _Part.of(events, current, branch, rows), _Part.of(quarantine, current, branch, raws)
    if not mine.gone and not raw.gone:
        return 0, 0
    old = current.counts
    if mine.held != old.accepted or old.set_aside not in (raw.held, raw.held - raw.gone):
        raise ErasureError(
            f"interval {current.interval} of {name}: branch {branch} holds {mine.held} events and {raw.held} "
            f"quarantined records, the ledger records {old.accepted} and {old.set_aside}. Run the ingest of this "
            "interval again, or `validate` it when it is staged; then run this again"
        )
    accepted, aside = mine.held - mine.gone, raw.held - raw.gone
    counts = Counts(old.read, accepted, aside - raw.duplicates, old.read - accepted - aside, raw.duplicates)
    changed = dataclasses.replace(current, counts=counts)
    mine.rewrite(catalog, {changed.key if branch == MAIN_BRANCH else changed.staged_key: changed.to_json()})
    if raw.gone:
        raw.rewrite(catalog, {})
    return mine.gone, raw.gone


@dataclass(frozen=True, slots=True)
class _Part:
    """The rows of an interval in one table: how many there are, and how many of them are to go.

    `duplicates` are as many of those that stay as stand in quarantine for that reason.
    """

    table: Table | None
    record: IntervalRecord
    branch: str
    going: Callable[[pa.RecordBatch], pa.Array]
    held: int
    gone: int
    duplicates: int

    @classmethod
    def of(
        cls, table: Table | None, record: IntervalRecord, branch: str, going: Callable[[pa.RecordBatch], pa.Array]
    ) -> "_Part":
        held = gone = duplicates = 0
        for batch in () if table is None else _batches(table, record, branch):
            leaving = going(batch)
            held += batch.num_rows
            gone += leaving.to_pylist().count(True)
            if "reason" in batch.schema.names:
                stay = pc.and_(pc.invert(leaving), pc.equal(batch["reason"], DUPLICATE))
                duplicates += stay.to_pylist().count(True)
        return cls(table, record, branch, going, held, gone, duplicates)

    def rewrite(self, catalog: SqlCatalog, properties: dict[str, str]) -> None:
        """Write the interval without the rows that go, and set properties, in one commit."""
        table, start = self.table, self.record.interval.start
        if table is None:
            return
        planned = _paths(table, self.record, self.branch)

        def check(now: Table) -> None:
            if _paths(now, self.record, self.branch) != planned:
                raise _Overtaken(f"interval {self.record.interval} was replaced")

        with IntervalWriter(table, start, table.schema().as_arrow()) as writer:
            for batch in _batches(table, self.record, self.branch):
                writer.write(batch.filter(pc.invert(self.going(batch))))
        try:
            replace_interval(
                catalog,
                ".".join(table.name()),
                start,
                writer.files,
                branch=self.branch,
                summary={"podium.erasure": "true"},
                properties=properties,
                check=check,
            )
        except BaseException:
            writer.discard()
            raise


def _ledger(table: Table, branch: str) -> Ledger:
    return closed_intervals(table) if branch == MAIN_BRANCH else staged_intervals(table)


def _paths(table: Table, record: IntervalRecord, branch: str) -> set[str]:
    return {file.file_path for file in files_of(table, record.interval.start, branch)}


def _batches(table: Table, record: IntervalRecord, branch: str) -> Iterator[pa.RecordBatch]:
    scan, schema = scan_interval(table, record.interval.start, branch), table.schema().as_arrow()
    for batch in () if scan is None else scan.to_arrow_batch_reader():
        yield pa.RecordBatch.from_arrays([batch[item.name].cast(item.type) for item in schema], schema=schema)


def _quarantine(catalog: SqlCatalog, name: str) -> Table | None:
    try:
        return catalog.load_table(name + QUARANTINE)
    except NoSuchTableError:
        return None


def _delete(catalog: SqlCatalog, name: str, household_id: int) -> int:
    """Delete a household's rows from `main`, in one commit."""

    def change(table: Table, transaction: Transaction) -> int:
        found: int = table.scan(EqualTo(HOUSEHOLD, household_id), (HOUSEHOLD,)).count()
        if found:
            transaction.delete(EqualTo(HOUSEHOLD, household_id), snapshot_properties={"podium.erasure": "true"})
        return found

    return commit(catalog, name, change, what="the erasure")


def _rewrite_tag(catalog: SqlCatalog, name: str, tag: str, household_id: int) -> int:
    """Let a tag name its content without the household; the new snapshot.

    The rows are deleted on a branch that begins at the tag and is dropped when the tag has moved.
    """
    scratch = f"{_SCRATCH}.{tag}"

    def begin(table: Table, transaction: Transaction) -> None:
        refs = table.refs()
        if scratch not in refs:
            ManageSnapshots(transaction).create_branch(refs[tag].snapshot_id, scratch).commit()

    def change(table: Table, transaction: Transaction) -> None:
        transaction.delete(
            EqualTo(HOUSEHOLD, household_id), branch=scratch, snapshot_properties={"podium.erasure": "true"}
        )

    def move(table: Table, transaction: Transaction) -> int:
        after: int = table.refs()[scratch].snapshot_id
        ManageSnapshots(transaction).create_tag(after, tag).remove_branch(scratch).commit()
        return after

    what = f"the erasure from tag {tag}"
    commit(catalog, name, begin, what=what)
    commit(catalog, name, change, what=what)
    return commit(catalog, name, move, what=what)
