"""Replacing an interval of a table in one commit, in sight of all or on the staging branch, and publishing it.

Rows are staged on one branch that all intervals share, and each is published by a commit of its own, which writes the
staged files into `main` and takes them off the branch. A branch for each interval could not be fast-forwarded: while
one is judged, others are published, and `main` has moved on. And staging moves one reference, so that two runs that
stage at once notice each other, which two branches would not: what an interval may take depends on its neighbours.
"""

import datetime as dt
import random
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitFailedException, ValidationException
from pyiceberg.expressions import BooleanExpression
from pyiceberg.expressions.parser import parse
from pyiceberg.manifest import DataFile
from pyiceberg.table import DataScan, Table, Transaction
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.refs import MAIN_BRANCH
from pyiceberg.table.update.snapshot import ExpireSnapshots

from include.jobs.lake.errors import LakeError
from include.jobs.lake.ledger import iso
from include.jobs.lake.pages import fold, folder_of

#: The branch of what has not been judged yet. Readers of a table see `main` unless they ask for another.
STAGING = "staging"
#: How long conflicting commits are tried again.
COMMIT_DEADLINE_S = 180.0
#: How often a commit is tried again that did not find a file which its own plan has named.
_LOOK_AGAIN = 5


_Result = TypeVar("_Result")


class CommitConflictError(LakeError):
    """Other writers kept committing first."""


def of_interval(start: dt.datetime) -> BooleanExpression:
    """The filter for the rows of an interval."""
    return parse(f"interval_start = '{start.astimezone(dt.UTC).isoformat()}'")


def scan_interval(table: Table, start: dt.datetime, branch: str, columns: tuple[str, ...] = ("*",)) -> DataScan | None:
    """A scan of an interval's rows on a branch; None where the branch does not exist."""
    snapshot = table.snapshot_by_name(branch)
    if snapshot is None:
        return None
    return table.scan(row_filter=of_interval(start), selected_fields=columns, snapshot_id=snapshot.snapshot_id)


def files_of(table: Table, start: dt.datetime, branch: str) -> list[DataFile]:
    """The files of an interval on a branch."""
    scan = scan_interval(table, start, branch)
    return [] if scan is None else [task.file for task in scan.plan_files()]


def replace_interval(
    catalog: SqlCatalog,
    identifier: str,
    start: dt.datetime,
    files: list[DataFile],
    *,
    branch: str,
    summary: Mapping[str, str],
    properties: Mapping[str, str] | None = None,
    check: Callable[[Table], None] | None = None,
) -> int:
    """Make `files` the whole content of an interval on a branch, in one snapshot: readers see the old or the new rows.

    `properties` are set in the same commit. `check` is called with the table that each try builds on, so that a
    decision taken from the ledger is judged again after every conflict; what it raises ends the replacing.

    Returns:
        The id of the new snapshot.

    Raises:
        CommitConflictError: other writers kept committing first for `COMMIT_DEADLINE_S`.
    """

    def change(table: Table, transaction: Transaction) -> int:
        snapshot_id = _replace(table, transaction, start, files, branch, summary)
        _set(catalog, identifier, table, transaction, properties or {})
        return snapshot_id

    if branch != MAIN_BRANCH and not catalog.load_table(identifier).snapshots():
        commit(catalog, identifier, _begin, what=_what(start))
    return commit(catalog, identifier, change, what=_what(start), check=check)


def publish_interval(
    catalog: SqlCatalog,
    identifier: str,
    start: dt.datetime,
    *,
    summary: Mapping[str, str],
    closing: Mapping[str, str] | None = None,
    staged: str | None = None,
    check: Callable[[Table], None] | None = None,
) -> int:
    """Make the staged files the whole content of an interval of `main`, and take them off the staging branch.

    One commit does it all: it also sets the properties `closing` and removes the property `staged`. For `check` see
    `replace_interval`.

    Returns:
        The id of the new snapshot of `main`.

    Raises:
        CommitConflictError: other writers kept committing first for `COMMIT_DEADLINE_S`.
    """

    def change(table: Table, transaction: Transaction) -> int:
        files = files_of(table, start, STAGING)
        snapshot_id = _replace(table, transaction, start, files, MAIN_BRANCH, summary)
        _replace(table, transaction, start, [], STAGING, summary)
        if staged in table.properties:
            transaction.remove_properties(staged)
        _set(catalog, identifier, table, transaction, closing or {})
        return snapshot_id

    return commit(catalog, identifier, change, what=_what(start), check=check)


def discard_staged(
    catalog: SqlCatalog, identifier: str, start: dt.datetime, *, summary: Mapping[str, str], staged: str | None = None
) -> None:
    """Take an interval off the staging branch, and remove the property `staged`, in one commit; delete its files.

    Raises:
        CommitConflictError: other writers kept committing first for `COMMIT_DEADLINE_S`.
    """

    def change(table: Table, transaction: Transaction) -> list[DataFile]:
        _replace(table, transaction, start, [], STAGING, summary)
        if staged in table.properties:
            transaction.remove_properties(staged)
        return files_of(table, start, STAGING)

    files = commit(catalog, identifier, change, what=_what(start))
    # The commit has taken them off the branch, so they were not published: nothing names them any more.
    io = catalog.load_table(identifier).io
    for file in files:
        io.delete(file.file_path)


def commit(
    catalog: SqlCatalog,
    identifier: str,
    change: Callable[[Table, Transaction], _Result],
    *,
    what: str,
    check: Callable[[Table], None] | None = None,
) -> _Result:
    """Load, check, change and commit, until no other writer has come in between.

    `change` is called anew with the table that each try builds on, so that what it works out is never out of date.
    `what` names the change in the error.

    Raises:
        CommitConflictError: other writers kept committing first for `COMMIT_DEADLINE_S`.
    """
    deadline = time.monotonic() + COMMIT_DEADLINE_S
    attempt = overlooked = 0
    while True:
        attempt += 1
        table = catalog.load_table(identifier)
        if check is not None:
            check(table)
        transaction = _Transaction(_tried_once(table))
        try:
            result = change(table, transaction)
            transaction.commit_transaction()
            return result
        except ValidationException:
            # PyIceberg asks one evaluator about all manifests, from several threads, and it keeps what it looks at in
            # itself: now and then it takes a manifest for another, and misses the file that is to go.
            overlooked += 1
            if overlooked > _LOOK_AGAIN:
                raise
        except (CommitFailedException, ValueError) as error:
            # A commit to another branch shows as a sequence number that is taken, which PyIceberg tells by ValueError.
            outdated = catalog.load_table(identifier).metadata_location != table.metadata_location
            if not (outdated or isinstance(error, CommitFailedException)):
                raise
            if time.monotonic() > deadline:
                raise CommitConflictError(
                    f"{what} of {identifier} lost {attempt} commits in a row to other writers ({error}): run it "
                    "again when fewer of them are at work"
                ) from error
            time.sleep(random.uniform(0.02, 0.1) * min(attempt, 20))


def _what(start: dt.datetime) -> str:
    return f"interval {iso(start)}"


def _replace(
    table: Table,
    transaction: Transaction,
    start: dt.datetime,
    files: list[DataFile],
    branch: str,
    summary: Mapping[str, str],
) -> int:
    """Add the replacing of an interval on a branch to a transaction; the id of its snapshot.

    `overwrite()` and `dynamic_partition_overwrite` of a table make two snapshots (delete, append); one producer that
    does both makes one, so that an as-of read never meets the gap.
    """
    before = table.snapshot_by_name(branch)
    with transaction.update_snapshot(snapshot_properties=dict(summary), branch=branch).overwrite() as producer:
        producer.delete_by_predicate(of_interval(start))
        for file in files_of(table, start, branch):
            producer.delete_data_file(file)
        for file in files:
            producer.append_data_file(file)
    if branch == STAGING and before is not None:
        # Nobody asks how the branch came about; its past would only make the metadata longer.
        ExpireSnapshots(transaction).by_id(before.snapshot_id).commit()
    snapshot_id: int = producer.snapshot_id
    return snapshot_id


def _set(
    catalog: SqlCatalog, identifier: str, table: Table, transaction: Transaction, properties: Mapping[str, str]
) -> None:
    """Set properties, and keep those of closed intervals few: older ones go to pages in the same commit."""
    folder = folder_of(catalog.properties["warehouse"], identifier)
    folded = fold(table.properties, properties, table.io, folder)
    if folded.removing:
        transaction.remove_properties(*sorted(folded.removing))
    transaction.set_properties(folded.setting)


def _begin(table: Table, transaction: Transaction) -> None:
    """Give `main` an empty first snapshot: PyIceberg allows no other branch before there is one."""
    if not table.snapshots():
        with transaction.update_snapshot().fast_append():
            pass


class _Transaction(Transaction):  # type: ignore[misc]  # pyiceberg is not in the environment of the type checker
    """A transaction that works out the changed metadata once for each change.

    PyIceberg applies all updates and copies the whole metadata whenever it looks at it, dozens of times in a commit:
    most of the time that a commit takes once a table has a few hundred snapshots.
    """

    _worked_out: tuple[int, TableMetadata] | None = None

    @property
    def table_metadata(self) -> TableMetadata:
        """The metadata with the updates so far; nobody changes it in place."""
        updates = len(self._updates)
        if self._worked_out is None or self._worked_out[0] != updates:
            self._worked_out = updates, super().table_metadata
        return self._worked_out[1]


def _tried_once(table: Table) -> Table:
    """The same table, whose commits PyIceberg does not repeat by itself.

    Its own retry would rebase the rows without looking at the ledger again. The property is overridden in this
    process only; the catalog's metadata keeps its value.
    """
    properties = {**table.metadata.properties, "commit.retry.num-retries": "0"}
    table.metadata = table.metadata.model_copy(update={"properties": properties})
    return table
