"""Fixtures of a real lake, for the suites of all that write to it."""

from collections.abc import Iterator

import pytest
from pyiceberg.catalog.sql import SqlCatalog

from include.jobs.lake.catalog import open_catalog
from include.jobs.lake.connections import Connections
from tests.services import Services


@pytest.fixture(scope="session")
def connections(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Connections:
    """What a job in a pod would read from its environment."""
    folder = services.write_credentials(tmp_path_factory.mktemp("credentials"))
    return Connections.from_environment(services.platform_environment | {"PODIUM_CREDENTIALS_DIR": str(folder)})


@pytest.fixture
def catalog(connections: Connections) -> Iterator[SqlCatalog]:
    """The catalog without the tables of an earlier test."""
    opened = open_catalog(connections)
    for namespace in opened.list_namespaces():
        for identifier in opened.list_tables(namespace):
            opened.drop_table(identifier)
    yield opened
    opened.engine.dispose()
