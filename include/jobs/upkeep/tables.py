"""Which tables the lake has."""

from pyiceberg.catalog.sql import SqlCatalog


def all_tables(catalog: SqlCatalog) -> list[str]:
    """Every table of the catalog, `namespace.table`, in order."""
    return sorted(
        ".".join(identifier) for namespace in catalog.list_namespaces() for identifier in catalog.list_tables(namespace)
    )
