"""Starts commands in running containers, for `exec` and for probes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import sys

from include.devcluster.runtime.join import JoinSpec
from include.devcluster.runtime.process import CHECKOUT


class Joined:
    """A command that was started in a container."""

    def __init__(self, process: asyncio.subprocess.Process, errors: int, terminal: int | None) -> None:
        self.process, self._errors, self.terminal = process, errors, terminal

    def start_error(self) -> str:
        """Why the command could not be started; empty when it was. To be asked after its end."""
        with os.fdopen(self._errors, "rb") as handle:
            return handle.read().decode(errors="replace")


async def join(spec: JoinSpec) -> Joined:
    """Start a command in a container; with a terminal its output comes from `terminal`, else from its pipes."""
    spec_read, spec_write = os.pipe()
    error_read, error_write = os.pipe()
    terminal, slave = pty.openpty() if spec["tty"] else (None, None)
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-s", "-S", "-m", "include.devcluster.runtime.join", str(spec_read), str(error_write),
            env={"PYTHONPATH": str(CHECKOUT), "PYTHONDONTWRITEBYTECODE": "1"}, pass_fds=[spec_read, error_write],
            stdin=asyncio.subprocess.PIPE if slave is None else slave,
            stdout=asyncio.subprocess.PIPE if slave is None else slave,
            stderr=asyncio.subprocess.PIPE if slave is None else slave,
            start_new_session=True,
        )  # fmt: skip
    finally:
        for fd in (spec_read, error_write, slave):
            if fd is not None:
                os.close(fd)
    with os.fdopen(spec_write, "w") as handle:
        json.dump(spec, handle)
    return Joined(process, error_read, terminal)


async def outcome(spec: JoinSpec) -> str | None:
    """Run a command to its end; None when it exits with 0, else what it said."""
    joined = await join(spec)
    try:
        out, err = await joined.process.communicate()
    except asyncio.CancelledError:
        with contextlib.suppress(ProcessLookupError):
            joined.process.kill()
        raise
    failure = joined.start_error()
    return None if joined.process.returncode == 0 else failure or (out + err).decode(errors="replace").strip()
