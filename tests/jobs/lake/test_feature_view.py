"""The published view of the features: what it names stays what it was, whatever is built after it."""

import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog

from include.jobs.lake.catalog import ensure_table
from include.jobs.lake.errors import LakeError
from include.jobs.lake.feature_view import published_view, repoint, viewed_snapshots
from include.jobs.lake.tables import FEATURES_SERVING, HOUSEHOLDS, PRODUCTS, TableSpec
from tests.jobs.published import publish_view

NAMES = (PRODUCTS.identifier, HOUSEHOLDS.identifier)


def append(catalog: SqlCatalog, spec: TableSpec, number: int) -> int:
    """Add a row; the table's new snapshot."""
    table = ensure_table(catalog, spec)
    row = {table.schema().fields[0].name: number}
    table.append(pa.Table.from_pylist([row], schema=spec.arrow_schema))
    snapshot: int = table.metadata.current_snapshot_id
    return snapshot


def test_a_view_names_one_snapshot_of_each_table_until_the_next(catalog: SqlCatalog) -> None:
    first = {spec.identifier: append(catalog, spec, 1) for spec in (PRODUCTS, HOUSEHOLDS)}
    known_by = publish_view(catalog, *NAMES)
    append(catalog, PRODUCTS, 2)
    view = published_view(catalog)
    assert (view.snapshot_id, view.snapshots) == (known_by, first)
    assert viewed_snapshots(catalog) == first | {FEATURES_SERVING: known_by}

    second = publish_view(catalog, *NAMES)
    assert published_view(catalog).snapshot_id == second != known_by
    assert published_view(catalog).snapshots[PRODUCTS.identifier] != first[PRODUCTS.identifier]


def test_a_table_is_moved_to_the_snapshot_that_stands_for_its_own(catalog: SqlCatalog) -> None:
    products, households = append(catalog, PRODUCTS, 1), append(catalog, HOUSEHOLDS, 1)
    publish_view(catalog, *NAMES)
    after = append(catalog, HOUSEHOLDS, 2)
    repoint(catalog, {HOUSEHOLDS.identifier: (households, after), PRODUCTS.identifier: (4711, 4712)})
    assert published_view(catalog).snapshots == {PRODUCTS.identifier: products, HOUSEHOLDS.identifier: after}
    made_from = catalog.load_table(FEATURES_SERVING).scan().to_arrow()["made_from"].to_pylist()
    assert made_from == [[("2017-03-01", name)] for name in NAMES], "all else stays"


def test_where_nothing_is_published_that_is_told(catalog: SqlCatalog) -> None:
    assert viewed_snapshots(catalog) == {}
    with pytest.raises(LakeError, match=r"table features\.serving is not in the lake: run the DAG that makes it"):
        published_view(catalog)
