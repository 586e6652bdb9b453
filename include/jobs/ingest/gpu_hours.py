"""The GPU-hours ledger, second half: folds the objects that Airflow left in the bucket into one table.

Every try of a task is one row, however often this runs and wherever it is interrupted: rows are replaced by the try's
id, objects go only after the commit that holds them.
"""

import datetime as dt
import logging
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.expressions import In

from include.jobs.lake.catalog import ensure_table
from include.jobs.lake.connections import Connections
from include.jobs.lake.inbox import Inbox, malformed
from include.jobs.lake.tables import GPU_HOURS

log = logging.getLogger(__name__)

PREFIX: Final = "gpu-hours"
BATCH: Final = 500


@dataclass(frozen=True)
class Folded:
    """What a run did: rows added, records whose try was in the table already, GPU-hours and cost of what was added."""

    added: int
    known: int
    gpu_hours: float
    cost: float


def fold(connections: Connections, catalog: SqlCatalog) -> Folded:
    """Bring all objects into the table and remove them.

    Raises:
        MalformedRecordError: an object is no record; none of its batch is lost, none is removed.
    """
    inbox, table = Inbox(connections, PREFIX), ensure_table(catalog, GPU_HOURS)
    added = known = 0
    hours = cost = 0.0
    for batch in inbox.batches(BATCH):
        records = {record["try_id"]: record for record in (_read(inbox, path) for path in batch)}
        # The first record of a try counts: a later one tells of a mark that somebody put on a task long over.
        there = table.scan(row_filter=In("try_id", list(records)), selected_fields=("try_id",)).to_arrow()
        new = [record for try_id, record in records.items() if try_id not in set(there["try_id"].to_pylist())]
        if new:
            rows = pa.Table.from_pylist(new, schema=GPU_HOURS.arrow_schema)
            # Replaces nothing, unless somebody else has folded the same objects just now.
            table.overwrite(rows, overwrite_filter=In("try_id", [record["try_id"] for record in new]))
        inbox.remove(batch)
        added, known = added + len(new), known + len(records) - len(new)
        hours += sum(record["gpus"] * record["seconds"] / 3600 for record in new)
        cost += sum(record["cost"] for record in new)
    log.info("Folded %d tries, %d were known", added, known)
    return Folded(added, known, hours, cost)


def _read(inbox: Inbox, path: str) -> dict[str, Any]:
    record = inbox.read(path, frozenset(column.name for column in GPU_HOURS.schema.columns))
    try:
        return record | {name: dt.datetime.fromisoformat(record[name]) for name in ("started", "ended")}
    except (ValueError, TypeError) as error:
        raise malformed(path, error) from error
