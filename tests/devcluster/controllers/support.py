"""What several of the controllers' tests need: ports, processes, waiting."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

START_S = 60


def stack_python() -> Path:
    """The interpreter of the environment that the dev cluster, its controllers and Envoy live in."""
    return Path(os.environ.get("PODIUM_STACK_PYTHON", sys.executable))


def image_environment(image: str) -> Path | None:
    """The newest environment that set-up has built for an image, if it has."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "podium"
    cache = Path(os.environ.get("PODIUM_CACHE") or default)
    found = sorted((cache / "envs").glob(f"{image}-*/bin/python"), key=lambda path: path.lstat().st_mtime)
    return found[-1].parent.parent if found else None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_ok(url: str, process: subprocess.Popen[bytes], log: Path, token: str = "") -> None:
    """Wait for a 200, and fail with the process's log when it ends or takes too long."""
    end = time.monotonic() + START_S
    while time.monotonic() < end and process.poll() is None:
        try:
            headers = {"Authorization": f"Bearer {token}"}
            if httpx.get(url, headers=headers, timeout=1, trust_env=False, verify=False).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.05)
    pytest.fail(f"{url} does not answer; exit code {process.poll()}, log:\n{log.read_text()[-3000:]}")


@dataclass(frozen=True)
class Gateway:
    """A running Envoy."""

    directory: Path
    url: str
    admin_url: str
    pid: int
    token: str = "of the tests"

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.rpartition(":")[2])


async def eventually(holds: Callable[[], bool | Awaitable[bool]], seconds: float = 30) -> None:
    """Wait until ``holds`` is true, for conditions that no event announces."""
    async with asyncio.timeout(seconds):
        while True:
            answer = holds()
            if answer if isinstance(answer, bool) else await answer:
                return
            await asyncio.sleep(0.01)


def wait_for(holds: Callable[[], bool], what: str = "", seconds: float = 60) -> None:
    """The same outside of asyncio."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"waited {seconds:.0f} s in vain for {what or holds}"
        time.sleep(0.02)
