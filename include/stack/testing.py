"""Runs the test suites, each in the environment that its subject runs in."""

import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from include.stack.environments import Environments
from include.stack.errors import StackError
from include.stack.service import INHERITED
from include.stack.venvs import Venv

# pytest comes last on the path: what is tested is what runs, not what pytest has brought along.
_PYTEST = """
import sys
sys.path.append(sys.argv.pop(1))
import pytest
sys.exit(pytest.main())
"""
NO_TESTS = 5
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
    """Run suites one after the other, all of them even if one fails; return whether all passed."""
    table = Table("suite", "outcome", "seconds", box=None, header_style="bold")
    passed = True
    for suite, paths in picked:
        console.rule(f"{suite.name}  ({suite.venv.path.name})", align="left")
        began = time.monotonic()
        code = _run_one(environments, suite, [*options, *paths])
        passed &= code in (0, NO_TESTS)
        outcome = {0: "[green]passed[/]", NO_TESTS: "no test selected"}.get(code, f"[red]failed ({code})[/]")
        table.add_row(suite.name, outcome, f"{time.monotonic() - began:.1f}")
    console.print(table)
    return passed


def _run_one(environments: Environments, suite: Suite, arguments: list[str]) -> int:
    checkout = environments.paths.checkout
    environment = {name: os.environ[name] for name in (*INHERITED, *KEPT) if name in os.environ} | {
        "PODIUM_CACHE": str(environments.paths.cache),
        "PODIUM_STACK_PYTHON": str(environments.launcher.python),
        "PATH": f"{suite.venv.bin}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PYTHONPATH": str(checkout),
        "PYTHONUNBUFFERED": "1",
    }
    if suite.overlay is None:
        command = [str(suite.venv.python), "-m", "pytest"]
    else:
        command = [str(suite.venv.python), "-c", _PYTEST, str(suite.overlay.site_packages)]
    return subprocess.run([*command, *arguments], cwd=checkout, env=environment, check=False).returncode
