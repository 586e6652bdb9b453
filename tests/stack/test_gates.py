"""Nobody gets in who shows no credentials: every port of the services, as a stranger."""

import http.server
import socket
import threading
from collections.abc import Iterator

import httpx
import pytest

from include.stack.credentials import load
from tests.gates import Listener, listeners, walk
from tests.stack.conftest import Started


def test_every_port_refuses_strangers(shared: Started) -> None:
    found = listeners(shared.sandbox.paths.home)
    ports = shared.sandbox.ports
    expected = {port for key, port in ports.items() if key.startswith("s3") and not key.endswith("_pods")}
    assert {listener.port for listener in found} >= expected | {ports["postgres"], ports["gateway_admin"]}
    assert walk(found, ports, {}) == []


def test_a_port_that_nobody_has_thought_of_is_told(shared: Started) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        (told,) = walk([Listener("127.0.0.1", server.getsockname()[1], "new")], shared.sandbox.ports, {})
    assert "nobody has said who gets in" in told


def test_a_port_that_lets_everybody_in_is_told(everybodys: int) -> None:
    for key in ("gateway_admin", "s3_filer", "mlflow"):
        (told,) = walk([Listener("127.0.0.1", everybodys, "open")], {key: everybodys}, {})
        assert "answer" in told, told


def test_who_has_the_token_reads_the_gateways_counters_and_changes_nothing(shared: Started) -> None:
    token = load(shared.sandbox.paths.credentials).gateway_admin_token.get_secret_value()
    url, shown = f"http://127.0.0.1:{shared.sandbox.ports['gateway_admin']}", {"Authorization": f"Bearer {token}"}
    assert "server.live" in httpx.get(f"{url}/stats", headers=shown, trust_env=False).text
    for path in ("quitquitquit", "reset_counters", "stats"):
        assert httpx.post(f"{url}/{path}", headers=shown, trust_env=False).status_code == 401


@pytest.fixture
def everybodys() -> Iterator[int]:
    """The port of a server that answers everybody."""

    class Answers(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_POST = do_OPTIONS = do_GET

        def log_message(self, format: str, *arguments: object) -> None:
            """Says nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()
