"""A lake and a broker of their own for the ingest's tests."""

import uuid
from collections.abc import Callable

import pytest

from tests.jobs.ingest.broker import Broker
from tests.jobs.lake.fixtures import catalog, connections

__all__ = ["broker", "catalog", "connections", "topic_name"]


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
