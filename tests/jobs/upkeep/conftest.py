"""A real lake with Spark and PyIceberg on it, and a model registry of the test's own."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import NoSuchTableError

from include.jobs.lake.catalog import open_catalog
from include.jobs.lake.connections import Connections
from include.jobs.upkeep.protect import Models
from include.jobs.upkeep.tables import all_tables
from tests.jobs.lake.fixtures import connections
from tests.jobs.secured import secured
from tests.jobs.spark_session import spark

__all__ = ["connections", "secured", "spark"]


@pytest.fixture
def catalog(connections: Connections) -> Iterator[SqlCatalog]:
    """The catalog without a table, and a lake without their files."""
    opened = open_catalog(connections)
    for name in all_tables(opened):
        with contextlib.suppress(NoSuchTableError):
            opened.drop_table(name)
    files = connections.filesystem()
    warehouse = connections.warehouse.removeprefix("s3://")
    files.create_dir(warehouse)
    files.delete_dir_contents(warehouse)
    yield opened
    opened.engine.dispose()


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Models:
    """MLflow's own client on a store of files: the same calls as to a server, without its half minute of start."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    address = (tmp_path / "mlflow").as_uri()
    return Models(MlflowClient(tracking_uri=address, registry_uri=address))
