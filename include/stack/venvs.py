"""Virtual environments from lock files, kept in the cache under the hash of their lock. Standard library only.

An environment is whole when its marker file is there. One that was interrupted lacks it and is made anew, which uv's
own cache makes quick; a file lock, which the installer's processes inherit, keeps two builders apart.
"""

import contextlib
import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from include.stack.errors import BuildError

MARKER = ".complete"
SAY_EVERY_S = 5.0
LOG_TAIL = 25

Say = Callable[[str], None]


class Spawner:
    """Runs commands, their output to a log, so that all of them can be ended at once from another thread."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()
        self.cancelled = False

    def run(
        self,
        command: Sequence[str | Path],
        log: Path,
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        keep_open: Sequence[int] = (),
        tick: Callable[[], None] | None = None,
    ) -> None:
        """Run a command to its end, calling `tick` every second or so.

        :param keep_open: file descriptors that the command inherits.
        :raises BuildError: it failed or was cancelled; the text holds the end of its log.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as out:
            out.write(f"$ {' '.join(map(str, command))}\n".encode())
            out.flush()
            if self.cancelled:
                raise BuildError("interrupted")
            process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=dict(env) if env is not None else None,
                cwd=cwd,
                pass_fds=keep_open,
                start_new_session=True,
            )
        self._running.add(process)
        try:
            code = self._wait(process, tick)
        finally:
            self._end(process)
            self._running.discard(process)
        if self.cancelled:
            raise BuildError("interrupted")
        if code:
            tail = log.read_text(errors="replace").splitlines()[-LOG_TAIL:]
            raise BuildError(
                f"`{' '.join(map(str, command[:4]))} …` ended with exit code {code}. The end of {log}:\n    "
                + "\n    ".join(tail)
            )

    def _wait(self, process: subprocess.Popen[bytes], tick: Callable[[], None] | None) -> int:
        # A cancellation may come just before the command is known to be running: look again every second.
        while not self.cancelled:
            try:
                return process.wait(timeout=1.0)
            except subprocess.TimeoutExpired:
                if tick is not None:
                    tick()
        return 0

    @staticmethod
    def _end(process: subprocess.Popen[bytes]) -> None:
        """End a command's whole session; nothing happens when it has ended by itself."""
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 15)
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)
                process.wait()

    def cancel(self) -> None:
        """End all commands, and refuse new ones."""
        self.cancelled = True
        for process in list(self._running):
            self._end(process)


@dataclass(frozen=True)
class SourceBuild:
    """A package of the lock that is compiled against the others, after them.

    :param package: its name, as the lock has it.
    :param env: environment variables of its build.
    """

    package: str
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Venv:
    """One environment.

    :param name: of the image, or of the platform's own part.
    :param lock: hashed requirements, as `uv pip compile --generate-hashes` writes them.
    :param cache: the cache folder of Podium.
    :param source_build: what has to be compiled in a second phase.
    """

    name: str
    lock: Path
    cache: Path
    source_build: SourceBuild | None = None

    @property
    def digest(self) -> str:
        """Hash of the lock and of the interpreter, 64 hexadecimal digits: another of either makes another environment.

        :raises BuildError: there is no lock.
        """
        interpreter = f"{sys.version_info[:3]} {sys.base_prefix} {platform.machine()} {self.source_build}"
        try:
            return hashlib.sha256(self.lock.read_bytes() + interpreter.encode()).hexdigest()
        except FileNotFoundError as error:
            raise BuildError(
                f"{self.lock} is missing: restore it from the repository, or write it with `make lock`"
            ) from error

    @property
    def path(self) -> Path:
        """Its folder, whether it exists or not."""
        return self.cache / "envs" / f"{self.name}-{self.digest[:12]}"

    @property
    def bin(self) -> Path:
        """The folder of its programs."""
        return self.path / "bin"

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.bin / "python"

    @property
    def site_packages(self) -> Path:
        """Where its packages lie."""
        return self.path / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"

    @property
    def marker(self) -> Path:
        """The file that is there once it is whole."""
        return self.path / MARKER

    @property
    def complete(self) -> bool:
        """Whether it is whole, and its interpreter still there."""
        return self.marker.is_file() and self.python.exists()

    def build(self, uv: Path, log: Path, spawner: Spawner, say: Say = lambda _: None) -> Path:
        """Make the environment unless it is there; return its folder.

        :param uv: the uv program.
        :param log: where the output of the commands goes.
        :param say: is told what is going on, once a phase and every few seconds.
        :raises BuildError: a command failed; the text holds the end of its output.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with exclusive(
            self.path.with_name(f".{self.path.name}.lock"), "another set-up that makes the same", say
        ) as handle:
            if self.complete:
                return self.path
            if self.path.exists():
                say("removing what an interrupted set-up left")
                shutil.rmtree(self.path)
            self._install(uv, log, spawner, say, handle)
            self.marker.touch()
        return self.path

    def _install(self, uv: Path, log: Path, spawner: Spawner, say: Say, handle: int) -> None:
        env = {name: value for name, value in os.environ.items() if name not in _FOREIGN}
        env |= {"UV_CACHE_DIR": str(self.cache / "uv"), "UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1"}

        def call(text: str, *arguments: str | Path, **extra: str) -> None:
            began = time.monotonic()
            said = [began]

            def tick() -> None:
                if time.monotonic() - said[0] >= SAY_EVERY_S:
                    said[0] = time.monotonic()
                    say(f"{text} ({time.monotonic() - began:.0f} s)")

            say(text)
            spawner.run([uv, *arguments], log, env=env | extra, keep_open=[handle], tick=tick)

        # Compiled now, once: pods mount the environment read-only, and would compile all they import at every start
        # (half of the import time of Great Expectations, for one).
        install = ("pip", "install", "--python", self.python, "--require-hashes", "--compile-bytecode")
        call("creating", "venv", "--quiet", "--no-project", "--python", sys.executable, self.path)
        requirements = self.lock
        later = None
        if self.source_build is not None:
            requirements, later = self._split(self.source_build.package)
        call("downloading and installing", *install, "-r", requirements)
        if later is not None and self.source_build is not None:
            path = f"{self.bin}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
            call(
                f"compiling {self.source_build.package}",
                *install,
                "--no-build-isolation",
                "--no-deps",
                "-r",
                later,
                **self.source_build.env,
                PATH=path,
                # TensorFlow, which a build asks how it was built itself, would write to the home folder.
                KERAS_HOME=str(self.path),
            )

    def _split(self, package: str) -> tuple[Path, Path]:
        """The lock without one package, and that package alone, as two files in the environment."""
        blocks = lock_blocks(self.lock)
        if package not in blocks:
            raise BuildError(f"{self.lock} does not name {package}, which this environment is built for")
        first, second = self.path / "requirements.first", self.path / "requirements.later"
        first.write_text("".join(text for name, text in blocks.items() if name != package))
        second.write_text(blocks[package])
        return first, second


# Would point uv or a build at another environment than the one that is being made.
_FOREIGN = frozenset(
    {"VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE", "CONDA_PREFIX", "UV_PYTHON"}
)


def lock_blocks(lock: Path) -> dict[str, str]:
    """The requirements of a lock file by name, each with its hashes."""
    blocks: dict[str, str] = {}
    name = ""
    for line in lock.read_text().splitlines(keepends=True):
        if match := re.match(r"([A-Za-z0-9._-]+)(\[[^]]*\])?==", line):
            name = re.sub(r"[-_.]+", "-", match[1]).lower()
            blocks[name] = line
        elif name and line.strip() and not line.lstrip().startswith("#"):
            blocks[name] += line
    return blocks


@contextlib.contextmanager
def exclusive(path: Path, whose: str, say: Say) -> Iterator[int]:
    """Hold a file lock; yields its descriptor, which child processes may inherit to hold it on.

    :param whose: who may hold it now, for the message while waiting.
    """
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for {whose}")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()
