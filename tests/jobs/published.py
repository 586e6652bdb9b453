"""Publishing a view of the features as the build does, where there is no Spark."""

import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog

from include.jobs.lake.tables import FEATURES_SERVING

_MADE_FROM = pa.map_(pa.string(), pa.string())
_SCHEMA = pa.schema(
    [
        pa.field("table_name", pa.string(), False),
        pa.field("snapshot_id", pa.int64(), False),
        pa.field("made_from", _MADE_FROM, False),
    ]
)


def publish_view(catalog: SqlCatalog, *tables: str) -> int:
    """Make the current snapshots of tables the published view; the snapshot that it is known by."""
    names = list(tables)
    snapshots = [catalog.load_table(name).metadata.current_snapshot_id for name in names]
    catalog.create_namespace_if_not_exists("features")
    view = catalog.create_table_if_not_exists(FEATURES_SERVING, _SCHEMA)
    made_from = pa.array([[("2017-03-01", name)] for name in names], _MADE_FROM)
    view.overwrite(pa.table([pa.array(names), pa.array(snapshots, pa.int64()), made_from], schema=_SCHEMA))
    number: int = view.metadata.current_snapshot_id
    return number
