"""Runs a command inside a worker pod: ``kubexec.py HOST COMMAND...``, with ssh's manners, by ``pods/exec``.

This file is copied into launcher pods (``/etc/mpi/kubexec.py``) and runs there on whatever Python the image has: it
may use the standard library only and import nothing of this repository. horovodrun calls it through
``/etc/mpi/kubexec.sh`` (horovod/runner/util/remote.py) once per rank. stdout, stderr and the exit code are the
command's; when this process dies, for whatever reason, the command is killed with all its children.

The command goes to the pod over the connection's stdin, not in the URL: horovodrun puts the launcher's whole
environment in it, which belongs in no access log and may be longer than a server lets a URL be.

Protocols: RFC 6455, and the ``channel.k8s.io`` sub-protocols (kubernetes pkg/kubelet/…/remotecommand/websocket.go):
the first byte of a message is the channel: 0 stdin, 1 stdout, 2 stderr, 3 the final Status.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import ssl
import sys
from typing import IO, Any
from urllib.parse import quote, urlsplit

HOSTS_FILE = "/etc/mpi/hosts.json"
CREDENTIALS = "/etc/mpi-credentials"
SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
CONNECT_TIMEOUT_S = 30
GRACE_S = 5
STDIN, STDOUT, STDERR, STATUS = 0, 1, 2, 3
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
EXIT_UNREACHABLE = 255  # what ssh answers when it cannot connect
TERMINATION_LOG = "/dev/termination-log"  # terminationMessagePath's default: the kubelet makes the file
LAST_WORDS = 1500

# Runs in the worker: reads the command (a decimal length, a line feed, the text) and runs it in a session of its own.
# A guard beside it kills that session when stdin ends, for then the launcher's side is gone, or when the supervisor
# itself is killed: runtimes differ in what they do to an exec whose connection breaks.
SUPERVISOR = f"""
import os, select, signal, subprocess, sys, time
stdin = sys.stdin.buffer
command = stdin.read(int(stdin.readline()))
child = subprocess.Popen([b"/bin/sh", b"-c", command], stdin=subprocess.DEVNULL, start_new_session=True)
watched, held = os.pipe()
if os.fork() == 0:
    os.setsid()
    os.close(held)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    while all(os.read(fd, 4096) for fd in select.select([0, watched], [], [])[0]):
        pass
    try:
        os.killpg(child.pid, signal.SIGTERM)
        end = time.monotonic() + {GRACE_S}
        while time.monotonic() < end:
            os.killpg(child.pid, 0)
            time.sleep(0.05)
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    os._exit(0)
code = child.wait()
os._exit(code if code >= 0 else 128 - code)
"""


class ExecError(Exception):
    """The command could not be started in the pod, or the connection to it broke."""


class WebSocket:
    """The client's side of one WebSocket connection, blocking."""

    def __init__(self, url: str, token: str, ca_file: str | None) -> None:
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        port = parts.port or (443 if secure else 80)
        self._socket: socket.socket = socket.create_connection((parts.hostname, port), CONNECT_TIMEOUT_S)
        if secure:
            context = ssl.create_default_context(cafile=ca_file)
            self._socket = context.wrap_socket(self._socket, server_hostname=parts.hostname)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        lines = [
            f"GET {parts.path}?{parts.query} HTTP/1.1",
            f"Host: {parts.hostname}:{port}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Protocol: v5.channel.k8s.io, v4.channel.k8s.io",
            f"Authorization: Bearer {token}",
        ]
        self._socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        self._stream: IO[bytes] = self._socket.makefile("rb")
        self._accept()
        self._socket.settimeout(None)

    def _accept(self) -> None:
        status = self._stream.readline().decode(errors="replace").strip()
        length = 0
        while (line := self._stream.readline().strip()) != b"":
            name, _, value = line.partition(b":")
            if name.strip().lower() == b"content-length":
                length = int(value)
        if status.split(" ")[1:2] != ["101"]:
            raise ExecError(f"{status or 'no answer'}: {self._stream.read(length).decode(errors='replace')}")

    def send(self, payload: bytes, opcode: int = BINARY) -> None:
        """Send one message (clients must mask theirs)."""
        mask = os.urandom(4)
        size = len(payload)
        if size < 126:
            head = bytes([0x80 | opcode, 0x80 | size])
        elif size < 1 << 16:
            head = bytes([0x80 | opcode, 0x80 | 126]) + size.to_bytes(2, "big")
        else:
            head = bytes([0x80 | opcode, 0x80 | 127]) + size.to_bytes(8, "big")
        repeated = (mask * (size // 4 + 1))[:size]
        masked = (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(size, "big")
        self._socket.sendall(head + mask + masked)

    def receive(self) -> bytes | None:
        """The next whole message, or ``None`` when the peer closed the connection."""
        message = b""
        while True:
            head = self._exactly(2)
            if head is None:
                return None
            size = head[1] & 0x7F
            if size >= 126:
                size = int.from_bytes(self._exactly(2 if size == 126 else 8) or b"", "big")
            payload = self._exactly(size)
            opcode = head[0] & 0x0F
            if payload is None or opcode == CLOSE:
                return None
            if opcode == PING:
                self.send(payload, PONG)
            elif opcode != PONG:
                message += payload
                if head[0] & 0x80:
                    return message

    def _exactly(self, size: int) -> bytes | None:
        data = self._stream.read(size)
        return data if len(data) == size else None


def connection() -> tuple[str, str, str | None]:
    """Server, token and CA file: from the mounted credentials, else from the pod's own service account."""
    if os.path.exists(f"{CREDENTIALS}/token"):
        ca_file = f"{CREDENTIALS}/ca.crt"
        return _read(f"{CREDENTIALS}/server"), _read(f"{CREDENTIALS}/token"), ca_file if _read(ca_file) else None
    if os.path.exists(f"{SERVICE_ACCOUNT}/token"):
        host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
        return f"https://{host}:{port}", _read(f"{SERVICE_ACCOUNT}/token"), f"{SERVICE_ACCOUNT}/ca.crt"
    raise ExecError(f"no API credentials: neither {CREDENTIALS}/token nor {SERVICE_ACCOUNT}/token is mounted")


def run(host: str, command: str) -> int:
    """Run ``command`` by /bin/sh in the pod of ``host``; returns its exit code."""
    hosts: dict[str, Any] = json.loads(_read(HOSTS_FILE))
    if host not in hosts["pods"]:
        raise ExecError(f"no worker pod has the address {host}; known: {', '.join(hosts['pods'])}")
    server, token, ca_file = connection()
    query = [("container", hosts["container"])]
    query += [(stream, "true") for stream in ("stdin", "stdout", "stderr")]
    query += [("command", part) for part in ("python3", "-u", "-c", SUPERVISOR)]
    text = "&".join(f"{key}={quote(value, safe='')}" for key, value in query)
    path = f"/api/v1/namespaces/{hosts['namespace']}/pods/{hosts['pods'][host]}/exec"
    web = WebSocket(f"{server}{path}?{text}", token, ca_file)
    payload = command.encode()
    web.send(bytes([STDIN]) + f"{len(payload)}\n".encode() + payload)
    last_words = b""
    while (message := web.receive()) is not None:
        if message[:1] == bytes([STDOUT]):
            _write(sys.stdout.buffer, message[1:])
        elif message[:1] == bytes([STDERR]):
            _write(sys.stderr.buffer, message[1:])
            last_words = (last_words + message[1:])[-LAST_WORDS:]
        elif message[:1] == bytes([STATUS]):
            code = exit_code(json.loads(message[1:]))
            if code:
                report(
                    f"rank in pod {hosts['pods'][host]} exited with code {code}: {last_words.decode(errors='replace')}"
                )
            return code
    raise ExecError(f"the connection to pod {hosts['pods'][host]} broke before the command ended (was the pod killed?)")


def exit_code(status: dict[str, Any]) -> int:
    """The exit code in the Status that ends an exec."""
    if status.get("status") == "Success":
        return 0
    for cause in (status.get("details") or {}).get("causes") or []:
        if cause.get("reason") == "ExitCode":
            return int(cause["message"])
    raise ExecError(str(status.get("message") or status))


def report(text: str) -> None:
    """Leave the first failure as the pod's termination message: it says more than the launcher's last log lines."""
    try:
        with open(os.open(TERMINATION_LOG, os.O_WRONLY), "w", encoding="utf-8") as file:
            if os.fstat(file.fileno()).st_size == 0:
                file.write(text)
    except OSError:
        return  # no such file where the kubelet makes none; the log tells the same


def _write(stream: IO[bytes], data: bytes) -> None:
    stream.write(data)
    stream.flush()


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().strip()
    except FileNotFoundError:
        return ""


def main(arguments: list[str]) -> int:
    """The command line; returns the exit code."""
    if len(arguments) < 2:
        sys.stderr.write("usage: kubexec.py HOST COMMAND...\n")
        return 2
    try:
        return run(arguments[0], " ".join(arguments[1:]))
    except (ExecError, OSError) as error:
        report(f"kubexec: {arguments[0]}: {error}")
        sys.stderr.write(f"kubexec: {arguments[0]}: {error}\n")
        return EXIT_UNREACHABLE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
