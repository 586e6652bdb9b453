"""The audit trail: `platform.audit`, a row for each try of a task and each request of a person, chained by hashes.

Rows are only ever appended. A row's hash covers all that it says, its number and the hash of the row before it; the
number and hash of the last row, the head, are a property of the table that is set in the same commit. So a row that
was changed, dropped, added or moved shows. Somebody who may write the table can make a whole new chain: hold it to a
head that was noted elsewhere, as the result of each `record` is in Airflow.
"""

import datetime as dt
import hashlib
import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.expressions import In
from pyiceberg.table import Table, Transaction

from include.jobs.lake import lineage
from include.jobs.lake.catalog import ensure_table, load_table
from include.jobs.lake.commits import commit
from include.jobs.lake.connections import Connections
from include.jobs.lake.errors import JobError, LakeError
from include.jobs.lake.inbox import Inbox, malformed
from include.jobs.lake.tables import AUDIT

log = logging.getLogger(__name__)

PREFIX: Final = "audit"
BATCH: Final = 500
HEAD_PROPERTY: Final = "podium.audit.head"
#: Problems that a report of tampering lists at most.
LISTED: Final = 20
#: What is before the first row.
NOTHING: Final = "0" * 64

_LINKS = ("number", "previous_hash", "hash")
_FIELDS = frozenset(column.name for column in AUDIT.schema.columns if column.name not in _LINKS)


class TamperedError(JobError):
    """The audit trail is not what was recorded."""


class HeadError(JobError):
    """A head is not written as `<number>:<hash>`."""


@dataclass(frozen=True, slots=True)
class Head:
    """The last row of the trail: its number, from 1, and its hash."""

    number: int = 0
    hash: str = NOTHING

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `<number>:<64 hexadecimal digits>`.

        Raises:
            HeadError: it is none.
        """
        number, _, digest = text.partition(":")
        if not number.isdecimal() or len(digest) != len(NOTHING) or set(digest) - set("0123456789abcdef"):
            raise HeadError(f"{text!r} is no head of the audit trail: give <number>:<hash>, as `record` returned it")
        return cls(int(number), digest)

    @classmethod
    def of(cls, table: Table) -> Self:
        """The head that a table states."""
        text = table.properties.get(HEAD_PROPERTY)
        return cls.parse(text) if text else cls()

    def __str__(self) -> str:
        return f"{self.number}:{self.hash}"


def record(connections: Connections, catalog: SqlCatalog) -> dict[str, Any]:
    """Append what Airflow has left in the bucket, in the order in which tries ended, and remove it there.

    Returns:
        The job's result: `{added, known, head, datasets}`; `known` are those that are in the trail already.

    Raises:
        MalformedRecordError: an object is no record; none of its batch is lost, none is removed.
        CommitConflictError: other writers kept committing first.
    """
    inbox, table = Inbox(connections, PREFIX), ensure_table(catalog, AUDIT)
    added = known = 0
    for batch in inbox.batches(BATCH):
        found = {row["try_id"]: row for row in (_read(inbox, path) for path in batch)}

        def append(table: Table, transaction: Transaction, found: Mapping[str, Any] = found) -> int:
            there = table.scan(row_filter=In("try_id", list(found)), selected_fields=("try_id",)).to_arrow()
            new = [row for try_id, row in found.items() if try_id not in set(there["try_id"].to_pylist())]
            if new:
                rows = chained(Head.of(table), sorted(new, key=lambda row: (row["ended"], row["try_id"])))
                transaction.append(pa.Table.from_pylist(rows, schema=AUDIT.arrow_schema))
                transaction.set_properties({HEAD_PROPERTY: f"{rows[-1]['number']}:{rows[-1]['hash']}"})
            return len(new)

        count = commit(catalog, AUDIT.identifier, append, what="the audit trail")
        inbox.remove(batch)
        added, known = added + count, known + len(found) - count
    head = Head.of(table.refresh())
    log.info("recorded %d tries and requests, %d were known; head %s", added, known, head)
    written = lineage.datasets([], [lineage.as_of_now(table, added)])
    return {"added": added, "known": known, "head": str(head)} | written


def chained(head: Head, rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows as they follow a head."""
    linked = []
    for row in rows:
        whole = {**row, "number": head.number + 1, "previous_hash": head.hash}
        head = Head(head.number + 1, hash_of(whole))
        linked.append({**whole, "hash": head.hash})
    return linked


def hash_of(row: Mapping[str, Any]) -> str:
    """SHA-256 of a row without its hash: JSON with sorted keys and no blanks, times in UTC to the microsecond."""
    said = {
        name: value.astimezone(dt.UTC).isoformat(timespec="microseconds") if isinstance(value, dt.datetime) else value
        for name, value in row.items()
        if name != "hash"
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def verify(catalog: SqlCatalog, noted: Head | None = None) -> dict[str, Any]:
    """Go along the whole chain, and hold it to a head that was noted before.

    Returns:
        The job's result: `{rows, head, datasets}`.

    Raises:
        TamperedError: lists what is wrong, in order.
        LakeError: there is no trail.
    """
    if not catalog.table_exists(AUDIT.identifier):
        raise LakeError(
            f"there is no audit trail yet: {AUDIT.identifier} is made by the first run of the DAG record_audit. Start "
            'one (`make airflow ARGS="dags trigger record_audit"`) and verify again when it has ended'
        )
    table = load_table(catalog, AUDIT.identifier)
    rows = table.scan().to_arrow().sort_by("number").to_pylist()
    wrong = list(_problems(rows, Head.of(table), noted))
    if wrong:
        more = f"\n  … and {len(wrong) - LISTED} more" if len(wrong) > LISTED else ""
        raise TamperedError(
            f"the audit trail {AUDIT.identifier} is not what was recorded:\n  "
            + "\n  ".join(wrong[:LISTED])
            + more
            + "\n"
            "Keep the table as it is. Its snapshots, and versions of its objects in the bucket, tell when it was "
            "changed; tell who answers for security"
        )
    return {"rows": len(rows), "head": str(Head.of(table))} | lineage.datasets([lineage.as_of_now(table, len(rows))])


def _problems(rows: list[dict[str, Any]], stated: Head, noted: Head | None) -> Iterable[str]:
    last = Head()
    for row in rows:
        number, what = row["number"], f"row {row['number']} ({row['dag_id']}.{row['task_id']}, {row['run_id']})"
        if number == last.number:
            yield f"{what} is there twice"
        elif number > last.number + 1:
            yield f"rows {last.number + 1} to {number - 1} are missing"
        elif row["previous_hash"] != last.hash:
            yield f"{what} does not follow row {last.number}: one of them was replaced, or they were moved"
        if hash_of(row) != row["hash"]:
            yield f"{what} was changed: its hash does not fit what it says"
        if noted and number == noted.number and row["hash"] != noted.hash:
            yield f"{what} is not the row that was noted as {noted}"
        last = Head(number, row["hash"])
    if last != stated:
        yield f"the trail ends with {last}, the table states {stated}: rows were dropped from its end or put there"
    if noted and noted.number > last.number:
        yield f"the trail ends with row {last.number}, but row {noted.number} was noted: rows were dropped"


def _read(inbox: Inbox, path: str) -> dict[str, Any]:
    row = inbox.read(path, _FIELDS)
    try:
        return row | {name: dt.datetime.fromisoformat(row[name]) for name in ("started", "ended")}
    except (ValueError, TypeError) as error:
        raise malformed(path, error) from error
