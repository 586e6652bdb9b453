"""The conformance suite: the same tests against the dev cluster and, with `--kubeconfig FILE`, a real cluster.

Without the option a dev cluster is started as a process of its own. Where the two differ, the dev cluster is wrong.
Marks: `dev_only` for what only the dev cluster promises; `private` for what containers without namespaces cannot keep
to themselves.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.devcluster.cluster import Cluster
from tests.devcluster.server import DevCluster


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--isolation", default="auto", help="isolation of the dev cluster's containers: namespaces, mapped"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "dev_only: what only the dev cluster promises; skipped on a real cluster")
    config.addinivalue_line("markers", "private: needs a root and processes of the container's own")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    real, mapped = config.getoption("--kubeconfig"), config.getoption("--isolation") == "mapped"
    for item in items:
        if real and item.get_closest_marker("dev_only"):
            item.add_marker(pytest.mark.skip(reason="only the dev cluster promises this"))
        if mapped and not real and item.get_closest_marker("private"):
            item.add_marker(pytest.mark.skip(reason="mapped containers share this machine's files and processes"))


@pytest.fixture(scope="session")
def kubeconfig(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    given = request.config.getoption("--kubeconfig")
    if given:
        yield Path(given)
        return
    server = DevCluster(tmp_path_factory.mktemp("devcluster"), isolation=request.config.getoption("--isolation"))
    with server.running():
        yield server.kubeconfig


@pytest.fixture(scope="session")
def is_real(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--kubeconfig"))


@pytest.fixture(scope="module")
def cluster(kubeconfig: Path) -> Iterator[Cluster]:
    """A namespace of this module's own on the cluster under test."""
    connected = Cluster(kubeconfig, f"test-{uuid.uuid4().hex[:8]}")
    connected.make_namespace()
    yield connected
    connected.drop_namespace()


@pytest.fixture
def name() -> str:
    """A name that no other test uses."""
    return f"t-{uuid.uuid4().hex[:10]}"
