"""Finds out, before anything starts, whether the configured ports are free."""

import errno
import socket
from collections.abc import Mapping

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
    """Who listens, as far as the system tells."""
    found: dict[int, str] = {}
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:
        return found
    for connection in connections:
        if connection.status != psutil.CONN_LISTEN or not connection.laddr or not connection.pid:
            continue
        port = connection.laddr[1]
        if port in ports:
            try:
                found[port] = f"process {connection.pid} ({psutil.Process(connection.pid).name()})"
            except psutil.NoSuchProcess:
                continue
    return found
