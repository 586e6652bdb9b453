"""An embedded platform for tests: on free ports, in a folder of its own, on a slice of the data."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from include.config import Settings, load_settings
from include.config.platform import Ports

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
class Home:
    """The folder of a platform that runs, or can be started, and what it is started with."""

    path: Path
    environment: dict[str, str]
    settings: Settings

    @property
    def report(self) -> Path:
        """Where a demonstration leaves its report."""
        return self.path.with_name(self.path.name + "-report")

    def stack(self, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command of the stack on this platform, with a text on its standard input."""
        python = os.environ.get("PODIUM_STACK_PYTHON", sys.executable)
        return subprocess.run(
            [python, "-m", "include.stack", *arguments],
            cwd=ROOT,
            env=self.environment,
            text=True,
            input=text,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )


@contextmanager
def home(name: str, further: Mapping[str, str]) -> Iterator[Home]:
    """Make a platform's folder and settings; at the end the platform is down and the folder gone.

    :param name: tells it from others of this process.
    :param further: settings beside those of the slice.
    """
    names = list(Ports.model_fields)
    ports = {
        f"PODIUM_PORTS__{key.upper()}": str(port) for key, port in zip(names, _free_ports(len(names)), strict=True)
    }
    overrides = SLICE | ports | dict(further)
    with pytest.MonkeyPatch.context() as patch:
        for key, value in overrides.items():
            patch.setenv(key, value)
        settings = load_settings("local")
    path = ROOT / "build" / f"{name}-{os.getpid()}"
    made = Home(path, {**os.environ, **overrides, "PODIUM_HOME": str(path)}, settings)
    try:
        yield made
    finally:
        down = made.stack("down")
        if down.returncode == 0:
            shutil.rmtree(path, ignore_errors=True)
            shutil.rmtree(made.report, ignore_errors=True)
        else:
            pytest.fail(f"the platform did not stop; its state is kept in {path}:\n{down.stdout}")


def _free_ports(count: int) -> list[int]:
    """Ports that nothing listens on, distinct because all are held open until the last is known."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
