"""The GPU-hours ledger, second half: folds the objects that Airflow left in the bucket into one table.

Every try of a task is one row, however often this runs and wherever it is interrupted: rows are replaced by the try's
id, objects go only after the commit that holds them.
"""

import datetime as dt
import json
import logging
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.fs as pafs
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.expressions import In

from include.jobs.lake.catalog import ensure_table
from include.jobs.lake.connections import Connections
from include.jobs.lake.errors import LakeError
from include.jobs.lake.tables import GPU_HOURS

log = logging.getLogger(__name__)

PREFIX: Final = "gpu-hours"
BATCH: Final = 500


class MalformedUsageError(LakeError):
    """An object is no record of GPU-hours."""


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
        MalformedUsageError: an object is no record; none of its batch is lost, none is removed.
    """
    files = connections.filesystem()
    folder = f"{urlsplit(connections.warehouse).netloc}/{PREFIX}"
    found = files.get_file_info(pafs.FileSelector(folder, allow_not_found=True, recursive=False))
    paths = sorted(info.path for info in found if info.path.endswith(".json"))
    table = ensure_table(catalog, GPU_HOURS)
    added = known = 0
    hours = cost = 0.0
    for begin in range(0, len(paths), BATCH):
        batch = paths[begin : begin + BATCH]
        records = {record["try_id"]: record for record in (_read(files, path) for path in batch)}
        # The first record of a try counts: a later one tells of a mark that somebody put on a task long over.
        there = table.scan(row_filter=In("try_id", list(records)), selected_fields=("try_id",)).to_arrow()
        new = [record for try_id, record in records.items() if try_id not in set(there["try_id"].to_pylist())]
        if new:
            rows = pa.Table.from_pylist(new, schema=GPU_HOURS.arrow_schema)
            # Replaces nothing, unless somebody else has folded the same objects just now.
            table.overwrite(rows, overwrite_filter=In("try_id", [record["try_id"] for record in new]))
        for path in batch:
            files.delete_file(path)
        added, known = added + len(new), known + len(records) - len(new)
        hours += sum(record["gpus"] * record["seconds"] / 3600 for record in new)
        cost += sum(record["cost"] for record in new)
    log.info("Folded %d tries, %d were known", added, known)
    return Folded(added, known, hours, cost)


def _read(files: pafs.FileSystem, path: str) -> dict[str, Any]:
    with files.open_input_stream(path) as stream:
        text = stream.read()
    try:
        record: dict[str, Any] = json.loads(text)
        times = {name: dt.datetime.fromisoformat(record[name]) for name in ("started", "ended")}
        wanted = {column.name for column in GPU_HOURS.schema.columns}
        if missing := wanted - record.keys():
            raise ValueError(f"it lacks {', '.join(sorted(missing))}")
    except (ValueError, KeyError, TypeError) as error:
        raise MalformedUsageError(
            f"s3://{path} is no record of GPU-hours ({error}): correct it or remove it, then run this again"
        ) from error
    return {name: record[name] for name in wanted} | times
