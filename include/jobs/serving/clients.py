"""What HTTP clients really send, made into what KServe's server takes: JSON in UTF-8 under a plain media type.

KServe compares the media type letter by letter and leaves bodies as they come: with a parameter, in another case,
compressed, or with a byte order mark they are not JSON to it. This stands before it and answers what cannot be read
with a status that says what: 400, 413 or 415, and one line in the log. A body that is plain already passes untouched.
"""

import codecs
import json
import logging
import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from email.message import Message as Headers
from http import HTTPStatus
from typing import Any, TypeAlias

from include.jobs.lake.text import printable

Message: TypeAlias = MutableMapping[str, Any]
Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

#: Bytes of a body, also when it is unpacked: some hundred times the longest one that makes sense.
LARGEST_BODY = 1024 * 1024
#: Encodings of bodies that are unpacked, by zlib's window bits: for either, with the header that it ought to have.
_PACKED = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
_ACCEPTED = "gzip, deflate, identity"
_JSON = (b"application/json", b"application/cloudevents+json")
_PLAIN = {None, *_JSON}
_CHARSETS = ("ascii", "cp", "iso8859", "utf-")
_VERBS = (":predict", ":explain")
#: Byte order marks, and what is no text at all, need a closer look.
_TEXT_BEGINS = b'{[ \t\r\n"'

_log = logging.getLogger("include.jobs.serving")


class RefusedError(Exception):
    """A request that is not for the model; its text goes to the client."""

    def __init__(self, status: HTTPStatus, text: str, **headers: str) -> None:
        super().__init__(text)
        self.status = status
        self.headers = headers


class Clients:
    """An ASGI application before another one.

    HEAD is answered as GET is, without the body: balancers and proxies ask for health that way.
    """

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or have it answered."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["method"] != "POST" and scope["path"].endswith(_VERBS):
            # KServe takes the whole for a model's name, which it does not know.
            text = f"{scope['method']} is not answered here: POST to it"
            await _refuse(scope, send, RefusedError(HTTPStatus.METHOD_NOT_ALLOWED, text, allow="POST"))
        elif scope["method"] == "HEAD":
            await self._app({**scope, "method": "GET"}, receive, _without_body(send))
        elif scope["method"] in ("POST", "PUT", "PATCH"):
            await self._with_body(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _with_body(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await _read(scope, receive)
            if body is None:
                return
            scope, body = _readable(scope, body)
        except RefusedError as error:
            await _refuse(scope, send, error)
            return
        await self._app(scope, _replayed(body, receive), send)


async def _read(scope: Scope, receive: Receive) -> bytes | None:
    """The whole body; None when the client has gone."""
    length = _header(scope, b"content-length")
    if length is not None and length.isdigit() and int(length) > LARGEST_BODY:
        raise _too_large()
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        part = message.get("body", b"")
        size += len(part)
        if size > LARGEST_BODY:
            raise _too_large()
        parts.append(part)
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def _readable(scope: Scope, body: bytes) -> tuple[Scope, bytes]:
    """The request with its body as JSON in UTF-8 and headers that say so."""
    kind, packed = _header(scope, b"content-type"), _header(scope, b"content-encoding")
    if kind in _PLAIN and packed is None and body[:1] and body[0] in _TEXT_BEGINS:
        return scope, body
    for name in reversed([part.strip() for part in (packed or b"").decode("latin-1").lower().split(",")]):
        body = _unpacked(body, name)
    media, charset = _media_type(kind)
    if not body:
        raise RefusedError(HTTPStatus.BAD_REQUEST, 'the body is empty: send {"instances": [{"household_id": 1228}]}')
    told = [(name, value) for name, value in scope["headers"] if name not in _REWRITTEN]
    text = _utf_8(body, charset)
    told += [(b"content-type", media), (b"content-length", b"%d" % len(text))]
    return {**scope, "headers": told}, text


_REWRITTEN = (b"content-type", b"content-length", b"content-encoding", b"transfer-encoding")


def _media_type(value: bytes | None) -> tuple[bytes, str | None]:
    """The media type as KServe knows it, and the character set; who names none is taken at the word of the body."""
    if value is None:
        return _JSON[0], None
    headers = Headers()
    headers["content-type"] = value.decode("latin-1")
    media = headers.get_content_type()
    if media == "text/json" or (media.startswith("application/") and media.endswith(("/json", "+json"))):
        named = media.encode("latin-1")
        return named if named in _JSON else _JSON[0], headers.get_content_charset()
    raise RefusedError(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        f"a body of type {value.decode('latin-1')!r:.80} is not read: send JSON as application/json",
        accept="application/json",
    )


def _unpacked(body: bytes, name: str) -> bytes:
    if name in ("", "identity"):
        return body
    if name not in _PACKED:
        raise RefusedError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            f"a body with content-encoding {name!r:.40} is not read: send it as it is, or with gzip or deflate",
            **{"accept-encoding": _ACCEPTED},
        )
    # Some clients leave deflate's header out.
    windows = [_PACKED[name], *([-zlib.MAX_WBITS] if name == "deflate" else [])]
    for window in windows:
        unpacker = zlib.decompressobj(window)
        try:
            found = unpacker.decompress(body, LARGEST_BODY + 1)
        except zlib.error:
            continue
        if len(found) > LARGEST_BODY:
            raise _too_large()
        if unpacker.eof and not unpacker.unused_data:
            return found
    raise RefusedError(HTTPStatus.BAD_REQUEST, f"the body is not what its content-encoding {name!r:.40} says")


def _utf_8(body: bytes, charset: str | None) -> bytes:
    """The text in UTF-8, without a byte order mark."""
    # Where none is named, JSON tells by its first bytes which of Unicode's encodings it has.
    name = charset or json.detect_encoding(body)
    try:
        # Python knows others, which are no character sets of anybody.
        text = body.decode(name) if codecs.lookup(name).name.startswith(_CHARSETS) else None
    except (LookupError, UnicodeDecodeError):
        text = None
    if text is None:
        raise RefusedError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE if charset else HTTPStatus.BAD_REQUEST,
            f"the body is no text in {name!r:.40}: send JSON in UTF-8",
        )
    try:
        return text.removeprefix("\ufeff").encode()
    except UnicodeEncodeError:
        raise RefusedError(HTTPStatus.BAD_REQUEST, "the body holds half a character: send JSON in UTF-8") from None


def _too_large() -> RefusedError:
    # The rest of the body is not read, so that no other request can follow it.
    return RefusedError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body has more than {LARGEST_BODY} bytes", connection="close"
    )


def _header(scope: Scope, name: bytes) -> bytes | None:
    for known, value in scope["headers"]:
        if known == name:
            found: bytes = value
            return found
    return None


def _replayed(body: bytes, receive: Receive) -> Receive:
    """The body in one message, then whatever else the client says."""
    given = False

    async def next_one() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return next_one


def _without_body(send: Send) -> Send:
    async def head(message: Message) -> None:
        if message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await send(message)

    return head


async def _refuse(scope: Scope, send: Send, error: RefusedError) -> None:
    told(scope["method"], scope["path"], error.status, str(error))
    body = json.dumps({"error": str(error)}).encode() if scope["method"] != "HEAD" else b""
    headers = {"content-type": "application/json", "content-length": str(len(body)), **error.headers}
    listed = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": int(error.status), "headers": listed})
    await send({"type": "http.response.body", "body": body})


def told(method: str, path: str, status: int, reason: str) -> None:
    """The one line of a request that was not answered as asked; what a client has sent cannot break it."""
    _log.warning("%s %s: %d %s", method, printable(path), status, printable(reason))
