"""A disk that is full or cannot be written is told in words, and nothing is left running."""

import os
import shlex
import shutil
import subprocess
import sys

import pytest

from tests.services import ROOT
from tests.stack.conftest import Sandbox

# A file system of the test's own, which nobody else sees; other users than root need a user namespace for that.
_UNSHARE = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
pytestmark = pytest.mark.skipif(
    shutil.which("unshare") is None or subprocess.run([*_UNSHARE, "true"], capture_output=True).returncode != 0,
    reason="this machine allows no mount namespaces",
)


def _up_on(sandbox: Sandbox, prepare: str) -> str:
    """Start Postgres with the state folder on a file system that the shell command prepares; returns the output."""
    sandbox.paths.home.mkdir()
    home, python = shlex.quote(str(sandbox.paths.home)), sys.executable
    script = f"""
        set -e
        mount -t tmpfs -o size=24m tmpfs {home}
        {prepare}
        cd '{ROOT}'
        if '{python}' -m include.stack up --only postgres; then exit 99; fi
        '{python}' -m include.stack down
    """
    outcome = subprocess.run(
        [*_UNSHARE, "sh", "-c", script],
        env={**os.environ, **sandbox.environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stdout
    assert "Traceback" not in outcome.stdout
    return outcome.stdout


def test_a_full_disk(sandbox: Sandbox) -> None:
    output = _up_on(sandbox, 'dd if=/dev/zero of="$PODIUM_HOME/full" bs=1M count=64 2>/dev/null || true')
    assert "No space left on device" in output
    assert str(sandbox.paths.home) in output


def test_a_disk_that_fills_up_while_the_data_is_made(sandbox: Sandbox) -> None:
    output = _up_on(sandbox, "true")
    assert "No space left on device" in output


def test_a_read_only_disk(sandbox: Sandbox) -> None:
    output = _up_on(sandbox, 'mount -o remount,ro "$PODIUM_HOME"')
    assert "Read-only file system" in output
    assert "Free or mend the disk" in output
