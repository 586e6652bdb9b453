"""The kill matrix: whatever dies, whenever, the work runs once and its task ends as if nothing had been.

`make test` runs a pairwise selection of the cells, `make soak` all of them, several times.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.plugins.cluster import Platform
from tests.plugins.live.airflow import configure, running_airflow
from tests.plugins.live.matrix.cells import Cell
from tests.plugins.live.matrix.proxy import HoldingProxy
from tests.plugins.live.matrix.run import ATTEMPTS, Attempt, Matrix
from tests.services import Services

pytestmark = [pytest.mark.slow, pytest.mark.timeout(0)]
DAGS = Path(__file__).parent / "matrix" / "dags"
# So many cells of a fault are in flight at once: more, and two cores are too busy to tell the living from the dead.
CELLS_AT_ONCE = 12
# So many workers do they take, in a soak and in a short run: the synchronous ones wait in them.
PARALLELISM = {True: 14, False: 8}


@pytest.fixture(scope="module")
def matrix(
    platform: Platform, services: Services, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Matrix]:
    """An Airflow of its own, which sees the cluster through a proxy that can hold requests."""
    folder = tmp_path_factory.mktemp("matrix")
    workers = PARALLELISM[request.config.getoption("--soak")] * request.config.getoption("--at-once")
    cells = folder / "cells"
    further = {"PODIUM_TEST_CELLS": str(cells)}
    with pytest.MonkeyPatch.context() as patch, HoldingProxy(platform.kubeconfig) as proxy:
        configure(patch, services)
        patch.setenv("PODIUM_AIRFLOW__PARALLELISM", str(workers))
        kubeconfig = proxy.write_kubeconfig(folder / "kubeconfig")
        with running_airflow(services, kubeconfig, DAGS, further) as airflow:
            yield Matrix(airflow, platform, proxy, cells)


@pytest.fixture(scope="module")
def outcome(matrix: Matrix, request: pytest.FixtureRequest) -> Callable[[Cell], list[Attempt]]:
    """What became of a cell; of the cells of a fault that are to be tested, many are struck at once."""
    config = request.config
    repetitions = list(range(1, config.getoption("--repetitions") + 1))
    wave = config.getoption("--at-once")
    cells = [item.callspec.params["cell"] for item in request.session.items if item.module is request.module]
    found: dict[Cell, list[Attempt]] = defaultdict(list)

    def look(cell: Cell) -> list[Attempt]:
        if cell not in found:
            batch = [other for other in cells if other.fault == cell.fault and other not in found][:CELLS_AT_ONCE]
            for first in range(0, len(repetitions), wave):
                for attempt in matrix.strike(batch, repetitions[first : first + wave]):
                    found[attempt.cell].append(attempt)
                    config.stash[ATTEMPTS].append(attempt)
        return found[cell]

    return look


def test_what_is_killed_is_taken_up(cell: Cell, outcome: Callable[[Cell], list[Attempt]]) -> None:
    problems = [f"{attempt.run_id}: {problem}" for attempt in outcome(cell) for problem in attempt.problems]
    assert not problems, "\n".join(problems)
