"""Folders of jars from lock files, kept in the cache under the hash of their lock.

`jars.txt` names what is wanted, one a line; `#` begins a comment:

    group:artifact:version            with all that it needs at run time
    group:artifact:version alone      by itself
    - group:artifact                  left out wherever it comes up

`jars.lock`, which `make lock` writes, names every jar with its sha256, so that set-up resolves nothing: it fetches and
compares. One written by hand may hold archives (`group:artifact:version:tar.gz:classifier`), which are unpacked.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import requests
from jgo.maven import Dependency, MavenContext, PythonResolver

from include.stack.errors import BuildError
from include.stack.venvs import MARKER, Say

TIMEOUT_S = 120
AT_ONCE = 8
TRIES = 3


@dataclass(frozen=True)
class Jars:
    """One folder of jars.

    :param name: of the image or service.
    :param lock: lines of `group:artifact:version[[:packaging]:classifier] sha256`.
    :param cache: the cache folder of Podium.
    """

    name: str
    lock: Path
    cache: Path

    @property
    def path(self) -> Path:
        """The folder, whether it exists or not."""
        try:
            digest = hashlib.sha256(self.lock.read_bytes()).hexdigest()
        except FileNotFoundError as error:
            raise BuildError(
                f"{self.lock} is missing: restore it from the repository, or write it with `make lock`"
            ) from error
        return self.cache / "jars" / f"{self.name}-{digest[:12]}"

    @property
    def complete(self) -> bool:
        """Whether every jar is there."""
        return (self.path / MARKER).is_file()

    def build(self, say: Say, cancelled: Callable[[], bool]) -> Path:
        """Fetch what is missing, compare every hash, return the folder.

        :raises BuildError: a jar cannot be fetched, or is not the one that was locked.
        """
        if self.complete:
            return self.path
        wanted = _read_lock(self.lock)
        context = _context(self.cache)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # A folder of its own a try: an interrupted one, or another process, cannot get in the way.
        draft = Path(tempfile.mkdtemp(prefix=f".{self.path.name}.", dir=self.path.parent))
        draft.chmod(0o755)
        try:
            with ThreadPoolExecutor(AT_ONCE) as pool:
                jobs = [pool.submit(_fetch, context, jar, digest, draft, cancelled) for jar, digest in wanted.items()]
                for number, job in enumerate(jobs, start=1):
                    job.result()
                    say(f"{number} of {len(jobs)} jars")
            (draft / MARKER).touch()
            shutil.rmtree(self.path, ignore_errors=True)
            draft.rename(self.path)
        except OSError:
            if not self.complete:  # another process may have been first
                raise
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return self.path


def resolve(wanted: Path, cache: Path) -> str:
    """The lines of a lock: everything that `jars.txt` names, resolved, fetched and hashed.

    :raises BuildError: a coordinate cannot be resolved.
    """
    context = _context(cache)
    roots, excluded = _read_wanted(wanted)
    found: dict[tuple[str, str, str], Dependency] = {}
    for coordinate, alone in roots:
        root = _dependency(context, coordinate)
        # One root at a time: several act as each other's bill of materials and silently downgrade.
        resolved = [[root], []] if alone else context.resolver.resolve([root])
        for dependency in (root, *resolved[0], *resolved[1]):
            name = f"{dependency.groupId}:{dependency.artifactId}"
            if dependency.scope in ("test", "provided", "system") or dependency.type not in ("jar", "bundle"):
                continue
            if name not in excluded:
                found.setdefault((dependency.groupId, dependency.artifactId, dependency.classifier), dependency)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        lines = pool.map(lambda one: f"{_coordinate(one)} {_sha256(one.artifact.resolve())}\n", found.values())
        return "".join(sorted(lines))


def _context(cache: Path) -> MavenContext:
    if authorities := os.environ.get("SSL_CERT_FILE"):  # which uv and pip honour, and requests does not
        os.environ.setdefault("REQUESTS_CA_BUNDLE", authorities)
    mirror = os.environ.get("MAVEN_REPO_URL")
    remotes = {"central": mirror.rstrip("/")} if mirror else None
    return MavenContext(resolver=PythonResolver(), repo_cache=cache / "m2", remote_repos=remotes, timeout=TIMEOUT_S)


def _dependency(context: MavenContext, coordinate: str) -> Dependency:
    group, artifact, version, *rest = coordinate.split(":")
    classifier = rest.pop() if rest else ""
    packaging = rest.pop() if rest else "jar"
    component = context.project(group, artifact).at_version(version)
    return Dependency(component.artifact(classifier=classifier, packaging=packaging))


def _coordinate(dependency: Dependency) -> str:
    parts = (dependency.groupId, dependency.artifactId, dependency.version, dependency.classifier)
    return ":".join(part for part in parts if part)


def _fetch(context: MavenContext, coordinate: str, digest: str, folder: Path, cancelled: Callable[[], bool]) -> None:
    for attempt in range(1, TRIES + 1):
        if cancelled():
            raise BuildError("interrupted")
        try:
            source = Path(_dependency(context, coordinate).artifact.resolve())
        except (OSError, RuntimeError, requests.RequestException) as error:
            if attempt == TRIES:
                raise BuildError(f"{coordinate} cannot be fetched: {error}. Check the network, then retry") from error
            continue
        if (found := _sha256(source)) == digest:
            break
        # Half a file of an interrupted set-up; or not what was locked, which the last attempt tells.
        source.unlink()
        if attempt == TRIES:
            raise BuildError(f"{coordinate} has sha256 {found}, the lock says {digest}: do not use it; tell its owners")
    if source.suffix != ".jar":
        shutil.unpack_archive(source, folder, filter="data")
        return
    target = folder / source.name
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _sha256(path: Path | str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_lock(lock: Path) -> dict[str, str]:
    try:
        lines = [line.split() for line in lock.read_text().splitlines() if line.strip() and not line.startswith("#")]
    except OSError as error:
        raise BuildError(f"{lock} cannot be read: {error.strerror}. Restore it from the repository") from error
    if broken := [line for line in lines if len(line) != 2]:
        raise BuildError(f"{lock}: {' '.join(broken[0])!r} is not `group:artifact:version sha256`")
    return {coordinate: digest for coordinate, digest in lines}


def _read_wanted(path: Path) -> tuple[list[tuple[str, bool]], set[str]]:
    roots: list[tuple[str, bool]] = []
    excluded: set[str] = set()
    for line in path.read_text().splitlines():
        words = line.partition("#")[0].split()
        if words[:1] == ["-"]:
            excluded.add(words[1])
        elif words:
            roots.append((words[0], words[1:] == ["alone"]))
    return roots, excluded
