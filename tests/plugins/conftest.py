"""Fixtures of the operators' tests."""

import json
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.airflow_home import isolate

isolate()

from podium.platform import settings  # noqa: E402

from include.config import load_settings  # noqa: E402
from tests.plugins.cluster import TOKEN, Platform, free_port, running_platform  # noqa: E402

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

# What the gateway of these tests asks for; their registries ask for nothing.
for connection, password in (("PODIUM_METRICS", TOKEN), ("PODIUM_MLFLOW", "any")):
    os.environ[f"AIRFLOW_CONN_{connection}"] = json.dumps({"conn_type": "generic", "password": password})

STEPS = [
    {"traffic_percent": 25, "min_seconds": 0.5, "max_seconds": 30},
    {"traffic_percent": 100, "min_seconds": 0.5, "max_seconds": 30},
]


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A running cluster, and settings and a connection that lead to it."""
    folder = tmp_path_factory.mktemp("platform")
    gateway, admin = free_port(), free_port()
    with pytest.MonkeyPatch.context() as environ:
        for name, value in {
            "PODIUM_ENV": "local",
            "PODIUM_PORTS__GATEWAY_ADMIN": str(admin),
            "PODIUM_ROLLOUT__STEPS": json.dumps(STEPS),
            "PODIUM_ROLLOUT__MIN_REQUESTS": "20",
            "PODIUM_ROLLOUT__POLL_SECONDS": "0.1",
            "PODIUM_ROLLOUT__MAX_P99_MS": "200",
            # No scheduler looks on.
            "PODIUM_FAULTS__DEFER_NOTED_S": "0",
        }.items():
            environ.setenv(name, value)
        environ.delenv("KUBECONFIG", raising=False)
        with running_platform(folder, load_settings(), gateway, admin) as running:
            connection = {"conn_type": "kubernetes", "extra": {"kube_config_path": str(running.kubeconfig)}}
            environ.setenv("AIRFLOW_CONN_KUBERNETES_DEFAULT", json.dumps(connection))
            settings.cache_clear()
            yield running
            settings.cache_clear()


@pytest.fixture
def tables() -> Iterator["Session"]:
    """Airflow's own tables, empty."""
    from airflow.models import import_all_models
    from airflow.models.base import Base
    from sqlalchemy import create_engine
    from sqlalchemy.orm import Session

    import_all_models()
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        yield session
    engine.dispose()


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A run id that no other test uses."""
    return f"{request.node.name}-{os.urandom(4).hex()}"
