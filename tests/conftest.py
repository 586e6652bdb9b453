"""What all suites share. Runs in every environment, so it needs nothing but pytest."""

import pytest

pytest_plugins = ["tests.services"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of single suites."""
    soak = parser.getgroup("soak")
    soak.addoption("--soak", action="store_true", help="every cell of the kill matrix, not a selection (tests/plugins)")
    soak.addoption("--repetitions", type=int, default=1, help="how often each cell is run (default: 1)")
    soak.addoption("--at-once", type=int, default=1, help="how many repetitions run at the same time (default: 1)")
    group = parser.getgroup("a real cluster")
    group.addoption("--kubeconfig", help="run on this cluster instead of the dev cluster; needs an admin's rights")
    group.addoption(
        "--operators",
        action="store_true",
        help="it runs the Spark operator, the MPI operator and KServe (tests/pipeline/test_operators.py)",
    )
    group.addoption("--host-address", help="IP address by which its pods reach this machine (tests/pipeline)")
    group.addoption(
        "--image-builder",
        help="program that makes an image: [--env K=V]... [--entrypoint JSON] [--user UID] [--workdir DIR] "
        "NAME LAYER[:DEST]...; without it the images of the settings must be there (tests/pipeline)",
    )
    group.addoption("--image-base", help="root file system that its images begin with")
    features = parser.getgroup("features")
    features.addoption(
        "--all-households",
        action="store_true",
        help="features of all real households beside another engine's, not of a quarter (tests/jobs/features)",
    )
    ingest = parser.getgroup("ingest")
    ingest.addoption("--histories", type=int, default=10, help="drawn histories of a topic (tests/jobs/ingest)")
    chaos = parser.getgroup("chaos")
    chaos.addoption("--chaos-runs", type=int, default=3, help="runs with services and pods killed (tests/chaos)")
    chaos.addoption("--chaos-seed", type=int, default=0, help="seed of the first; each has the next (tests/chaos)")
