"""Who may ask the model server: what it answers about a household is personal data."""

import hmac
import json
import os
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any

from include.jobs.lake.connections import read_credential, require

#: The key of the Secret `podium-credentials`, and the file in `$PODIUM_CREDENTIALS_DIR`.
KEY_FILE = "serving_key"
#: What anybody may read by GET or HEAD: whether it is alive and ready, and what it has counted.
OPEN = frozenset({"/", "/metrics", "/v2/health/live", "/v2/health/ready"})

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class Door:
    """Lets requests through that show the key as `Authorization: Bearer <key>`; answers others with status 401.

    :param key: printable ASCII.
    :param ready: paths beside `OPEN` that anybody may read, those of readiness probes.
    """

    def __init__(self, app: App, key: str, ready: frozenset[str]) -> None:
        self._app = app
        self._wanted = f"Bearer {key}".encode()
        self._open = OPEN | ready

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer an ASGI event."""
        if scope["type"] == "http" and not self._may_enter(scope):
            body = json.dumps({"error": "show the key as `Authorization: Bearer <key>`"}).encode()
            headers = [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
                (b"www-authenticate", b"Bearer"),
            ]
            await send({"type": "http.response.start", "status": 401, "headers": headers})
            await send({"type": "http.response.body", "body": body})
            return
        await self._app(scope, receive, send)

    def _may_enter(self, scope: Message) -> bool:
        if scope["method"] in ("GET", "HEAD") and scope["path"] in self._open:
            return True
        shown = [value for name, value in scope["headers"] if name == b"authorization"]
        return len(shown) == 1 and hmac.compare_digest(shown[0], self._wanted)


def serving_key(environ: Mapping[str, str] | None = None) -> str:
    """The key that requests must show.

    Raises:
        ConnectionSettingsError: there is none: a server that asked nobody would not start.
    """
    return read_credential(
        Path(require(os.environ if environ is None else environ, "PODIUM_CREDENTIALS_DIR")), KEY_FILE
    )
