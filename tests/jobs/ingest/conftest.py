"""A lake and a broker of their own for the ingest's tests."""

import uuid
from collections.abc import Callable, Iterator

import pytest

from tests.jobs.ingest.broker import Broker
from tests.jobs.ingest.schemas import Served, serve
from tests.jobs.lake.fixtures import catalog, connections
from tests.jobs.secured import secured

__all__ = ["broker", "catalog", "connections", "secured", "topic_name"]


@pytest.fixture(scope="session")
def broker(kafka: str) -> Broker:
    """The real broker."""
    return Broker(kafka)


@pytest.fixture
def topic_name(broker: Broker) -> Callable[..., str]:
    """Makes a topic with a name of its own; arguments go to `Broker.create`."""

    def make(partitions: int = 2, **config: str) -> str:
        name = f"events.{uuid.uuid4().hex[:8]}"
        broker.create(name, partitions, **config)
        return name

    return make


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A real schema registry; skips where there is no Java for it."""
    with serve(tmp_path_factory.mktemp("registry")) as registry:
        yield registry
