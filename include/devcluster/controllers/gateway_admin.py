"""Envoy's admin interface, which lets everybody stop it: on a Unix socket of its owner, and read through a listener.

Who brings the token may ask through the listener what Envoy has counted and what it works with; nothing can be changed.
"""

from __future__ import annotations

from typing import Any

#: Relative to the folder that Envoy is started in, because the path of a Unix socket must be short.
SOCKET = "gateway-admin.sock"
CLUSTER = "admin"
#: The environment variable that holds the token.
TOKEN = "GATEWAY_ADMIN_TOKEN"
READABLE = "/(ready|stats|clusters|config_dump)"


def admin() -> dict[str, Any]:
    """The interface itself."""
    return {"address": {"pipe": {"path": SOCKET, "mode": 0o600}}}


def routes(token: str) -> list[dict[str, Any]]:
    """What may be read, by GET and with the token; all else is refused."""
    asked = [
        {"name": ":method", "string_match": {"exact": "GET"}},
        {"name": "authorization", "string_match": {"exact": f"Bearer {token}"}},
    ]
    refusal = {"status": 401, "body": {"inline_string": "GET with the gateway's token only\n"}}
    return [
        {"match": {"safe_regex": {"regex": READABLE}, "headers": asked}, "route": {"cluster": CLUSTER}},
        {"match": {"prefix": "/"}, "direct_response": refusal},
    ]
