"""Runs steps as early as what they need is done, some at a time."""

import queue
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from include.stack.progress import Progress

Report = Callable[[str], None]


@dataclass(frozen=True)
class Step:
    """One thing to do.

    :param name: unique; shown while it runs.
    :param run: does it; gets a function to tell what it does now. Returns what to show at its end.
    :param needs: steps that must be done before.
    :param lane: steps of one lane run one after the other, in the order given, so that they do not fight over cores.
    """

    name: str
    run: Callable[[Report], str]
    needs: frozenset[str] = field(default_factory=frozenset)
    lane: str = ""


def closure(steps: Iterable[Step], names: Iterable[str]) -> list[Step]:
    """The steps of these names and all that they need, in the order given."""
    known = {step.name: step for step in steps}
    wanted: set[str] = set()
    open_names = list(names)
    while open_names:
        name = open_names.pop()
        if name not in wanted:
            wanted.add(name)
            open_names += known[name].needs
    return [step for step in known.values() if step.name in wanted]


def run(steps: Iterable[Step], progress: Progress, cancel: Callable[[], None]) -> None:
    """Run all steps; on the first failure, or Ctrl-C, call `cancel`, wait for what runs, and raise.

    :param cancel: makes running steps end soon; called at most once.
    :raises ValueError: a step needs one that is not there, or some wait for each other.
    """
    _Run(steps, progress).to_the_end(cancel)


class _Run:
    def __init__(self, steps: Iterable[Step], progress: Progress) -> None:
        self._pending = {step.name: step for step in steps}
        self._progress = progress
        self._running: dict[str, Step] = {}
        self._done: set[str] = set()
        self._finished: queue.SimpleQueue[tuple[Step, BaseException | None]] = queue.SimpleQueue()
        if unknown := {need for step in self._pending.values() for need in step.needs} - self._pending.keys():
            raise ValueError(f"steps need what is not there: {', '.join(sorted(unknown))}")

    def to_the_end(self, cancel: Callable[[], None]) -> None:
        failure: BaseException | None = None
        while self._pending or self._running:
            error: BaseException | None
            try:
                self._start_ready()
                error = self._next()
            except (KeyboardInterrupt, ValueError) as interruption:
                error = interruption
            if error is not None and failure is None:
                failure = error
                self._pending.clear()
                cancel()
        if failure is not None:
            raise failure

    def _start_ready(self) -> None:
        lanes = {step.lane for step in self._running.values() if step.lane}
        for step in list(self._pending.values()):
            if step.needs <= self._done and step.lane not in lanes:
                del self._pending[step.name]
                self._running[step.name] = step
                if step.lane:
                    lanes.add(step.lane)
                threading.Thread(target=self._work, args=(step,), name=step.name, daemon=True).start()
        if self._pending and not self._running:
            raise ValueError(f"steps wait for each other: {', '.join(sorted(self._pending))}")

    def _work(self, step: Step) -> None:
        outcome: BaseException | None = None
        self._progress.start(step.name, "starting")
        try:
            self._progress.done(step.name, step.run(lambda text: self._progress.say(step.name, text)))
        except BaseException as error:  # whatever it is, the main thread has to know
            self._progress.failed(step.name)
            outcome = error
        self._finished.put((step, outcome))

    def _next(self) -> BaseException | None:
        """Wait until a step ends; return its error."""
        if not self._running:
            return None
        step, error = self._finished.get()
        del self._running[step.name]
        if error is None:
            self._done.add(step.name)
        return error
