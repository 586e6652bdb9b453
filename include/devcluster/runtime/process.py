"""The server's view of one run of a container: starts its shim, or finds it again after a restart."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from include.devcluster.core.objects import Object
from include.devcluster.runtime.shim import HELD, KILL, Spec, rfc3339

CHECKOUT = Path(__file__).resolve().parents[3]
_POLL_S = 1.0
"""How often a shim is looked at where the system cannot announce its death (no pidfd)."""
_DYING_S = 0.02
TRACES = ("log", "started.json", "exit.json")
"""What a shim leaves, the first of them before it starts the command."""


class Process:
    """One run (`attempt`) of a container, in a folder of its own.

    :param changed: called in the event loop when it has started or ended.
    :param logged: called when its log has grown.
    """

    def __init__(self, folder: Path, attempt: int, changed: Callable[[], None], logged: Callable[[], None]) -> None:
        self.folder, self.attempt = folder, attempt
        self._changed, self._logged = changed, logged
        self._started: Object | None = None
        self._exited: Object | None = None
        self._notify: int | None = None
        self._pidfd: int | None = None
        self._popen: subprocess.Popen[bytes] | None = None
        self._poll: asyncio.TimerHandle | None = None
        self._orphaned = False

    @property
    def log(self) -> Path:
        """Its log, in the CRI format."""
        return self.folder / "log"

    def started(self) -> Object | None:
        """Record of the start: {shim, init, startedAt}."""
        self._started = self._started or _record(self.folder / "started.json")
        return self._started

    def exited(self) -> Object | None:
        """Record of the end: {exitCode, startedAt, finishedAt, reason?, message?}."""
        self._exited = self._exited or _record(self.folder / "exit.json")
        return self._exited

    def begun(self) -> bool:
        """Whether a command may have run: a shim is at work, or has left a trace."""
        return locked(self.folder / "lock") or any((self.folder / name).exists() for name in TRACES)

    def alive(self) -> bool:
        """Whether the container runs, whoever started it."""
        return self.exited() is None and locked(self.folder / "lock")

    def spec(self) -> Spec:
        """What it was started with."""
        loaded: Spec = json.loads((self.folder / "spec.json").read_text())
        return loaded

    def start(self, spec: Spec) -> None:
        """Start the container's shim. It is a session of its own and outlives this process."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write_private(self.folder / "spec.json", json.dumps(spec))
        self.watch()
        lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # taken before the start: no moment without it
            with (self.folder / "shim.err").open("wb") as complaints, _blocked(HELD):
                self._popen = subprocess.Popen(
                    [sys.executable, "-s", "-S", "-m", "include.devcluster.runtime.shim", str(self.folder), str(lock)],
                    env={"PYTHONPATH": str(CHECKOUT), "PYTHONDONTWRITEBYTECODE": "1"},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=complaints,
                    pass_fds=[lock],
                    start_new_session=True,
                )
        finally:
            os.close(lock)
        self._watch_pid(self._popen.pid)

    def watch(self) -> None:
        """Listen to the shim's news; also how a restarted server takes up a running container."""
        if self.exited():
            return
        fifo = self.folder / "notify"
        with contextlib.suppress(FileExistsError):
            os.mkfifo(fifo, 0o600)
        # read-write, so that the FIFO never reads as ended between two writers
        self._notify = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
        asyncio.get_running_loop().add_reader(self._notify, self._news)
        if self._popen is None and self.alive():
            if started := self.started():
                self._watch_pid(started["shim"])
            else:
                self._look()  # its shim has not yet said who it is

    def _watch_pid(self, pid: int) -> None:
        loop = asyncio.get_running_loop()
        if self._poll:
            self._poll.cancel()
        if hasattr(os, "pidfd_open"):
            with contextlib.suppress(ProcessLookupError):
                self._pidfd = os.pidfd_open(pid)
                loop.add_reader(self._pidfd, self._died)
                return
        self._poll = loop.call_later(_POLL_S, self._look)

    def _look(self) -> None:
        if self._popen:
            self._popen.poll()
        if locked(self.folder / "lock"):
            self._poll = asyncio.get_running_loop().call_later(_POLL_S, self._look)
        else:
            self._died()

    def _died(self) -> None:
        self._orphaned = True
        if self._popen:
            self._popen.wait()
        self.close()
        if self.alive():  # the shim was killed, and its container is only just dying of that
            self._poll = asyncio.get_running_loop().call_later(_DYING_S, self._died)
        else:
            self._changed()

    def _news(self) -> None:
        if self._notify is not None:
            with contextlib.suppress(BlockingIOError):
                os.read(self._notify, 65536)
        if self._started is None and (started := self.started()):
            if self._popen is None and self._pidfd is None and self.alive():
                self._watch_pid(started["shim"])
            self._changed()
        self._logged()

    def terminate(self) -> None:
        """Ask the container to stop."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the container at once."""
        self._signal(KILL)

    def _signal(self, number: int) -> None:
        started = self.started()
        pid = self._popen.pid if self._popen else started["shim"] if started else None
        # The container of a dead shim is dying of that; another process may have the shim's number by now.
        if pid is None or self._orphaned or not self.alive():
            return
        with contextlib.suppress(ProcessLookupError):
            if self._pidfd is not None:
                signal.pidfd_send_signal(self._pidfd, number)
            else:
                os.kill(pid, number)

    def record_exit(self, code: int, reason: str = "", message: str = "") -> None:
        """Record the end of a container whose shim could not."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        finished = rfc3339(time.time_ns())
        record = {
            "exitCode": code,
            "startedAt": (self.started() or {}).get("startedAt", finished),
            "finishedAt": finished,
        }
        if reason:
            record |= {"reason": reason, "message": message}
        _write_private(self.folder / "exit.json", json.dumps(record))

    def close(self) -> None:
        """Stop listening. The container goes on."""
        loop = asyncio.get_running_loop()
        for fd in (self._notify, self._pidfd):
            if fd is not None:
                loop.remove_reader(fd)
                os.close(fd)
        self._notify = self._pidfd = None
        if self._poll:
            self._poll.cancel()


@contextlib.contextmanager
def _blocked(signals: Collection[signal.Signals]) -> Iterator[None]:
    """Block signals; what is started meanwhile has them blocked from its first moment on."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def locked(path: Path) -> bool:
    """Whether somebody holds the lock file."""
    try:
        fd = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


class VirtualProcess(Process):
    """A container that the server plays itself: it runs until it is told to stop, without a process."""

    def start(self, spec: Spec) -> None:
        """Begin to play."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write_private(self.folder / "spec.json", json.dumps(spec))
        self.log.touch()
        _write_private(
            self.folder / "started.json", json.dumps({"shim": 0, "init": 0, "startedAt": rfc3339(time.time_ns())})
        )

    def watch(self) -> None:
        """Nothing will come from outside."""

    def alive(self) -> bool:
        """Until told to end."""
        return self.started() is not None and self.exited() is None

    def finish(self, code: int) -> None:
        """End with this exit code."""
        if self.alive():
            self.record_exit(code)
            self._changed()

    def terminate(self) -> None:
        """End well."""
        self.finish(0)

    def kill(self) -> None:
        """End as a killed one."""
        self.finish(137)


def _write_private(path: Path, text: str) -> None:
    new = path.with_name(f"{path.name}.new")
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "w") as handle:
        handle.write(text)
    new.rename(path)


def _record(path: Path) -> Object | None:
    try:
        loaded: Object = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    return loaded
