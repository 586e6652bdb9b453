"""Shows what is going on: a live list on a terminal, otherwise a plain line a change and every few seconds."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

SAY_EVERY_S = 5.0


@dataclass
class _Line:
    began: float
    text: str = ""
    said: float | None = None


class Progress:
    """A board of steps. Safe to call from any thread; who holds its `lock` prints undisturbed.

    :param say_every_s: how often a log, which is no terminal, is told of a running step; default 5 s.

    >>> board = Progress(Console())
    >>> with board.shown():
    ...     board.start("kafka", "starting")
    ...     board.done("kafka", "ready")
    """

    def __init__(self, console: Console, say_every_s: float = SAY_EVERY_S) -> None:
        self.console = console
        self.say_every_s = say_every_s
        self.lock = threading.RLock()
        self._running: dict[str, _Line] = {}
        self._live: Live | None = None
        self._spinners: dict[str, Spinner] = {}

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the board while the block runs."""
        if self.console.is_terminal:
            with Live(self, console=self.console, refresh_per_second=8, transient=True) as live:
                self._live = live
                try:
                    yield
                finally:
                    self._live = None
            return
        ended = threading.Event()
        ticker = threading.Thread(target=self._tick, args=(ended,), name="progress", daemon=True)
        ticker.start()
        try:
            yield
        finally:
            ended.set()
            ticker.join()

    def start(self, name: str, text: str) -> None:
        """A step begins."""
        with self.lock:
            self._running[name] = _Line(time.monotonic())
            self.say(name, text)

    def say(self, name: str, text: str) -> None:
        """A running step tells what it does now."""
        with self.lock:
            line = self._running.get(name)
            if line is None or line.text == text:
                return
            line.text = text

    def done(self, name: str, text: str) -> None:
        """A step is over; steps that took no time stay silent."""
        with self.lock:
            line = self._running.pop(name, None)
            took = time.monotonic() - line.began if line else 0.0
            if took >= 0.5:
                self._print("✓", name, f"{text} ({took:.1f} s)", "green")

    def failed(self, name: str) -> None:
        """A step failed; the reason is told by who handles the error."""
        with self.lock:
            self._running.pop(name, None)
            self._print("✗", name, "failed", "red")

    def __rich__(self) -> RenderableType:
        """The running steps, for the live display."""
        with self.lock:
            rows: list[RenderableType] = []
            for name, line in self._running.items():
                spinner = self._spinners.setdefault(name, Spinner("dots"))
                spinner.update(text=Text(f"{name:<22} {line.text}  {time.monotonic() - line.began:.0f} s"))
                rows.append(spinner)
            return Group(*rows)

    def _print(self, mark: str, name: str, text: str, style: str = "") -> None:
        self.console.print(Text(f"{mark} {name:<22} {text}", style=style), soft_wrap=True, highlight=False)

    def _tick(self, ended: threading.Event) -> None:
        """Tell of steps that take longer than a moment, once each, and then all together every few seconds."""
        while not ended.wait(1.0):
            with self.lock:
                now = time.monotonic()
                quiet = []
                for name, line in self._running.items():
                    if line.said is None and now - line.began >= 1.0:
                        line.said = now
                        self._print("·", name, line.text)
                    elif line.said is not None and now - line.said >= self.say_every_s:
                        line.said = now
                        quiet.append(f"{name} ({line.text}, {now - line.began:.0f} s)")
                if quiet:
                    self.console.print(Text(f"  still at work: {', '.join(quiet)}"), soft_wrap=True, highlight=False)
