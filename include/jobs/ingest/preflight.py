"""What a backfill would do, before it does it: what each interval would take and replace, and what stands in its way.

Reads Kafka's offsets and the ledger, nothing else, and writes nothing.
"""

import dataclasses
import datetime as dt
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.table import Table

from include.jobs.ingest.contract import Contract
from include.jobs.ingest.evolution import ContractChangedError, planned_changes
from include.jobs.ingest.plan import IntervalOpenError, OpenTransactionError, RetentionError, TopicChangedError, plan
from include.jobs.ingest.sources import Sources
from include.jobs.ingest.topic import Topic
from include.jobs.lake import lineage
from include.jobs.lake.errors import JobError
from include.jobs.lake.ledger import Counts, Interval, IntervalRecord, Ledger, LedgerError, iso
from include.jobs.lake.pages import taken_intervals
from include.jobs.lake.tables import TableSpec


class PreflightError(JobError):
    """A backfill of these intervals would fail, or would not give what it should."""


@dataclasses.dataclass(frozen=True, slots=True)
class Outlook:
    """What would become of an interval.

    `change` is `new`, `replaced`, `unchanged` (closed, and not to be run again), `open` (not over yet, or late records
    may still come, or an open transaction holds some back) or `refused`, for the reason in `problem`. `offsets` are how
    many would be read; of `rows_before` and `quarantined_before` are as many in the tables now.
    """

    interval: Interval
    change: str
    offsets: int = 0
    rows_before: int = 0
    quarantined_before: int = 0
    problem: str = ""

    def to_json(self) -> dict[str, Any]:
        """As a result holds it."""
        value = {"start": iso(self.interval.start), "end": iso(self.interval.end), **dataclasses.asdict(self)}
        del value["interval"]
        return {name: item for name, item in value.items() if item != ""}


def preflight(
    catalog: SqlCatalog,
    topic: Topic,
    contract: Contract,
    spec: TableSpec,
    intervals: Sequence[Interval],
    lateness: dt.timedelta,
    *,
    reprocess: bool,
) -> dict[str, Any]:
    """Look at every interval, in order of time.

    Args:
        reprocess: whether closed intervals would be run again (`--reprocess-behavior completed`).

    Returns:
        The job's result: `{changes, offsets, rows_before, intervals, contract_changes, problems, …}`.

    Raises:
        JobError: see `Topic`.
    """
    table = _table(catalog, spec)
    ledger = Ledger({}) if table is None else taken_intervals(table)
    sources = Sources.from_properties({} if table is None else table.properties)
    contract_changes, problems = _state(table, contract)
    found = list(_outlooks(topic, ledger, sources, sorted(intervals), lateness, reprocess=reprocess))
    refused = {outlook.problem for outlook in found if outlook.change == "refused"}
    totals = {
        name: sum(getattr(outlook, name) for outlook in found)
        for name in ("offsets", "rows_before", "quarantined_before")
    }
    looked_at = [] if table is None else [lineage.as_of_now(table, totals["rows_before"])]
    return {
        "table": spec.identifier,
        "topic": topic.name,
        "changes": dict(sorted(Counter(outlook.change for outlook in found).items())),
        **totals,
        "intervals": [outlook.to_json() for outlook in found],
        "contract_changes": contract_changes,
        "problems": [*problems, *sorted(refused)],
        **lineage.datasets([lineage.topic(topic.name), *looked_at]),
    }


def explain(result: dict[str, Any]) -> PreflightError:
    """The error for a result with problems."""
    problems = "\n".join(f"  {problem}" for problem in result["problems"])
    return PreflightError(
        f"a backfill of {len(result['intervals'])} intervals of {result['table']} would fail; nothing was started:\n"
        f"{problems}\nMend this, or choose --from-date and --to-date so that these intervals stay out"
    )


def summary(result: dict[str, Any]) -> str:
    """A few lines for a person: the totals, then the intervals that would change."""
    total = ", ".join(f"{count} {change}" for change, count in result["changes"].items())
    lines = [
        f"{result['table']} from {result['topic']}: {total}; {result['offsets']:,} offsets to read, "
        f"{result['rows_before']:,} rows there before",
        *(f"the table's columns would change: {change}" for change in result["contract_changes"]),
        *(
            f"{entry['start']} to {entry['end']}: {entry['change']}, {entry['offsets']:,} offsets, "
            f"{entry['rows_before']:,} rows before{': ' + entry['problem'] if 'problem' in entry else ''}"
            for entry in result["intervals"]
            if entry["change"] != "unchanged"
        ),
    ]
    return "\n".join(lines)


def _table(catalog: SqlCatalog, spec: TableSpec) -> Table | None:
    try:
        return catalog.load_table(spec.identifier)
    except NoSuchTableError:
        return None


def _state(table: Table | None, contract: Contract) -> tuple[list[str], list[str]]:
    """What the contract would change of the table, and why it cannot."""
    try:
        return [] if table is None else [str(change) for change in planned_changes(table, contract)], []
    except ContractChangedError as error:
        return [], [str(error)]


def _outlooks(
    topic: Topic,
    ledger: Ledger,
    sources: Sources,
    intervals: Iterable[Interval],
    lateness: dt.timedelta,
    *,
    reprocess: bool,
) -> Iterable[Outlook]:
    """Each interval is planned as if those before it had been taken, as they will have been."""
    now = dt.datetime.now(dt.UTC)
    for interval in intervals:
        try:
            recorded = ledger.get(interval)
            planned = plan(interval, ledger, sources, topic, now, lateness)
        except (IntervalOpenError, OpenTransactionError) as error:
            yield Outlook(interval, "open", problem=str(error))
            continue
        except (RetentionError, TopicChangedError, LedgerError) as error:
            yield Outlook(interval, "refused", problem=str(error))
            continue
        counts = recorded.counts if recorded else Counts(0, 0, 0)
        change = "new" if recorded is None else "replaced" if reprocess else "unchanged"
        offsets = 0 if change == "unchanged" else sum(len(span) for span in planned.there.values())
        yield Outlook(interval, change, offsets, counts.accepted, counts.quarantined)
        if recorded is None:
            taken = IntervalRecord(
                interval, topic.name, planned.topic_id, planned.ranges, Counts(0, 0, 0), "preflight", now
            )
            ledger = ledger.with_record(taken)
