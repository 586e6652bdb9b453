"""From a bare Python 3.11 to the launcher: checks the machine, makes the launcher's environment, hands over to it.

Run as a file, by `make`: `python3.11 include/stack/bootstrap.py COMMAND`. Standard library only.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
# Leave nothing in the checkout, which may belong to somebody else.
sys.dont_write_bytecode = True

from include.stack import prerequisites  # noqa: E402
from include.stack.errors import PrerequisiteError, StackError  # noqa: E402
from include.stack.paths import Paths  # noqa: E402
from include.stack.venvs import Spawner, Venv, lock_blocks  # noqa: E402

# These start nothing and build nothing, so they must work on a disk that is full.
LIGHT = {"down", "status"}


def main() -> None:
    """Check, build, and replace this process by the launcher."""
    command = sys.argv[1] if len(sys.argv) > 1 else "up"
    paths = Paths.from_environment()
    os.environ.setdefault("SETUP_BEGAN", str(time.time()))
    try:
        venv = launcher(paths)
        check(paths, command, venv)
        if not venv.complete:
            _make(paths, venv)
    except StackError as error:
        sys.exit(f"podium: {error}")
    except KeyboardInterrupt:
        sys.exit("podium: interrupted; the next start goes on from here")
    except OSError as error:
        sys.exit(
            f"podium: {error.filename or paths.cache}: {error.strerror}. Mend the disk or its permissions, and retry"
        )
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONHOME", "VIRTUAL_ENV")}
    environment["PYTHONPATH"] = str(paths.checkout)
    os.chdir(paths.checkout)
    os.execve(venv.python, [str(venv.python), "-m", "include.stack", *sys.argv[1:]], environment)


def launcher(paths: Paths) -> Venv:
    """The environment that the launcher, the dev cluster and the demonstration run in."""
    return Venv("stack", paths.checkout / "include" / "stack" / "requirements.lock", paths.cache)


def check(paths: Paths, command: str, venv: Venv) -> None:
    """Refuse to begin on a machine that lacks something.

    :raises PrerequisiteError: names everything that is missing, each with the command that mends it.
    """
    if command in LIGHT and venv.complete:
        return
    # The environment of the recommender is the one that needs a compiler.
    built = any((paths.cache / "envs").glob("recommender-*/.complete"))
    if texts := prerequisites.missing(paths.checkout, paths.home, paths.cache, set_up=not built):
        raise PrerequisiteError("this machine is not ready:\n" + "\n".join(f"  - {text}" for text in texts))


def _make(paths: Paths, venv: Venv) -> None:
    """Get uv through pip, then make the launcher's environment with it."""
    log = paths.logs / "setup" / "stack.log"
    spawner = Spawner()
    boot = paths.cache / f"boot-{sys.version_info[0]}.{sys.version_info[1]}"
    uv = boot / "bin" / "uv"
    try:
        if not _works(uv):
            print("podium: getting uv", flush=True)
            paths.cache.mkdir(parents=True, exist_ok=True)
            requirement = paths.cache / "uv-requirement.txt"
            requirement.write_text(lock_blocks(venv.lock)["uv"])
            spawner.run([sys.executable, "-m", "venv", "--clear", boot], log)
            pip: list[str | Path] = [
                boot / "bin" / "python",
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
            ]
            spawner.run([*pip, "--require-hashes", "-r", requirement], log)
        venv.build(uv, log, spawner, lambda text: print(f"podium: launcher: {text}", flush=True))
    except BaseException:
        spawner.cancel()
        raise


def _works(program: Path) -> bool:
    """Whether a program is there and runs (an interrupted installation may have left half of it)."""
    try:
        return subprocess.run([program, "--version"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


if __name__ == "__main__":
    main()
