"""Runs the test suites, each in the environment that its subject runs in."""

import os
import re
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from include.config.settings import QUIET
from include.stack.environments import Environments
from include.stack.errors import StackError
from include.stack.progress import Progress
from include.stack.service import INHERITED
from include.stack.venvs import Venv

# pytest comes last on the path: what is tested is what runs, not what pytest has brought along.
_PYTEST = """
import sys
sys.path.append(sys.argv.pop(1))
import pytest
sys.exit(pytest.main())
"""
SOME_FAILED, NO_TESTS = 1, 5  # exit codes of pytest
# What `make soak` runs; its own arguments come after these and win.
SOAK = (
    *("tests/plugins/live/test_kill_matrix.py", "tests/chaos", "tests/jobs/features/test_year.py"),
    *("tests/jobs/ingest/test_histories.py", "--histories=2000"),
    *("--soak", "--repetitions=10", "--chaos-runs=50", "--all-households"),
)
PASSED = (0, NO_TESTS)
# Most suites wait more than they compute; a third would need more memory than a laptop has to spare.
AT_ONCE = 2
TAKE_DOWN_S = 120.0
SAY_EVERY_S = 20.0  # minutes of a log are read by nobody line by line
_PERCENT = re.compile(r"\[ *(\d+%)\]$")
# What the jobs share has no image of its own; it is tested in one that uses it.
LIBRARIES = {"lake": "ingest", "ranking": "evaluation"}
# Names of its own, so that the settings of the person who runs the tests do not leak into them.
KEPT = ("PODIUM_CACHE", "CI", "TERM", "COLUMNS", "XDG_CACHE_HOME", "JAVA_HOME", "CXX", "MAVEN_REPO_URL")


@dataclass(frozen=True)
class Suite:
    """Tests that run together.

    :param folder: below `tests/`.
    :param venv: where they run.
    :param overlay: the environment that lends pytest, when `venv` has none.
    """

    folder: Path
    venv: Venv
    overlay: Venv | None = None

    @property
    def name(self) -> str:
        """Its folder's name."""
        return self.folder.as_posix()


def suites(environments: Environments) -> list[Suite]:
    """Every suite there is, quick ones first, the whole pipeline last."""
    lent = environments.pytest
    found = []
    tests = environments.paths.checkout / "tests"
    for name, venv, overlay in (
        ("config", environments.tests, None),
        ("k8s", environments.tests, None),
        ("plugins", environments.tests, None),
        ("dags", environments.tests, None),
        ("airflow", environments.tests, None),
        ("demo", environments.launcher, lent),
        ("stack", environments.launcher, lent),
        ("devcluster", environments.tests, None),
    ):
        found.append(Suite(Path("tests") / name, venv, overlay))
    for folder in sorted((tests / "jobs").iterdir() if (tests / "jobs").is_dir() else ()):
        image = LIBRARIES.get(folder.name, folder.name)
        if image in environments.images:
            found.append(Suite(Path("tests") / "jobs" / folder.name, environments.images[image], lent))
    found.append(Suite(Path("tests") / "chaos", environments.images["ingest"], lent))
    found.append(Suite(Path("tests") / "pipeline", environments.launcher, lent))
    return [suite for suite in found if any((environments.paths.checkout / suite.folder).rglob("test_*.py"))]


def select(all_suites: Sequence[Suite], arguments: Sequence[str]) -> tuple[list[tuple[Suite, list[str]]], list[str]]:
    """Split pytest's arguments into what to test, suite by suite, and options that go to every suite.

    :raises StackError: a path belongs to no suite.
    """
    chosen: dict[str, list[str]] = {}
    options = []
    for argument in arguments:
        if not argument.startswith("tests"):
            options.append(argument)
            continue
        path = Path(argument.partition("::")[0])
        matches = [s for s in all_suites if path.is_relative_to(s.folder) or s.folder.is_relative_to(path)]
        if not matches:
            names = ", ".join(suite.name for suite in all_suites)
            raise StackError(f"{argument} belongs to no suite; there are {names}")
        for suite in matches:
            chosen.setdefault(suite.name, []).append(argument if path.is_relative_to(suite.folder) else suite.name)
    picked = [
        (suite, chosen.get(suite.name, [suite.name])) for suite in all_suites if not chosen or suite.name in chosen
    ]
    return picked, options


def run(
    environments: Environments, picked: Sequence[tuple[Suite, list[str]]], options: Sequence[str], console: Console
) -> bool:
    """Run suites, all of them even if one fails; return whether all passed.

    One alone has the terminal. Of several, `AT_ONCE` run side by side, and each is printed whole when it has ended.
    """
    captured = len(picked) > 1
    board = Progress(console, SAY_EVERY_S)
    running = _Running(captured)

    def work(suite: Suite, paths: list[str]) -> tuple[int, float]:
        began = time.monotonic()
        title = f"{suite.name}  ({suite.venv.path.name})"
        if not captured:
            console.rule(title, align="left")
        board.start(suite.name, "testing")
        code, output = _run_one(environments, suite, options, paths, running, scratch, partial(board.say, suite.name))
        with board.lock:
            if captured:
                console.rule(title, align="left")
                console.print(output, end="", markup=False, soft_wrap=True)
            if code in PASSED:
                board.done(suite.name, "passed")
            else:
                board.failed(suite.name)
        return code, time.monotonic() - began

    with ExitStack() as stack:
        # Tests and what they kill leave files behind; they go with it, also when the tests are interrupted.
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="podium-", ignore_cleanup_errors=True))
        pool = stack.enter_context(ThreadPoolExecutor(AT_ONCE))
        if captured:
            stack.enter_context(board.shown())
        try:
            futures = [pool.submit(work, suite, paths) for suite, paths in picked]
            results = [future.result() for future in futures]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            running.interrupt()
            raise
    table = Table("suite", "outcome", "seconds", box=None, header_style="bold")
    for (suite, _), (code, seconds) in zip(picked, results, strict=True):
        outcome = {0: "[green]passed[/]", NO_TESTS: "no test selected"}.get(code, f"[red]failed ({code})[/]")
        table.add_row(suite.name, outcome, f"{seconds:.1f}")
    console.print(table)
    return all(code in PASSED for code, _ in results)


def _run_one(
    environments: Environments,
    suite: Suite,
    options: Sequence[str],
    paths: Sequence[str],
    running: "_Running",
    scratch: str,
    say: Callable[[str], None],
) -> tuple[int, str]:
    """pytest's exit code and what it printed. A suite that crashed did not say what failed: next time it runs whole."""
    crashed = environments.paths.checkout / _cache(suite) / "crashed"
    asked = [option for option in options if not (crashed.exists() and option.startswith("--last-failed"))]
    command, environment = _command(environments, suite, scratch, [*asked, *paths])
    crashed.parent.mkdir(parents=True, exist_ok=True)
    crashed.touch()
    code, output = running.run(command, environments.paths.checkout, environment, say)
    if code in (*PASSED, SOME_FAILED):
        crashed.unlink()
    return code, output


class _Running:
    """The suites that run now. Each is a session of its own, so that an interruption reaches it once, through us."""

    def __init__(self, captured: bool) -> None:
        self._captured = captured
        self._lock = threading.Lock()
        self._processes: set[subprocess.Popen[str]] = set()
        self._interrupted = False

    def run(
        self, command: list[str], folder: Path, environment: dict[str, str], say: Callable[[str], None]
    ) -> tuple[int, str]:
        """Exit code and output, which is empty unless captured; `say` is told how far it is."""
        with self._lock:
            if self._interrupted:
                raise KeyboardInterrupt
            process: subprocess.Popen[str] = subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                text=True,
                start_new_session=True,
                stdin=subprocess.DEVNULL if self._captured else None,
                stdout=subprocess.PIPE if self._captured else None,
                stderr=subprocess.STDOUT if self._captured else None,
            )
            self._processes.add(process)
        output = []
        for line in process.stdout or ():
            output.append(line)
            if percent := _PERCENT.search(line):
                say(percent[1])
        code = process.wait()
        with self._lock:
            self._processes.discard(process)
        return code, "".join(output)

    def interrupt(self) -> None:
        """Have each suite take down what it has started; end the ones that do not, and what they have not."""
        with self._lock:
            self._interrupted = True
            left = list(self._processes)
        started = [child for process in left for child in _descendants(process.pid)]
        for process in left:
            process.send_signal(signal.SIGINT)
        end = time.monotonic() + TAKE_DOWN_S
        for process in left:
            try:
                process.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
        # One that was taking down already when the interruption came has broken off there.
        for child in started:
            with suppress(psutil.NoSuchProcess):
                child.kill()


def _descendants(pid: int) -> list[psutil.Process]:
    """All that a process has started and what these have, in whatever session."""
    with suppress(psutil.NoSuchProcess):
        return list(psutil.Process(pid).children(recursive=True))
    return []


def _command(
    environments: Environments, suite: Suite, scratch: str, arguments: list[str]
) -> tuple[list[str], dict[str, str]]:
    """What runs a suite, and its environment."""
    environment = {name: os.environ[name] for name in (*INHERITED, *KEPT) if name in os.environ} | {
        "PODIUM_CACHE": str(environments.paths.cache),
        "PODIUM_STACK_PYTHON": str(environments.launcher.python),
        "PATH": f"{suite.venv.bin}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PYTHONPATH": str(environments.paths.checkout),
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": scratch,
        # These would write to the home folder, or ask servers outside.
        **QUIET,
        **dict.fromkeys(("AIRFLOW_HOME", "KERAS_HOME", "KUBECACHEDIR", "MPLCONFIGDIR"), scratch),
    }
    if suite.overlay is None:
        command = [str(suite.venv.python), "-m", "pytest"]
    else:
        command = [str(suite.venv.python), "-c", _PYTEST, str(suite.overlay.site_packages)]
    # A cache each: what failed last is remembered by suites that end at the same time.
    return [*command, "-o", f"cache_dir={_cache(suite)}", *arguments], environment


def _cache(suite: Suite) -> Path:
    return Path(".pytest_cache") / suite.name
