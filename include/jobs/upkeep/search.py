"""Searching everything for a household, as proof that it is gone: raw files, not what a catalog says of them."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from include.jobs.lake.connections import Connections
from include.jobs.lake.erasures import HOUSEHOLD, Erased, households_in

#: Objects whose text is searched as a whole.
TEXT: Final = (".json", ".ndjson", ".jsonl", ".html", ".csv", ".txt")
#: The columns of a quarantine that may name one.
_RAW: Final = ("key", "value", "detail")
_CHUNK: Final = 8 * 1024 * 1024
_OVERLAP: Final = 256

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Found:
    """What was searched in the lake's bucket, and where the household still is.

    Attributes:
        files: Parquet files with a column of households or of raw records, whether a snapshot names them or not.
        texts: other objects whose text was searched.
        others: objects that were not: manifests (they hold the smallest and the largest id of a file), statistics,
            weights, Parquet files without such a column.
        rows: rows and raw records searched.
        left: rows, or mentions, of the household by object.
    """

    files: int = 0
    texts: int = 0
    others: int = 0
    rows: int = 0
    left: dict[str, int] = field(default_factory=dict)


def search_bucket(connections: Connections, household_id: int) -> Found:
    """Search every object of the lake's bucket."""
    files, found = connections.filesystem(), Found()
    for info in _objects(files, urlsplit(connections.warehouse).netloc):
        if info.path.endswith(".parquet"):
            rows = _search_parquet(files, info.path, household_id, found)
        elif info.path.endswith(TEXT):
            rows = _search_text(files, info.path, household_id)
            found.texts += 1
        else:
            rows = 0
            found.others += 1
        if rows:
            found.left[f"s3://{info.path}"] = rows
    return found


def _objects(files: pafs.FileSystem, bucket: str) -> Iterator[pafs.FileInfo]:
    for info in files.get_file_info(pafs.FileSelector(bucket, recursive=True)):
        if info.type == pafs.FileType.File:
            yield info


def _search_parquet(files: pafs.FileSystem, path: str, household_id: int, found: Found) -> int:
    with files.open_input_file(path) as source:
        parquet = pq.ParquetFile(source)
        names = set(parquet.schema_arrow.names)
        if HOUSEHOLD in names:
            columns = [HOUSEHOLD]
        elif names.issuperset(_RAW):
            columns = list(_RAW)
        else:
            found.others += 1
            return 0
        found.files += 1
        found.rows += parquet.metadata.num_rows
        return sum(_count(batch, household_id) for batch in parquet.iter_batches(columns=columns))


def _count(batch: pa.RecordBatch, household_id: int) -> int:
    if HOUSEHOLD in batch.schema.names:
        mask = pc.equal(batch[HOUSEHOLD], household_id)
    else:
        mask = Erased.only(household_id).raw(*(batch[name] for name in _RAW))
    return int(pc.sum(mask).as_py() or 0)


def _search_text(files: pafs.FileSystem, path: str, household_id: int) -> int:
    found, before = 0, b""
    with files.open_input_stream(path) as source:
        while chunk := source.read(_CHUNK):
            # What lies across two chunks is seen in the second.
            found += household_id in households_in(None, before + chunk)
            before = chunk[-_OVERLAP:]
    return found


def report(found: Found) -> dict[str, Any]:
    """What was searched, as JSON."""
    return {
        "files": found.files,
        "texts": found.texts,
        "others": found.others,
        "rows": found.rows,
        "left": dict(sorted(found.left.items())),
    }
