"""The cells of the kill matrix, and which of them a short run takes."""

import itertools
from dataclasses import astuple, dataclass
from typing import Final, Literal, get_args

Fault = Literal["task", "supervisor", "scheduler", "triggerer", "api"]
Phase = Literal["submitting", "pending", "running", "streaming", "collecting", "finishing"]
Kind = Literal["pod", "spark", "mpi", "train", "katib", "argo"]
Mode = Literal["sync", "deferred"]

# Those whose controllers a cluster of tests runs; the others' are stood in for, and left to a soak.
IN_SHORT: Final = frozenset({"pod", "spark", "mpi"})
# While a deferred task waits there is no process of it that could be killed.
WITH_PROCESS: Final = frozenset({"submitting", "collecting", "finishing"})


@dataclass(frozen=True)
class Cell:
    """What is killed, when, and what was at work."""

    fault: Fault
    phase: Phase
    kind: Kind
    mode: Mode

    def __str__(self) -> str:
        return "-".join(astuple(self))

    @property
    def applies(self) -> bool:
        """Whether there is something to kill."""
        return self.fault not in ("task", "supervisor") or self.mode == "sync" or self.phase in WITH_PROCESS

    @property
    def pool(self) -> str:
        """The node pool: one of their own for those that must wait for a node."""
        return "spark" if self.phase == "pending" else "general"

    @property
    def dag_id(self) -> str:
        return f"matrix_{self.kind}_{self.mode}_{self.pool}"


def all_cells() -> list[Cell]:
    """Every cell that applies."""
    product = itertools.product(get_args(Fault), get_args(Phase), get_args(Kind), get_args(Mode))
    return [cell for cell in map(lambda values: Cell(*values), product) if cell.applies]


def selection() -> list[Cell]:
    """The cells of a short run, 24 at most: four faults, three kinds, and a triggerer only under what it works for."""
    return pairwise(
        [
            cell
            for cell in all_cells()
            if cell.kind in IN_SHORT and cell.fault != "supervisor" and (cell.fault, cell.mode) != ("triggerer", "sync")
        ]
    )


def pairwise(cells: list[Cell]) -> list[Cell]:
    """Few cells that together hold every pair of values of any two dimensions that occurs. Greedy, always the same."""
    left = set().union(*(_pairs(cell) for cell in cells))
    chosen = []
    while left:
        best = max(cells, key=lambda cell: len(_pairs(cell) & left))
        left -= _pairs(best)
        chosen.append(best)
    return sorted(chosen, key=str)


def _pairs(cell: Cell) -> set[tuple[str, str]]:
    return set(itertools.combinations(astuple(cell), 2))
