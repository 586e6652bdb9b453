"""Running a command of a job on this machine, as a pod of its image would: for questions to the running platform."""

import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from include.stack.errors import StackError
from include.stack.service import Platform
from include.stack.services.devcluster import secrets_of


def run_job(platform: Platform, image: str, arguments: Sequence[str]) -> int:
    """Run `python ARGUMENTS` in the environment of an image; the exit code.

    Credentials are files that only this user can read, and are gone afterwards.

    :raises StackError: the environment was not made yet.
    """
    python = platform.environments.images[image].python
    if not python.exists():
        raise StackError(f"the environment of {image} is not there yet: `make up` first")
    with tempfile.TemporaryDirectory(prefix="podium-credentials-") as folder:
        for name, value in secrets_of(platform).items():
            path = Path(folder) / name
            path.touch(mode=0o600)
            path.write_text(value)
        environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME", "TERM") if name in os.environ},
            **platform.settings.platform_environment(),
            "PODIUM_CREDENTIALS_DIR": folder,
            "PYTHONPATH": str(platform.paths.checkout),
        }
        return subprocess.run(
            [python, *arguments], env=environment, cwd=platform.paths.checkout, check=False
        ).returncode
