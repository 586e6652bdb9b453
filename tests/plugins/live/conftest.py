"""A real Airflow on the dev cluster, once for all tests of a module."""

from collections.abc import Iterator

import pytest

from tests.plugins.cluster import Platform
from tests.plugins.live.airflow import Airflow, running_airflow
from tests.services import services

__all__ = ["airflow", "services"]


# No longer than these tests last: its settings are not those of the tests after them.
@pytest.fixture(scope="module")
def airflow(platform: Platform, services: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    """Airflow's four processes; their settings are those of the embedded platform."""
    from tests.services import Services

    assert isinstance(services, Services)
    with pytest.MonkeyPatch.context() as patch:
        for name, port in services.ports.items():
            patch.setenv(f"PODIUM_PORTS__{name.upper()}", str(port))
        with running_airflow(services, platform.kubeconfig) as running:
            yield running
