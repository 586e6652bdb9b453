"""A container ends when it is told to or when its shim dies, however early."""

import asyncio
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from include.devcluster.drain import drain
from include.devcluster.runtime.process import Process
from include.devcluster.runtime.shim import Spec

TRIES = 10
PATIENCE_S = 30


@pytest.mark.parametrize("isolated", [False, True], ids=["plain", "isolated"])
def test_one_that_is_told_to_end_in_the_moment_it_is_started(tmp_path: Path, isolated: bool) -> None:
    codes = [asyncio.run(_ended_early(tmp_path / str(number), isolated, signal.SIGTERM)) for number in range(TRIES)]
    assert codes == [128 + signal.SIGTERM] * TRIES


@pytest.mark.parametrize("isolated", [False, True], ids=["plain", "isolated"])
def test_one_whose_shim_is_killed_in_the_moment_it_is_started(tmp_path: Path, isolated: bool) -> None:
    codes = [asyncio.run(_ended_early(tmp_path / str(number), isolated, signal.SIGKILL)) for number in range(TRIES)]
    assert codes == [None] * TRIES


@pytest.mark.parametrize("grace_s", [0.0, 60.0])
def test_one_that_is_only_being_started_when_all_are_ended(tmp_path: Path, grace_s: float) -> None:
    async def start() -> Process:
        process = Process(tmp_path / "pods" / "uid" / "containers" / "main" / "0", 0, lambda: None, lambda: None)
        process.start(_sleeping(None))
        return process

    process = asyncio.run(start())
    assert process.started() is None
    draining = threading.Thread(target=drain, args=(tmp_path, grace_s), daemon=True)
    draining.start()
    draining.join(PATIENCE_S)
    assert not draining.is_alive()
    assert not process.alive()


async def _ended_early(folder: Path, isolated: bool, number: int) -> int | None:
    """Start a container, signal its shim as soon as that has a child, and wait for the end; its exit code."""
    root = folder / "root"
    root.mkdir(parents=True)
    process = Process(folder / "run", 0, lambda: None, lambda: None)
    process.start(_sleeping(root if isolated else None))
    shim = _shim(process)
    if number == signal.SIGTERM:
        process.terminate()
    else:
        os.kill(shim, number)
    end = time.monotonic() + PATIENCE_S
    while process.alive():
        assert time.monotonic() < end, "the container goes on"
        await asyncio.sleep(0.01)
    process.close()
    record = process.exited()
    return record["exitCode"] if record else None


def _sleeping(root: Path | None) -> Spec:
    return Spec(
        argv=["sleep", "600"],
        env={"PATH": "/usr/bin:/bin"},
        cwd="/",
        root=str(root) if root else None,
        mounts=[],
        hidden=[],
        user_namespace=root is not None and os.getuid() != 0,
    )


def _shim(process: Process) -> int:
    """The shim's process id, as soon as it has a child: seen without a pause, which would miss the moment."""
    own = Path(f"/proc/self/task/{os.getpid()}/children")
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        for pid in own.read_text().split():
            # A cluster that other tests use is a child of ours as well.
            if str(process.folder) in _read(pid, "cmdline") and _read(pid, f"task/{pid}/children"):
                return int(pid)
    raise AssertionError(f"no shim of {process.folder} has started anything")


def _read(pid: str, name: str) -> str:
    """A file of /proc; empty when the process is gone."""
    try:
        return Path(f"/proc/{pid}/{name}").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
