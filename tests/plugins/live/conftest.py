"""A real Airflow on the dev cluster, once for all tests of a module."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.plugins.cluster import Platform
from tests.plugins.live.airflow import Airflow, configure, running_airflow
from tests.plugins.live.matrix.cells import all_cells, selection
from tests.plugins.live.matrix.run import ATTEMPTS
from tests.services import kafka, services

__all__ = ["airflow", "kafka", "services"]

REPORT = Path("build") / "soak" / "kill_matrix.json"


def pytest_configure(config: pytest.Config) -> None:
    """Where the kill matrix leaves what became of its cells."""
    config.stash[ATTEMPTS] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """After a soak: a table, and the same as JSON."""
    attempts = config.stash[ATTEMPTS]
    if not config.getoption("--soak") or not attempts:
        return
    terminalreporter.section("kill matrix: passed of repetitions, and the longest in seconds")
    for cell in sorted({attempt.cell for attempt in attempts}, key=str):
        of_cell = [attempt for attempt in attempts if attempt.cell == cell]
        passed = sum(not attempt.problems for attempt in of_cell)
        longest = max(attempt.seconds for attempt in of_cell)
        terminalreporter.write_line(f"{cell!s:40} {passed:3} of {len(of_cell):3} {longest:8.1f}")
    report = config.rootpath / REPORT
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(json.dumps([attempt.record() for attempt in attempts], indent=1) + "\n")
    terminalreporter.write_line(f"written: {report}")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Which cells of the kill matrix are tested."""
    if "cell" in metafunc.fixturenames:
        cells = all_cells() if metafunc.config.getoption("--soak") else selection()
        metafunc.parametrize("cell", cells, ids=str)


# No longer than these tests last: its settings are not those of the tests after them.
@pytest.fixture(scope="module")
def airflow(platform: Platform, services: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    """Airflow's four processes; their settings are those of the embedded platform."""
    from tests.services import Services

    assert isinstance(services, Services)
    with pytest.MonkeyPatch.context() as patch:
        configure(patch, services)
        with running_airflow(services, platform.kubeconfig) as running:
            yield running
