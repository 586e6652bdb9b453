"""A lake of its own for the tests: the real catalog and object store, emptied before each test."""

from tests.jobs.lake.fixtures import catalog, connections

__all__ = ["catalog", "connections"]
