"""Steps run as early as they can, and stop together."""

import io
import threading
import time

import pytest
from rich.console import Console

from include.stack import graph
from include.stack.graph import Report, Step
from include.stack.progress import Progress


def _progress() -> Progress:
    return Progress(Console(file=io.StringIO()))


def _noting(name: str, order: list[str], needs: tuple[str, ...] = (), lane: str = "") -> Step:
    def run(_: Report) -> str:
        order.append(name)
        return "done"

    return Step(name, run, frozenset(needs), lane)


def test_needs_come_first() -> None:
    order: list[str] = []
    steps = [_noting("c", order, ("a", "b")), _noting("b", order, ("a",)), _noting("a", order)]
    graph.run(steps, _progress(), lambda: None)
    assert order == ["a", "b", "c"]


def test_independent_steps_run_at_the_same_time_and_those_of_a_lane_do_not() -> None:
    both = threading.Barrier(2, timeout=10)
    at_once = 0
    most = 0

    def meet(_: Report) -> str:
        both.wait()
        return "met"

    def count(_: Report) -> str:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        time.sleep(0.01)
        at_once -= 1
        return "counted"

    lane = [Step(f"lane{number}", count, lane="cores") for number in range(4)]
    graph.run([Step("x", meet), Step("y", meet), *lane], _progress(), lambda: None)
    assert most == 1


def test_a_failure_cancels_what_runs_and_starts_nothing_more() -> None:
    cancelled = threading.Event()
    order: list[str] = []

    def fail(_: Report) -> str:
        raise RuntimeError("broken")

    def wait(_: Report) -> str:
        assert cancelled.wait(10)
        return "stopped"

    steps = [Step("waits", wait), Step("fails", fail), _noting("after", order, ("waits",))]
    with pytest.raises(RuntimeError, match="broken"):
        graph.run(steps, _progress(), cancelled.set)
    assert order == []


def test_unknown_needs_and_circles_are_refused() -> None:
    with pytest.raises(ValueError, match="not there: b"):
        graph.run([_noting("a", [], ("b",))], _progress(), lambda: None)
    with pytest.raises(ValueError, match="wait for each other: a, b"):
        graph.run([_noting("a", [], ("b",)), _noting("b", [], ("a",))], _progress(), lambda: None)


def test_the_closure_holds_all_that_is_needed_and_no_more() -> None:
    steps = [_noting("a", []), _noting("b", [], ("a",)), _noting("c", [], ("b",)), _noting("d", [])]
    assert [step.name for step in graph.closure(steps, ["b"])] == ["a", "b"]


def test_progress_is_told_in_plain_lines_when_nobody_watches_a_terminal() -> None:
    out = io.StringIO()
    progress = Progress(Console(file=out, width=200))
    with progress.shown():
        progress.start("kafka", "starting")
        time.sleep(2.5)
        progress.done("kafka", "ready")
        progress.start("quick", "starting")
        progress.done("quick", "ready")
    text = out.getvalue()
    assert "· kafka" in text
    assert "✓ kafka" in text
    assert "quick" not in text
