"""One embedded platform for all tests of the pipeline."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from include.config import Settings
from tests.pipeline.own_cluster import OwnCluster
from tests.pipeline.running import BROKEN, HOUSEHOLDS, MONTHS, Home, home


@dataclass(frozen=True)
class Platform:
    """A running embedded platform, and what its demonstration reported."""

    home: Path
    output: Path
    settings: Settings
    transcript: str
    running: Home

    @property
    def report(self) -> dict[str, Any]:
        """The content of `report.json`."""
        return dict(json.loads((self.output / "report.json").read_text()))


@pytest.fixture(scope="session")
def own_cluster(pytestconfig: pytest.Config) -> OwnCluster | None:
    """The cluster of the options; None for the dev cluster."""
    return OwnCluster.from_options(pytestconfig)


@pytest.fixture(scope="session")
def platform(own_cluster: OwnCluster | None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """The platform after a demonstration on the slice; it is taken down when the session ends."""
    if own_cluster is None:
        yield from _demonstration({})
        return
    with own_cluster.prepared(tmp_path_factory.mktemp("cluster")) as settings:
        yield from _demonstration(settings)


def _demonstration(further: dict[str, str]) -> Iterator[Platform]:
    arguments = ["--months", str(MONTHS), "--households", str(HOUSEHOLDS), "--broken", str(BROKEN)]
    with home("pipeline", further) as running:
        done = running.stack("demo", *arguments, "--output", str(running.report))
        yield Platform(running.path, running.report, running.settings, done.stdout, running)
