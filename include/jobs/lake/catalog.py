"""The Iceberg catalog on Postgres, shared with Spark."""

import contextlib
import time

from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import NamespaceAlreadyExistsError, NoSuchTableError, TableAlreadyExistsError
from pyiceberg.table import Table
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError

from include.jobs.lake.connections import CATALOG_NAME, Connections
from include.jobs.lake.errors import LakeError
from include.jobs.lake.tables import TableSpec

_OPEN_ATTEMPTS = 5


class CatalogUnavailableError(LakeError):
    """The catalog database does not answer or refuses the credentials."""


def open_catalog(connections: Connections | None = None) -> SqlCatalog:
    """Open the catalog, creating its two database tables on first use.

    Raises:
        CatalogUnavailableError: the database cannot be reached or used.
    """
    connections = connections or Connections.from_environment()
    attempt = 0
    while True:
        attempt += 1
        try:
            return SqlCatalog(CATALOG_NAME, **connections.catalog_properties())
        except (IntegrityError, ProgrammingError) as error:
            # Two first users race for CREATE TABLE; the loser finds them when it looks again.
            if attempt == _OPEN_ATTEMPTS:
                raise _unavailable(connections, error) from error
            time.sleep(0.1 * attempt)
        except OperationalError as error:
            raise _unavailable(connections, error) from error


def ensure_table(catalog: SqlCatalog, spec: TableSpec) -> Table:
    """Load a table, creating it and its namespace when they are absent. Safe against concurrent creators."""
    with contextlib.suppress(NoSuchTableError):
        return catalog.load_table(spec.identifier)
    with contextlib.suppress(NamespaceAlreadyExistsError, IntegrityError):
        catalog.create_namespace(spec.namespace)
    try:
        return catalog.create_table(
            spec.identifier, schema=spec.schema, partition_spec=spec.partition_spec, properties=spec.properties
        )
    except TableAlreadyExistsError:
        return catalog.load_table(spec.identifier)


def load_table(catalog: SqlCatalog, identifier: str) -> Table:
    """Load a table that must exist.

    Raises:
        LakeError: it does not.
    """
    try:
        return catalog.load_table(identifier)
    except NoSuchTableError as error:
        raise LakeError.no_table(identifier) from error


def _unavailable(connections: Connections, error: Exception) -> CatalogUnavailableError:
    reason = str(error).strip().splitlines()[0]
    return CatalogUnavailableError(
        f"catalog database {connections.catalog_uri} cannot be used: {reason}. "
        "Check that Postgres runs and that catalog_user and catalog_password are right"
    )
