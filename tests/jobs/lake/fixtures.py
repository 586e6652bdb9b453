"""Fixtures of a real lake, for the suites of all that write to it."""

import contextlib
from collections.abc import Iterator

import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import NoSuchTableError

from include.jobs.lake.catalog import open_catalog
from include.jobs.lake.connections import Connections
from include.jobs.lake.tables import HOUSEHOLDS, PRODUCTS, QUARANTINE, TRANSACTIONS
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
    for spec in (TRANSACTIONS, QUARANTINE, PRODUCTS, HOUSEHOLDS):
        with contextlib.suppress(NoSuchTableError):
            opened.drop_table(spec.identifier)
    yield opened
    opened.engine.dispose()
