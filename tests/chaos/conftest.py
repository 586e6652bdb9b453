"""A platform whose services and jobs are killed, and a topic for them to work on."""

import pytest

from tests.chaos.platform import Platform
from tests.jobs.lake.fixtures import connections
from tests.services import Services

__all__ = ["connections", "platform"]


@pytest.fixture(scope="session")
def platform(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Platform:
    """The services, to be killed."""
    folder = tmp_path_factory.mktemp("jobs")
    return Platform(services, services.write_credentials(folder / "credentials"), folder / "jobs.log")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test a seed."""
    if "seed" in metafunc.fixturenames:
        first, runs = metafunc.config.getoption("--chaos-seed"), metafunc.config.getoption("--chaos-runs")
        metafunc.parametrize("seed", range(first, first + runs))
