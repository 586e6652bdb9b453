"""What the machine must have before anything is built, checked all at once. Standard library only."""

import importlib.util
import os
import platform
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

PYTHON = (3, 11)
SETUP_GIB = 12.0
RUN_GIB = 3.0
COMPILERS = ("c++", "g++", "clang++")


def missing(checkout: Path, home: Path, cache: Path, *, set_up: bool) -> list[str]:
    """All that is missing, one text each, with the command that mends it.

    :param set_up: whether environments have yet to be built, which needs a compiler and more room.
    """
    return [
        *_python(),
        *_venv(),
        *(_compiler() if set_up else ()),
        *_util_linux(),
        *_user(),
        *_apart(home, cache),
        *_folder("the checkout", checkout, "", 0.0),
        *_folder("the state folder", home, "PODIUM_HOME", RUN_GIB),
        *_folder("the cache folder", cache, "PODIUM_CACHE", SETUP_GIB if set_up else 0.5),
    ]


def _apart(home: Path, cache: Path) -> Iterator[str]:
    if cache.is_relative_to(home):
        yield (
            f"the cache folder {cache} lies in the state folder {home}, which pods do not see, but their environments "
            "are in the cache.\n    Move one of them: PODIUM_CACHE=... or PODIUM_HOME=..."
        )


def _install(debian: str, fedora: str, mac: str) -> str:
    """The install command of this machine's package manager."""
    sudo = "" if os.geteuid() == 0 else "sudo "
    if platform.system() == "Darwin":
        return mac
    if shutil.which("apt-get") is None and shutil.which("dnf"):
        return f"{sudo}dnf install -y {fedora}"
    return f"{sudo}apt-get update && {sudo}apt-get install -y {debian}"


def _python() -> Iterator[str]:
    if sys.version_info[:2] != PYTHON:
        found = ".".join(map(str, sys.version_info[:3]))
        command = _install("python3.11 python3.11-venv", "python3.11", "brew install python@3.11")
        yield (
            f"Python 3.11 is needed (Horovod and TensorFlow 2.15 have nothing newer); {sys.executable} is {found}.\n"
            f"    Install it: {command}\n    or name another: make PYTHON=/path/to/python3.11 ..."
        )


def _venv() -> Iterator[str]:
    if any(importlib.util.find_spec(name) is None for name in ("venv", "ensurepip")):
        command = _install("python3.11-venv", "python3.11", "brew reinstall python@3.11")
        yield f"Python's venv and ensurepip modules are missing in {sys.executable}.\n    Install them: {command}"


def _compiler() -> Iterator[str]:
    command = _install("g++ make", "gcc-c++ make", "xcode-select --install")
    named = os.environ.get("CXX")
    found = next((path for name in ([named] if named else COMPILERS) if (path := shutil.which(name))), None)
    if found is None:
        where = f"CXX={named} names no program" if named else f"none of {', '.join(COMPILERS)} is on the PATH"
        yield f"A C++ compiler is missing (Horovod is built from source): {where}.\n    Install it: {command}"
    elif (failure := _compile(found)) is not None:
        yield f"The C++ compiler {found} cannot compile a small program: {failure}\n    Install it whole: {command}"
    if shutil.which("make") is None:
        yield f"`make` is missing (Horovod's build calls it).\n    Install it: {command}"


def _compile(compiler: str) -> str | None:
    """What a compiler says against a program of one line, or None."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "probe.cc"
        source.write_text("#include <vector>\nint main() { return static_cast<int>(std::vector<int>{}.size()); }\n")
        try:
            probe = subprocess.run(
                [compiler, "-std=c++17", str(source), "-o", str(source.with_suffix(""))],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
    lines = probe.stderr.strip().splitlines()
    return None if probe.returncode == 0 else (lines[-1] if lines else f"exit code {probe.returncode}")


def _util_linux() -> Iterator[str]:
    """PostgreSQL refuses to run as root: util-linux, part of any Linux, helps it out of that."""
    if platform.system() == "Linux" and os.geteuid() == 0 and shutil.which("setpriv") is None:
        command = _install("util-linux", "util-linux", "")
        yield f"`setpriv` and `unshare` are missing (PostgreSQL does not run as root).\n    Install them: {command}"


def _user() -> Iterator[str]:
    """Airflow and PostgreSQL ask for the user's name, which a container's user may lack."""
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        number = os.geteuid()
        yield (
            f"This user (number {number}) has no name, and Airflow and PostgreSQL refuse to run without one.\n"
            f"    As root: useradd --uid {number} --home-dir {Path.home()} podium"
        )


def _folder(what: str, path: Path, variable: str, gib: float) -> Iterator[str]:
    """Whether a folder can be written, and has room."""
    elsewhere = f"or move it: {variable}=/another/folder make ..." if variable else "or clone it elsewhere"
    existing = path
    while not existing.exists():
        existing = existing.parent
    if (reason := _unwritable(existing)) is not None:
        yield (
            f"{what.capitalize()} {path} cannot be written: {reason}.\n"
            f"    Mend its permissions or its disk, {elsewhere}"
        )
        return
    free = shutil.disk_usage(existing).free / 2**30
    if free < gib:
        yield (
            f"{what.capitalize()} {path} has {free:.1f} GiB free, {gib:.0f} GiB are needed.\n"
            f"    Free some (`df -h {existing}`), {elsewhere}"
        )


def _unwritable(folder: Path) -> str | None:
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"podium")
    except OSError as error:
        return error.strerror or str(error)
    return None
