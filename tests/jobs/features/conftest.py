"""A real Spark on a real lake."""

import pytest

from include.jobs.lake.connections import Connections
from tests.jobs.spark_session import spark
from tests.services import Services

__all__ = ["connections", "spark"]


@pytest.fixture(scope="session")
def connections(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Connections:
    """What a job in a pod would read from its environment."""
    folder = services.write_credentials(tmp_path_factory.mktemp("credentials"))
    return Connections.from_environment(services.platform_environment | {"PODIUM_CREDENTIALS_DIR": str(folder)})
