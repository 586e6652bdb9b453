"""Ports that are taken, or may be at any moment, are told before anything starts."""

import socket

import pytest

from include.config import load_settings
from include.stack import ports
from include.stack.errors import PortInUseError
from tests.stack.conftest import Sandbox


def test_no_port_of_the_settings_may_be_taken_by_a_connection() -> None:
    found = load_settings("local").ports
    assert found is not None
    assert ports.at_risk(found.model_dump(), range(32768, 61000)) == ""


def test_ports_that_connections_are_given_are_named_with_the_mend() -> None:
    text = ports.at_risk({"kafka": 26092, "s3": 40000}, range(32768, 61000))
    assert "32768 to 60999" in text
    assert "PODIUM_PORTS__S3=<port> make up" in text
    assert "KAFKA" not in text


def test_such_ports_are_told_by_up(sandbox: Sandbox) -> None:
    sandbox.ports["gateway"] = ports._given_to_connections()[-1]
    outcome = sandbox.run("up", "--only", "gateway")
    assert f"port {sandbox.ports['gateway']} (ports.gateway): take one below" in outcome.stdout


def test_a_connection_that_has_taken_a_port_is_named() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
        pytest.raises(PortInUseError, match=r"for a connection of its own"),
    ):
        ports.check({"s3": client.getsockname()[1]})
