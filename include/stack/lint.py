"""The checks that need no test: style, types, import rules, fresh locks."""

import subprocess
from pathlib import Path

from rich.console import Console

from include.stack import locks
from include.stack.errors import StackError
from include.stack.venvs import Venv


def lint(checkout: Path, venv: Venv, console: Console) -> bool:
    """Run every check, also after one has failed; return whether all of them passed.

    :param venv: the test environment, which holds the tools.
    """
    commands: dict[str, tuple[str | Path, ...]] = {
        "ruff check": (venv.bin / "ruff", "check", "--output-format=concise", "."),
        "ruff format": (venv.bin / "ruff", "format", "--check", "--output-format=concise", "."),
        "mypy": (venv.bin / "mypy",),
        "import rules": (venv.python, "-c", _IMPORT_RULES),
    }
    passed = True
    for name, command in commands.items():
        outcome = subprocess.run(
            command, cwd=checkout, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        passed &= _tell(console, name, "" if outcome.returncode == 0 else outcome.stdout)
    try:
        locks.check(checkout)
        return _tell(console, "locks", "") and passed
    except StackError as error:
        return _tell(console, "locks", str(error))


# import-linter's own program prints a banner, and does not know of plugins/.
_IMPORT_RULES = """
import sys
sys.path[:0] = [".", "plugins"]
from importlinter.cli import lint_imports
sys.exit(lint_imports(no_cache=True))
"""


def _tell(console: Console, name: str, problem: str) -> bool:
    console.print(f"[green]✓[/] {name}" if not problem else f"[red]✗[/] {name}")
    if problem:
        console.print(problem.rstrip(), markup=False)
    return not problem
