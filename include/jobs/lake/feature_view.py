"""The published view of the features: which snapshot of each table belongs together.

`features.serving` has one row a table, for those that were built and for those that they were built from. The build
replaces all of them in one commit at its end, so that whoever reads the tables by the view never mixes two builds. The
snapshot of `features.serving` is what the view is known by.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.table import Table, Transaction

from include.jobs.lake.catalog import load_table
from include.jobs.lake.commits import commit
from include.jobs.lake.errors import LakeError
from include.jobs.lake.tables import FEATURES_SERVING


@dataclass(frozen=True, slots=True)
class FeatureView:
    """A published view.

    Attributes:
        snapshot_id: what it is known by: a snapshot of `features.serving`.
        snapshots: the snapshot of each table, by `namespace.name`.
    """

    snapshot_id: int
    snapshots: Mapping[str, int]


def published_view(catalog: SqlCatalog) -> FeatureView:
    """The view that is published now.

    Raises:
        LakeError: there is none.
    """
    view = _view(load_table(catalog, FEATURES_SERVING))
    if view is None:
        raise LakeError(f"{FEATURES_SERVING} is empty, no features are published: run the DAG build_features")
    return view


def viewed_snapshots(catalog: SqlCatalog) -> Mapping[str, int]:
    """The snapshots that the view needs, its own included, by table; empty where none is published."""
    try:
        view = _view(catalog.load_table(FEATURES_SERVING))
    except NoSuchTableError:
        return {}
    return {} if view is None else {**view.snapshots, FEATURES_SERVING: view.snapshot_id}


def repoint(catalog: SqlCatalog, moved: Mapping[str, tuple[int, int]]) -> None:
    """Publish the view with other snapshots of some tables: `{table: (before, after)}`.

    A table of which the view names another snapshot than `before` by now keeps it.
    """

    def change(table: Table, transaction: Transaction) -> None:
        rows = table.scan().to_arrow()
        after = [
            moved[name][1] if moved.get(name, (None, None))[0] == number else number
            for name, number in zip(rows["table_name"].to_pylist(), rows["snapshot_id"].to_pylist(), strict=True)
        ]
        place = rows.schema.get_field_index("snapshot_id")
        transaction.overwrite(rows.set_column(place, rows.schema.field(place), pa.array(after, pa.int64())))

    commit(catalog, FEATURES_SERVING, change, what="the view")


def _view(table: Table) -> FeatureView | None:
    snapshot = table.current_snapshot()
    if snapshot is None:
        return None
    rows = table.scan(selected_fields=("table_name", "snapshot_id"), snapshot_id=snapshot.snapshot_id).to_arrow()
    names, numbers = rows["table_name"].to_pylist(), rows["snapshot_id"].to_pylist()
    return FeatureView(snapshot.snapshot_id, dict(zip(names, numbers, strict=True)))
