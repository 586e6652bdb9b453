"""Finds out, before anything starts, whether the configured ports are free."""

import errno
import socket
from collections.abc import Mapping
from pathlib import Path

import psutil

from include.stack.errors import PortInUseError

HOST = "127.0.0.1"


def check(ports: Mapping[str, int]) -> None:
    """Try every port on the loopback address.

    :param ports: by configuration key.
    :raises PortInUseError: names every port that is taken, its key, and its owner when that can be seen.
    """
    taken = {key: port for key, port in ports.items() if not is_free(port)}
    if not taken:
        return
    owners = _owners(set(taken.values()))
    lines = []
    for key, port in taken.items():
        owner = owners.get(port, "a process that this user cannot see")
        lines.append(
            f"port {port} (ports.{key}) is in use by {owner}.\n"
            f"    End that process, or take another port: PODIUM_PORTS__{key.upper()}=<port> make up"
            f" (or ports.{key} in include/config/local.yaml)"
        )
    raise PortInUseError("\n  ".join(lines))


def at_risk(ports: Mapping[str, int], own: range | None = None) -> str:
    """A text about ports that a client's own connection may take at any moment; empty when there are none.

    :param ports: by configuration key.
    :param own: what the system gives to connections of its own accord; default: as it is set.
    """
    own = _given_to_connections() if own is None else own
    lines = [
        f"port {port} (ports.{key}): take one below {own.start}: PODIUM_PORTS__{key.upper()}=<port> make up"
        for key, port in ports.items()
        if port in own
    ]
    if not lines:
        return ""
    head = (
        f"this machine gives ports {own.start} to {own.stop - 1} to connections as they come. Where one has taken a "
        "service's, the service does not start:"
    )
    return "\n  ".join([head, *lines])


def _given_to_connections() -> range:
    try:
        first, last = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    except OSError:  # not Linux: what IANA sets aside for them
        return range(49152, 65536)
    return range(int(first), int(last) + 1)


def is_free(port: int) -> bool:
    """Whether a server could listen on the port now; connections that linger after a stop do not count."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen(1)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise
    return True


def _owners(ports: set[int]) -> dict[int, str]:
    """Who listens, or has a connection from there, as far as the system tells."""
    found: dict[int, str] = {}
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:
        return found
    for connection in connections:
        if not connection.laddr or not connection.pid:
            continue
        port, listens = connection.laddr[1], connection.status == psutil.CONN_LISTEN
        if port in ports and (listens or port not in found):
            how = "" if listens else ", for a connection of its own"
            try:
                found[port] = f"process {connection.pid} ({psutil.Process(connection.pid).name()}{how})"
            except psutil.NoSuchProcess:
                continue
    return found
