"""Run one more command inside a running container (`kubectl exec`).

Run as `python -m include.devcluster.runtime.join SPEC_FD ERROR_FD`. The specification comes through a pipe, as an
environment may hold secrets that a command line would show. When the command cannot be started, the reason goes to
ERROR_FD. The command dies with this process.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import sys
import termios
from typing import TypedDict

from include.devcluster.runtime import podroot
from include.devcluster.runtime.shim import exit_code


class JoinSpec(TypedDict):
    """`init` is the container's first process, None where containers have no namespaces."""

    argv: list[str]
    env: dict[str, str]
    cwd: str
    init: int | None
    user_namespace: bool
    tty: bool


def main(spec_fd: int, error_fd: int) -> None:
    """Enter the container, run the command, end with its exit code."""
    os.set_inheritable(error_fd, False)
    with os.fdopen(spec_fd) as handle:
        spec: JoinSpec = json.load(handle)
    try:
        if spec["init"] is not None:
            kinds = [("user", podroot.CLONE_NEWUSER)] if spec["user_namespace"] else []
            kinds += [("pid", podroot.CLONE_NEWPID), ("mnt", podroot.CLONE_NEWNS)]
            fds = [(os.open(f"/proc/{spec['init']}/ns/{own}", os.O_RDONLY), kind) for own, kind in kinds]
            for fd, kind in fds:
                podroot.setns(fd, kind)
                os.close(fd)
    except OSError as error:
        os.write(error_fd, f"the container cannot be entered: {error}".encode())
        sys.exit(126)
    child = os.fork()
    if child == 0:
        _execute(spec, error_fd)
    os.close(error_fd)
    podroot.prctl(podroot.PR_SET_PDEATHSIG, 0)

    def forward(number: int, _frame: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)

    signal.signal(signal.SIGTERM, forward)
    _, result = os.waitpid(child, 0)
    sys.exit(exit_code(result))


def _execute(spec: JoinSpec, error_fd: int) -> None:
    try:
        podroot.prctl(podroot.PR_SET_PDEATHSIG, signal.SIGKILL)
        os.setsid()
        if spec["tty"]:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        with contextlib.suppress(FileNotFoundError):
            os.chdir(spec["cwd"])
        os.execvpe(spec["argv"][0], spec["argv"], spec["env"])
    except OSError as error:
        command = spec["argv"][0]
        cause = (
            "executable file not found in $PATH"
            if isinstance(error, FileNotFoundError)
            else str(error.strerror).lower()
        )
        os.write(error_fd, f'exec: "{command}": {cause}'.encode())
    finally:
        os._exit(126)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
