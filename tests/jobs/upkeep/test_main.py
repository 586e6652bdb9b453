"""The driver's script, as Spark starts it."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_the_script_starts_by_its_path() -> None:
    """Its folder comes first among those that are searched: a file there must not take a library's name."""
    script = ROOT / "include" / "jobs" / "upkeep" / "main.py"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, script, "--help"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: main.py")
