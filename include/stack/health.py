"""Health checks: each asks a service for what its clients need, and raises `Unhealthy` when it does not answer so."""

import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import httpx
from pydantic import SecretStr

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
    authorization: SecretStr | None = None,
    identity: Path | None = None,
) -> Check:
    """A GET of the path gets an answer that is accepted (by default: 2xx).

    :param authority: certificate to trust; makes it https.
    :param identity: key of that certificate, for a server that wants to be shown it too.
    :param authorization: what the header of that name shows, e.g. `Bearer …`.
    """
    url = f"{'https' if authority else 'http'}://{HOST}:{port}{path}"
    headers = {"Authorization": authorization.get_secret_value()} if authorization else {}

    def check() -> None:
        try:
            trust = _trust(authority, identity) if authority else False
        except (OSError, ssl.SSLError) as error:  # the server makes it at its first start, and may be about to
            raise Unhealthy(f"{url}: no certificate {authority} yet") from error
        try:
            response = httpx.get(url, headers=headers, timeout=TIMEOUT_S, trust_env=False, verify=trust)
        except httpx.HTTPError as error:
            raise Unhealthy(f"{url}: {error or type(error).__name__}") from error
        if not accept(response):
            raise Unhealthy(f"{url} answers {response.status_code}: {response.text[:200]}")

    return check


def _trust(authority: Path, identity: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authority)
    if identity:
        context.load_cert_chain(authority, identity)
    return context


def every(*checks: Check) -> Check:
    """All of them."""

    def check() -> None:
        for one in checks:
            one()

    return check
