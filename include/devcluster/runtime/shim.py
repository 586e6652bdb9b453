"""One container's companion: starts it, writes its log, forwards signals, leaves a record of its end.

Run as `python -m include.devcluster.runtime.shim FOLDER FD`, where FD holds a lock on the folder's `lock` file: while
it is held the container lives, whoever started it. Files of the folder:

- `spec.json`     what to run (`Spec`), written by the kubelet
- `log`           output in the CRI format: time, stream, F or P (a piece of a long line), text
- `started.json`  process ids and start time, once the command has been executed
- `exit.json`     exit code and times, written last
- `notify`        a FIFO; a byte in it means "look again"
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import selectors
import signal
import sys
import time
from typing import Any, TypedDict

from include.devcluster.runtime import podroot

PIECE = 16 * 1024
"""Longer lines are cut into pieces, as container runtimes do."""
FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR2)
KILL = signal.SIGUSR1
"""Sent to the shim: kill the container now."""
HELD = (*FORWARDED, KILL)
"""The kubelet starts a shim with these blocked, until it can forward them: one that died of an early signal would leave
its container to itself."""
START_ERROR = 128


class Spec(TypedDict):
    """`root` is None where the container shares the host's file system."""

    argv: list[str]
    env: dict[str, str]
    cwd: str
    root: str | None
    mounts: list[podroot.Mount]
    hidden: list[str]
    user_namespace: bool


def rfc3339(nanoseconds: int) -> str:
    """A time since the epoch with all its nanoseconds, UTC."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest:09d}Z"


class Log:
    """Writer of the CRI log; times never go back and never repeat."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._rest = {"stdout": b"", "stderr": b""}
        self._last = 0

    def add(self, stream: str, data: bytes) -> None:
        """Write the lines that are complete with this."""
        *lines, rest = (self._rest[stream] + data).split(b"\n")
        out = [self._line(stream, line) for line in lines]
        # What may be half of an end of line is none of the line's length.
        while len(rest) - rest.endswith(b"\r") > PIECE:
            out.append(self._piece(stream, b"P", rest[:PIECE]))
            rest = rest[PIECE:]
        self._rest[stream] = rest
        self._write(b"".join(out))

    def finish(self, stream: str) -> None:
        """The stream has ended: write what came after its last newline, as a piece, for no newline belongs to it."""
        rest, self._rest[stream] = self._rest[stream], b""
        for begin in range(0, len(rest), PIECE):
            self._write(self._piece(stream, b"P", rest[begin : begin + PIECE]))

    def _line(self, stream: str, line: bytes) -> bytes:
        """Without the carriage return before its newline, which containerd (`readLine`) takes off as well."""
        line, out = line.removesuffix(b"\r"), []
        while len(line) > PIECE:
            out.append(self._piece(stream, b"P", line[:PIECE]))
            line = line[PIECE:]
        return b"".join([*out, self._piece(stream, b"F", line)])

    def _piece(self, stream: str, tag: bytes, data: bytes) -> bytes:
        self._last = max(self._last + 1, time.time_ns())
        return b"%s %s %s %s\n" % (rfc3339(self._last).encode(), stream.encode(), tag, data)

    def _write(self, data: bytes) -> None:
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            return  # a full disk costs output, never the container


def notify() -> None:
    """Tell whoever reads the FIFO; nobody may, and it may be full of such news already."""
    try:
        fd = os.open("notify", os.O_WRONLY | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.ENOENT):
            return
        raise
    try:
        os.write(fd, b".")
    except (BlockingIOError, BrokenPipeError):
        return
    finally:
        os.close(fd)


def write_record(name: str, record: dict[str, Any]) -> None:
    """Write a file of the folder in one step, and tell of it."""
    with open(f"{name}.new", "w") as handle:
        json.dump(record, handle)
        handle.flush()
        os.fsync(handle.fileno())
    os.rename(f"{name}.new", name)
    notify()


def execute(spec: Spec, status: int) -> None:
    """Become the container's command; on failure the reason goes to the `status` pipe."""
    try:
        os.setsid()
        for number in (*HELD, signal.SIGCHLD, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.umask(0o022)
        os.chdir(spec["cwd"])
        os.execvpe(spec["argv"][0], spec["argv"], spec["env"])
    except OSError as error:
        os.write(status, start_error(spec, error).encode())
    finally:
        os._exit(START_ERROR)


def start_error(spec: Spec, error: OSError) -> str:
    """The message that container runtimes give."""
    if error.filename == spec["cwd"] and not os.path.isdir(spec["cwd"]):
        return f"failed to create containerd task: cwd {spec['cwd']!r}: no such file or directory: unknown"
    command = spec["argv"][0]
    cause = error.strerror.lower() if error.strerror else str(error)
    if error.errno == errno.ENOENT and "/" not in command:
        cause = "executable file not found in $PATH"
    elif error.errno == errno.ENOENT:
        cause = f"stat {command}: no such file or directory"
    return (
        "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: "
        f'unable to start container process: error during container init: exec: "{command}": {cause}: unknown'
    )


def begin(spec: Spec, out: tuple[int, int], err: tuple[int, int], status: tuple[int, int]) -> None:
    """In the shim's child: become the container's first process. Of each pipe the child has the writing end."""
    signal.set_wakeup_fd(-1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(out[1], 1)
    os.dup2(err[1], 2)
    for fd in (out[0], err[0], status[0]):
        os.close(fd)
    die_with_parent(status[1])
    (init if spec["root"] else execute)(spec, status[1])


def die_with_parent(pipe: int) -> None:
    """Be killed when the shim dies; end at once if it has died already.

    :param pipe: the writing end of a pipe of which the shim alone has the other end.
    """
    podroot.prctl(podroot.PR_SET_PDEATHSIG, signal.SIGKILL)
    poller = select.poll()
    poller.register(pipe, 0)
    if poller.poll(0):  # nobody reads it any more
        os._exit(START_ERROR)


def init(spec: Spec, status: int) -> None:
    """Process 1 of the container's namespaces: makes the root, starts the command, forwards signals, reaps.

    The command itself is not process 1, so that SIGTERM ends even programs that do not handle it. Until it forwards
    signals they are blocked, as in the shim that it was forked from: the kernel drops what process 1 does not handle.
    """
    if spec["root"]:
        try:
            podroot.unshare(podroot.CLONE_NEWNS)
            podroot.enter(spec["root"], spec["mounts"], spec["hidden"])
        except OSError as error:
            os.write(status, f"failed to make the container's root file system: {error}".encode())
            os._exit(START_ERROR)
    child = os.fork()
    if child == 0:
        execute(spec, status)
    os.close(status)

    def forward(number: int, _frame: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)

    for number in FORWARDED:
        signal.signal(number, forward)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    while True:
        pid, result = os.waitpid(-1, 0)
        if pid == child:
            os._exit(exit_code(result))


def exit_code(result: int) -> int:
    """Exit code of a wait status; 128 + signal for a killed process."""
    code = os.waitstatus_to_exitcode(result)
    return 128 - code if code < 0 else code


def main(folder: str, lock: int) -> None:
    """Run one container to its end."""
    os.set_inheritable(lock, False)
    os.chdir(folder)
    with open("spec.json") as handle:
        spec: Spec = json.load(handle)
    podroot.prctl(podroot.PR_SET_CHILD_SUBREAPER, 1)
    log = Log("log")
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    os.set_blocking(wake_read, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    if spec["root"]:
        uid, gid = os.getuid(), os.getgid()
        if spec["user_namespace"]:
            podroot.enter_user_namespace(uid, gid)
        podroot.unshare(podroot.CLONE_NEWPID)
    out, err, status = os.pipe(), os.pipe(), os.pipe()
    began = time.time_ns()
    child = os.fork()
    if child == 0:
        begin(spec, out, err, status)

    def forward(number: int, _frame: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL if number == KILL else number)

    for number in HELD:
        signal.signal(number, forward)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for fd in (out[1], err[1], status[1]):
        os.close(fd)
    failure = b""
    while piece := os.read(status[0], 4096):
        failure += piece
    if not failure:
        write_record("started.json", {"shim": os.getpid(), "init": child, "startedAt": rfc3339(began)})
    code = supervise(child, {out[0]: "stdout", err[0]: "stderr"}, wake_read, log)
    record: dict[str, Any] = {"exitCode": code, "startedAt": rfc3339(began), "finishedAt": rfc3339(time.time_ns())}
    if failure:
        record |= {"exitCode": START_ERROR, "reason": "StartError", "message": failure.decode(errors="replace")}
    write_record("exit.json", record)


def supervise(child: int, streams: dict[int, str], wake: int, log: Log) -> int:
    """Copy output until the container's first process has ended and its output is drained; returns the exit code."""
    selector = selectors.DefaultSelector()
    selector.register(wake, selectors.EVENT_READ)
    for fd in streams:
        selector.register(fd, selectors.EVENT_READ)
    code: int | None = None
    open_streams = set(streams)
    while code is None or open_streams:
        for key, _ in selector.select():
            if key.fd == wake:
                with contextlib.suppress(BlockingIOError):
                    os.read(wake, 4096)
                code = reap(child, code)
                continue
            data = os.read(key.fd, 65536)
            if data:
                log.add(streams[key.fd], data)
                notify()
            else:
                log.finish(streams[key.fd])
                selector.unregister(key.fd)
                open_streams.discard(key.fd)
    return code


def reap(child: int, code: int | None) -> int | None:
    """Collect what has ended. When that is the container's first process, everything it left behind is killed."""
    while True:
        try:
            pid, result = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code
        if pid == 0:
            break
        if pid == child:
            code = exit_code(result)
    if code is not None:
        for pid in children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    return code


def children() -> list[int]:
    """Processes that this one has inherited (Linux); elsewhere the container's process group is all there is."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children") as handle:
            return [int(pid) for pid in handle.read().split()]
    except OSError:
        return []


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
