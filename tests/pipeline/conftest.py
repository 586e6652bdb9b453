"""One embedded platform for all tests of the pipeline, on free ports and in a folder of its own."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from include.config import Settings, load_settings
from include.config.settings import Ports
from tests.pipeline.own_cluster import ImageBuilder, prepared

ROOT = Path(__file__).parents[2]
MONTHS, HOUSEHOLDS, BROKEN = 4, 300, 80
# Four months of 300 households: what the whole year is to the demonstration, in a minute or two.
SLICE = {
    "PODIUM_FEATURES__CUTOFFS": '["2017-02-01", "2017-03-01", "2017-04-01"]',
    "PODIUM_RECOMMENDER__TRAIN_CUTOFFS": '["2017-02-01"]',
    "PODIUM_RECOMMENDER__VALIDATION_CUTOFF": "2017-03-01",
    "PODIUM_RECOMMENDER__EVALUATION_CUTOFF": "2017-04-01",
    "PODIUM_RECOMMENDER__REQUIRED_BASELINES": '["popularity"]',
    "PODIUM_ROLLOUT__STEPS": json.dumps(
        [{"traffic_percent": share, "min_seconds": 2, "max_seconds": 120} for share in (10, 50, 100)]
    ),
    # On two busy cores a request may wait for its turn; latency is judged in the rollout's own tests.
    "PODIUM_ROLLOUT__MAX_P99_MS": "5000",
}


@dataclass(frozen=True)
class Platform:
    """A running embedded platform, and what its demonstration reported."""

    home: Path
    output: Path
    environment: dict[str, str]
    settings: Settings
    transcript: str

    @property
    def report(self) -> dict[str, Any]:
        """The content of `report.json`."""
        return dict(json.loads((self.output / "report.json").read_text()))

    def stack(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the stack on this platform."""
        return run_stack(self.environment, *arguments)


def run_stack(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    python = os.environ.get("PODIUM_STACK_PYTHON", sys.executable)
    return subprocess.run(
        [python, "-m", "include.stack", *arguments],
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on, distinct because all are held open until the last is known."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


@pytest.fixture(scope="session")
def cluster_settings(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Settings that make the platform use the cluster of the options; none for the dev cluster."""
    admin, address = pytestconfig.getoption("--kubeconfig"), pytestconfig.getoption("--host-address")
    if admin is None:
        yield {}
        return
    program, base = pytestconfig.getoption("--image-builder"), pytestconfig.getoption("--image-base")
    builder = ImageBuilder(Path(program), Path(base)) if program else None
    with prepared(Path(admin), address, builder, tmp_path_factory.mktemp("cluster")) as settings:
        yield settings


@pytest.fixture(scope="session")
def platform(cluster_settings: dict[str, str]) -> Iterator[Platform]:
    """The platform after a demonstration on the slice; it is taken down when the session ends."""
    home = ROOT / "build" / f"pipeline-{os.getpid()}"
    output = home.with_name(home.name + "-report")
    names = list(Ports.model_fields)
    ports = {
        f"PODIUM_PORTS__{name.upper()}": str(port) for name, port in zip(names, free_ports(len(names)), strict=True)
    }
    overrides = SLICE | ports | cluster_settings
    environment = {**os.environ, **overrides, "PODIUM_HOME": str(home)}
    with pytest.MonkeyPatch.context() as patch:
        for key, value in overrides.items():
            patch.setenv(key, value)
        settings = load_settings("local")
    arguments = ["--months", str(MONTHS), "--households", str(HOUSEHOLDS), "--broken", str(BROKEN)]
    try:
        done = run_stack(environment, "demo", *arguments, "--output", str(output))
        yield Platform(home, output, environment, settings, done.stdout)
    finally:
        down = run_stack(environment, "down")
        if down.returncode == 0:
            shutil.rmtree(home, ignore_errors=True)
            shutil.rmtree(output, ignore_errors=True)
        else:
            pytest.fail(f"the platform did not stop; its state is kept in {home}:\n{down.stdout}")
