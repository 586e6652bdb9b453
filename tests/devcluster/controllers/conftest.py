"""Fixtures of the controllers' tests: a real Envoy, and a cluster with the controllers on it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from include.devcluster.controllers.gateway_listeners import HTTP_ROUTES
from include.devcluster.controllers.inference_service import INFERENCE_SERVICES
from include.devcluster.controllers.mpi_job import MPI_JOBS
from include.devcluster.controllers.objects import PODS
from include.devcluster.controllers.spark_application import SPARK_APPLICATIONS
from tests.devcluster.controllers.cluster import Cluster
from tests.devcluster.controllers.processes import (
    Controllers,
    Rig,
    dev_cluster,
    install_definitions,
    install_gateway,
    running_envoy,
)
from tests.devcluster.controllers.support import Gateway, wait_for


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    """A real Envoy that reads its configuration from an empty folder."""
    with running_envoy(tmp_path) as running:
        yield running


@pytest.fixture(scope="session")
def kubeconfig(request: pytest.FixtureRequest) -> Path | None:
    """A real cluster's kubeconfig, when the tests are to run there (``--kubeconfig``)."""
    given = request.config.getoption("--kubeconfig", default=None)
    return Path(given) if given else None


@pytest.fixture(scope="session")
def rig(tmp_path_factory: pytest.TempPathFactory, kubeconfig: Path | None) -> Iterator[Rig]:
    """The dev cluster, or the real one that ``--kubeconfig`` names, with all that the tests need on it."""
    folder = tmp_path_factory.mktemp("cluster")
    with ExitStack() as stack:
        gateway = stack.enter_context(running_envoy(folder))
        server = None
        if kubeconfig is None:
            server = dev_cluster(folder)
            stack.enter_context(server.running())
            path, namespace, image = server.kubeconfig, "podium", "podium/python:dev"
        else:
            path, namespace, image = kubeconfig, "podium-controllers", "python:3.11-slim"
        cluster = Cluster.connect(path, namespace, image, gateway, real=kubeconfig is not None)
        if kubeconfig is not None:
            install_definitions(cluster)
        cluster.install_tools()
        install_gateway(cluster)
        running = Controllers(folder, path, cluster)
        running.start()
        stack.callback(running.kill, signal.SIGTERM)
        yield Rig(cluster, running, server)
        assert running.exit_code() is None, (folder / "controllers.log").read_text()
        for resource in (HTTP_ROUTES, INFERENCE_SERVICES, MPI_JOBS, SPARK_APPLICATIONS):
            for left in cluster.items(resource):
                cluster.delete(resource, left["metadata"]["name"])
        wait_for(lambda: not cluster.items(PODS), "the pods to go")


@pytest.fixture(scope="session")
def cluster(rig: Rig) -> Cluster:
    """The cluster, with the controllers on it."""
    return rig.cluster
