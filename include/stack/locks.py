"""Lock files: written from their requirements, and proven fresh without a network.

A lock's first line holds the hash of the requirements that it was resolved from.
"""

import hashlib
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from include.stack import jars
from include.stack.errors import BuildError, StackError
from include.stack.venvs import Spawner

HEADER = re.compile(r"# Locked from (\S+) \(sha256 ([0-9a-f]{64})\)")


@dataclass(frozen=True)
class Lock:
    """A lock file and the direct requirements that it comes from."""

    requirements: Path
    lock: Path

    @property
    def digest(self) -> str:
        """Hash of the requirements, those that they include too."""
        return hashlib.sha256(_expanded(self.requirements).encode()).hexdigest()

    def stale(self) -> str | None:
        """Why the lock does not belong to its requirements, or None when it does."""
        if not self.lock.is_file():
            return f"{self.lock} is missing"
        first = self.lock.read_text().partition("\n")[0]
        match = HEADER.match(first)
        if match is None or match[2] != self.digest:
            return f"{self.lock} was not made from {self.requirements.name} as it is now"
        return None

    def write(self, uv: Path, cache: Path, log: Path, spawner: Spawner) -> None:
        """Resolve the requirements, keeping the versions that the lock already has.

        :raises BuildError: they do not resolve.
        """
        with tempfile.TemporaryDirectory() as folder:
            draft = Path(folder) / self.lock.name
            if self.lock.is_file():
                draft.write_text(self.lock.read_text())
            options = ("--quiet", "--python-version", "3.11", "--generate-hashes", "--no-header", "--no-annotate")
            command: list[str | Path] = [uv, "pip", "compile", *options, "-o", draft, self.requirements.name]
            spawner.run(command, log, env=_environment(cache), cwd=self.requirements.parent)
            body = "".join(line for line in draft.read_text().splitlines(keepends=True) if not line.startswith("#"))
        self._write(body)

    def _write(self, body: str) -> None:
        header = f"# Locked from {self.requirements.name} (sha256 {self.digest}); renew with `make lock`.\n"
        self.lock.write_text(header + body)


class JarsLock(Lock):
    """A lock of jars, and the coordinates that it comes from (see `include.stack.jars`)."""

    def write(self, uv: Path, cache: Path, log: Path, spawner: Spawner) -> None:
        """Resolve, fetch and hash them all.

        :raises BuildError: they do not resolve.
        """
        self._write(jars.resolve(self.requirements, cache))


def _environment(cache: Path) -> dict[str, str]:
    return {**os.environ, "UV_CACHE_DIR": str(cache / "uv"), "UV_PYTHON_DOWNLOADS": "never"}


def _expanded(path: Path) -> str:
    """Requirements without comments, included files in their place."""
    lines = []
    for line in path.read_text().splitlines():
        text = line.partition(" #")[0].strip()
        if text.startswith("-r "):
            lines.append(_expanded(path.parent / text[3:].strip()))
        elif text and not text.startswith("#"):
            lines.append(text)
    return "\n".join(lines)


def all_locks(checkout: Path) -> list[Lock]:
    """Every lock of the repository: Airflow's, the benchmarks', the tests', the launcher's, the images', the jars'."""
    pairs = [Lock(checkout / "requirements.txt", checkout / "requirements.lock")]
    for folder in ("benchmarks", "tests", "include"):
        found = sorted((checkout / folder).rglob("requirements.in"))
        pairs += [Lock(path, path.with_suffix(".lock")) for path in found]
    pairs += [JarsLock(path, path.with_suffix(".lock")) for path in sorted((checkout / "include").rglob("jars.txt"))]
    return pairs


def check(checkout: Path) -> None:
    """Prove all locks fresh.

    :raises StackError: names every lock that is not.
    """
    if stale := [reason for lock in all_locks(checkout) if (reason := lock.stale())]:
        raise StackError("lock files are not fresh (renew them with `make lock`):\n  " + "\n  ".join(stale))


def renew(checkout: Path, uv: Path, cache: Path, log: Path) -> list[Path]:
    """Write every lock that is not fresh; return those.

    :raises BuildError: requirements that do not resolve.
    """
    spawner = Spawner()
    written = []
    for lock in all_locks(checkout):
        if lock.stale():
            try:
                lock.write(uv, cache, log, spawner)
            except BuildError as error:
                raise BuildError(f"{lock.requirements} does not resolve: {error}") from error
            written.append(lock.lock)
    return written
