"""Every port that a platform listens on, and how a stranger is refused there: another local user, or a web page.

`KNOWN` names the protocol of each port of the settings, and `OPEN` what anybody may ask. A port that is in neither
fails the test that walks them, so that whoever adds a service decides who gets in.
"""

import encodings.idna  # noqa: F401  # a stranger's process may not be able to read it
import http.client
import json
import os
import socket
import ssl
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

NOBODY = 65534
TIMEOUT_S = 60.0
#: What a web page of somebody else sends along: its origin, or, by DNS rebinding, its own name as the host.
PAGES: Mapping[str, dict[str, str]] = {
    "another user": {},
    "a page elsewhere": {"Origin": "http://evil.example"},
    "a page by another name": {"Host": "evil.example", "Origin": "http://evil.example"},
}
#: Stands for the status of an answer that never comes.
CLOSED = 499
REFUSED = (401, 403, CLOSED)
NOTHING_THERE = (404, 503)
MODEL = "/v1/models/recommender"
SERVED = f"/serving/podium/recommender{MODEL}"

#: Key of the settings -> protocol.
KNOWN: Mapping[str, str] = {
    "s3": "s3",
    "s3_master": "mutual TLS",
    "s3_volume": "mutual TLS",
    "s3_filer": "mutual TLS",
    "s3_admin": "mutual TLS",
    "s3_grpc": "mutual TLS",
    "s3_master_grpc": "mutual TLS",
    "s3_volume_grpc": "mutual TLS",
    "s3_filer_grpc": "mutual TLS",
    "s3_admin_grpc": "mutual TLS",
    "kafka": "kafka",
    "kafka_controller": "kafka",
    "kafka_pods": "kafka",
    "postgres": "postgres",
    "airflow": "airflow",
    "kubernetes": "kubernetes",
    "gateway": "gateway",
    "gateway_admin": "envoy",
    "mlflow": "mlflow",
    "supervisor": "supervisor",
}


class Admitted(AssertionError):
    """A stranger got in."""


@dataclass(frozen=True, order=True)
class Listener:
    """A socket that takes connections."""

    address: str
    port: int
    program: str


def listeners(home: Path) -> list[Listener]:
    """All TCP sockets on which the processes of a platform listen, pods included."""
    roots = [process for process in psutil.process_iter() if _belongs(process, str(home))]
    found = set()
    for process in {child for root in roots for child in (root, *_children(root))}:
        with suppress(psutil.Error):
            for connection in process.net_connections("tcp"):
                if connection.status == psutil.CONN_LISTEN:
                    address = connection.laddr.ip.removeprefix("::ffff:")  # Java's, which listens by both protocols
                    found.add(Listener(address, connection.laddr.port, process.name()))
    return sorted(found)


def _belongs(process: psutil.Process, home: str) -> bool:
    with suppress(psutil.Error, OSError):
        own = process.pid in (os.getpid(), os.getppid())
        return not own and (home in " ".join(process.cmdline()) or home in " ".join(process.environ().values()))
    return False


def _children(process: psutil.Process) -> list[psutil.Process]:
    with suppress(psutil.Error):
        return process.children(recursive=True)
    return []


def walk(found: Iterable[Listener], ports: Mapping[str, int], pods: Mapping[int, str]) -> list[str]:
    """Knock at every one of them as a stranger.

    :param ports: key of the settings -> port.
    :param pods: port of a container -> protocol, for addresses of pods.
    :return: what is wrong, a line each; empty when a stranger is refused everywhere.
    """
    names = {port: key for key, port in ports.items()}
    wrong = []
    for listener in found:
        pod = listener.address != "127.0.0.1"
        name = f"a pod's port {listener.port}" if pod else names.get(listener.port, f"port {listener.port}")
        protocol = pods.get(listener.port) if pod else KNOWN.get(name)
        if protocol is None:
            wrong.append(f"{listener}: nobody has said who gets in: name it, and its protocol, in tests/gates.py")
            continue
        wrong += [f"{listener} ({name}, {protocol}): {text}" for text in as_nobody(PROTOCOLS[protocol], listener)]
    return wrong


def as_nobody(knock: Callable[[Listener], None], listener: Listener) -> list[str]:
    """Knock in a process that has no rights, where this one may give up its own."""
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setuid(NOBODY)
            os.write(write, json.dumps(_knock(knock, listener)).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as answer:
        text = answer.read()
    os.waitpid(child, 0)
    return list(json.loads(text)) if text else ["the stranger's process died"]


def _knock(knock: Callable[[Listener], None], listener: Listener) -> list[str]:
    try:
        knock(listener)
    except Admitted as admitted:
        return [str(admitted)]
    except Exception as error:
        return [f"it cannot be told whether strangers are refused: {error!r}"]
    return []


def _http(
    asked: Iterable[tuple[str, str]],
    open_to_all: Iterable[str] = (),
    refused: Iterable[int] = REFUSED,
    connect: type[http.client.HTTPConnection] = http.client.HTTPConnection,
) -> Callable[[Listener], None]:
    """Refuses these requests, whoever sends them, and tells no page that it might.

    :param open_to_all: paths that must answer, and tell nothing to pages of others.
    """

    def knock(listener: Listener) -> None:
        for who, headers in PAGES.items():
            for method, path in asked:
                status, answered = _ask(connect, listener, method, path, headers)
                if status not in refused:
                    raise Admitted(f"{method} {path} by {who} is answered with {status}")
                _tells_no_page(f"{method} {path}", status, answered)
        for method, path in asked:
            preflight = {"Origin": "http://evil.example", "Access-Control-Request-Method": method}
            status, answered = _ask(connect, listener, "OPTIONS", path, preflight)
            _tells_no_page(f"the preflight of {method} {path}", status, answered)
        for path in open_to_all:
            status, answered = _ask(connect, listener, "GET", path, PAGES["a page elsewhere"])
            _tells_no_page(f"GET {path}", status, answered)

    return knock


class _Unverified(http.client.HTTPSConnection):
    """Asks over TLS, whatever the certificate."""

    def __init__(self, host: str, port: int, timeout: float) -> None:
        super().__init__(host, port, timeout=timeout, context=_unverified())


def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _ask(
    connect: type[http.client.HTTPConnection], listener: Listener, method: str, path: str, headers: dict[str, str]
) -> tuple[int, dict[str, str]]:
    with closing(connect(listener.address, listener.port, timeout=TIMEOUT_S)) as connection:
        connection.putrequest(method, path, skip_host="Host" in headers)
        body = b"" if method in ("GET", "OPTIONS", "DELETE") else b"{}"
        for name, value in {**headers, "Content-Type": "application/json", "Content-Length": str(len(body))}.items():
            connection.putheader(name, value)
        try:
            connection.endheaders(body)
            answer = connection.getresponse()
            answer.read()
        except ConnectionError:
            return CLOSED, {}
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}


def _tells_no_page(what: str, status: int, headers: dict[str, str]) -> None:
    if status < 400 and headers.get("access-control-allow-origin") in ("*", "http://evil.example"):
        raise Admitted(f"{what} is allowed to any page")


def _mutual_tls(listener: Listener) -> None:
    """Closes on who speaks no TLS, and on who shows no certificate."""
    for greeting in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"):
        with _connected(listener) as plain:
            plain.sendall(greeting)
            answer = _read(plain)
        # What a TLS server of Go says to who speaks none.
        if answer and not answer.startswith(b"HTTP/1.0 400") and answer[0] != 21:
            raise Admitted(f"without TLS it answers {answer[:60]!r}")
    context = _unverified()
    for protocol in ("http/1.1", "h2"):
        context.set_alpn_protocols([protocol])
        try:
            with _connected(listener) as plain, context.wrap_socket(plain) as secured:
                secured.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                answer = _read(secured)
        except (ssl.SSLError, ConnectionError):
            continue
        if answer:
            raise Admitted(f"without a certificate it answers {answer[:60]!r}")


def _postgres(listener: Listener) -> None:
    """Asks every role for its password, in a way that does not tell it."""
    for user in ("postgres", "airflow", "lake", "mlflow"):
        words = b"".join(text.encode() + b"\0" for text in ("user", user, "database", "postgres")) + b"\0"
        with _connected(listener) as plain:
            plain.sendall(struct.pack("!ii", len(words) + 8, 196608) + words)
            answer = _read(plain)
        # AuthenticationSASL: https://www.postgresql.org/docs/current/protocol-message-formats.html
        if answer[:1] == b"R" and struct.unpack("!i", answer[5:9])[0] != 10:
            raise Admitted(f"{user} is asked for no password, or for a plain one: {answer[:20]!r}")
        if answer[:1] not in (b"R", b"E"):
            raise Admitted(f"{user} gets {answer[:20]!r}")


def _kafka(listener: Listener) -> None:
    """Closes on who asks before they have shown who they are, and knows no easy password.

    Requests by https://kafka.apache.org/protocol: Metadata, SaslHandshake, SaslAuthenticate.
    """
    with _connected(listener) as plain:
        answer = _kafka_asks(plain, 3, 4, struct.pack("!i?", -1, False))
    if answer:
        raise Admitted(f"it answers a stranger's request: {answer[:40]!r}")
    for password in (b"", b"admin", b"podium"):
        with _connected(listener) as plain:
            answer = _kafka_asks(plain, 17, 1, _kafka_text(b"PLAIN"))
            if answer[8:10] != b"\0\0":
                continue
            token = b"\0admin\0" + password
            answer = _kafka_asks(plain, 36, 0, struct.pack("!i", len(token)) + token)
        if answer[8:10] == b"\0\0":
            raise Admitted(f"the password {password!r} opens it")


def _kafka_asks(connection: socket.socket, key: int, version: int, body: bytes) -> bytes:
    request = struct.pack("!hhi", key, version, 1) + _kafka_text(b"stranger") + body
    connection.sendall(struct.pack("!i", len(request)) + request)
    return _read(connection)


def _kafka_text(text: bytes) -> bytes:
    return struct.pack("!h", len(text)) + text


def _connected(listener: Listener) -> "closing[socket.socket]":
    return closing(socket.create_connection((listener.address, listener.port), timeout=TIMEOUT_S))


def _read(connection: socket.socket) -> bytes:
    """What comes first; nothing when the other side closes."""
    try:
        return connection.recv(4096)
    except ConnectionError:
        return b""


PROTOCOLS: Mapping[str, Callable[[Listener], None]] = {
    "mutual TLS": _mutual_tls,
    "kafka": _kafka,
    "postgres": _postgres,
    "s3": _http(
        [
            *(("GET", path) for path in ("/", "/lake", "/lake/x", "/mlflow/x")),
            *((method, path) for method in ("PUT", "DELETE") for path in ("/lake/x", "/lake")),
            ("POST", "/lake?delete"),
        ]
    ),
    "envoy": _http(
        [("GET", "/stats"), ("GET", "/config_dump"), ("GET", "/"), ("POST", "/quitquitquit"), ("POST", "/stats")]
    ),
    "kubernetes": _http(
        [
            *(("GET", path) for path in ("/api/v1/namespaces/podium/secrets", "/api/v1/pods", "/apis", "/metrics")),
            ("POST", "/api/v1/namespaces/podium/pods"),
            ("DELETE", "/api/v1/namespaces/podium/pods"),
        ],
        ["/readyz"],
        connect=_Unverified,
    ),
    "model server": _http(
        [
            ("POST", f"{MODEL}:predict"),
            ("POST", "/v2/models/recommender/infer"),
            ("GET", "/docs"),
            ("GET", "/v1/models"),
        ],
        [MODEL, "/v2/health/live"],
    ),
    "airflow": _http(
        [
            *(("GET", f"/api/v2/{path}") for path in ("dags", "connections", "variables", "eventLogs", "config")),
            ("POST", "/api/v2/dags/erase_household/dagRuns"),
            ("PATCH", "/execution/task-instances/0/run"),
        ],
        ["/", "/api/v2/monitor/health"],
    ),
    "gateway": _http([("POST", f"{SERVED}:predict"), ("GET", "/")], refused=(*REFUSED, *NOTHING_THERE)),
    "mlflow": _http(
        [
            *(("GET", path) for path in ("/", "/health", "/version", "/api/2.0/mlflow/registered-models/search")),
            ("POST", "/api/2.0/mlflow/registered-models/alias"),
            *((method, "/api/2.0/mlflow-artifacts/artifacts/x") for method in ("GET", "PUT", "DELETE")),
            ("POST", "/v1/traces"),
        ]
    ),
    "supervisor": _http([("GET", "/"), ("POST", "/RPC2"), ("GET", "/logtail/s3")]),
}


def sockets(home: Path) -> Iterator[Path]:
    """Unix sockets below the state folder, which no other user must reach."""
    for path in home.rglob("*.sock"):
        if path.is_socket():
            yield path
