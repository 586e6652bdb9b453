"""The kill matrix: whatever dies, whenever, the work runs once and its task ends as if nothing had been.

`make test` runs a pairwise selection of the cells, `make soak` all of them, several times.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.plugins.cluster import Platform
from tests.plugins.kinds_controller import Template, controllers
from tests.plugins.live.airflow import configure, running_airflow
from tests.plugins.live.matrix.cells import IN_SHORT, Cell
from tests.plugins.live.matrix.proxy import HoldingProxy
from tests.plugins.live.matrix.run import ATTEMPTS, Attempt, Matrix
from tests.services import Services

pytestmark = [pytest.mark.slow, pytest.mark.timeout(0)]
MATRIX = Path(__file__).parent / "matrix"
# The WorkflowTemplate that the cells of Argo run.
COUNT = Template(
    command=lambda arguments: ["python", str(MATRIX / "job.py"), arguments["folder"], arguments["phase"]],
    output="counted",
    line="^PODIUM_RESULT (.*)$",
)
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
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        proxy = stack.enter_context(HoldingProxy(platform.kubeconfig))
        configure(patch, services)
        patch.setenv("PODIUM_AIRFLOW__PARALLELISM", str(workers))
        stood_in = any(cell.kind not in IN_SHORT for cell in _cells(request))
        over = stack.enter_context(controllers(platform, {"count": COUNT})).over if stood_in else ()
        kubeconfig = proxy.write_kubeconfig(folder / "kubeconfig")
        airflow = stack.enter_context(running_airflow(services, kubeconfig, MATRIX / "dags", further))
        yield Matrix(airflow, platform, proxy, cells, over)


@pytest.fixture(scope="module")
def outcome(matrix: Matrix, request: pytest.FixtureRequest) -> Callable[[Cell], list[Attempt]]:
    """What became of a cell; of the cells of a fault that are to be tested, many are struck at once."""
    config = request.config
    repetitions = list(range(1, config.getoption("--repetitions") + 1))
    wave = config.getoption("--at-once")
    cells = _cells(request)
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


def _cells(request: pytest.FixtureRequest) -> list[Cell]:
    """Those that are to be tested."""
    return [item.callspec.params["cell"] for item in request.session.items if item.module is request.module]


def test_what_is_killed_is_taken_up(cell: Cell, outcome: Callable[[Cell], list[Attempt]]) -> None:
    problems = [f"{attempt.run_id}: {problem}" for attempt in outcome(cell) for problem in attempt.problems]
    assert not problems, "\n".join(problems)
