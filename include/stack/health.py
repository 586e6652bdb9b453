"""Health checks: each asks a service for what its clients need, and raises `Unhealthy` when it does not answer so."""

import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import httpx

from include.stack.errors import Unhealthy
from include.stack.ports import HOST

Check = Callable[[], None]
TIMEOUT_S = 5.0


def tcp(port: int, host: str = HOST) -> Check:
    """The port takes connections."""

    def check() -> None:
        try:
            socket.create_connection((host, port), timeout=TIMEOUT_S).close()
        except OSError as error:
            raise Unhealthy(f"{host}:{port} does not take connections: {error.strerror or error}") from error

    return check


def http(
    port: int,
    path: str,
    accept: Callable[[httpx.Response], bool] = lambda r: r.is_success,
    authority: Path | None = None,
) -> Check:
    """A GET of the path gets an answer that is accepted (by default: 2xx).

    :param authority: certificate to trust; makes it https.
    """
    url = f"{'https' if authority else 'http'}://{HOST}:{port}{path}"

    def check() -> None:
        try:
            trust = ssl.create_default_context(cafile=authority) if authority else False
        except (OSError, ssl.SSLError) as error:  # the server makes it at its first start, and may be about to
            raise Unhealthy(f"{url}: no certificate {authority} yet") from error
        try:
            response = httpx.get(url, timeout=TIMEOUT_S, trust_env=False, verify=trust)
        except httpx.HTTPError as error:
            raise Unhealthy(f"{url}: {error or type(error).__name__}") from error
        if not accept(response):
            raise Unhealthy(f"{url} answers {response.status_code}: {response.text[:200]}")

    return check


def every(*checks: Check) -> Check:
    """All of them."""

    def check() -> None:
        for one in checks:
            one()

    return check
