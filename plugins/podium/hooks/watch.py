"""Watching objects of the Kubernetes API from an event loop, across time-outs, restarts and expired versions."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, NoReturn

log = logging.getLogger(__name__)

WATCH_S: Final = 300
FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 15.0
FORBIDDEN: Final = 403
GONE: Final = 410

Snapshot = dict[str, dict[str, Any]]
ListCall = Callable[..., Awaitable[Any]]


class ExpiredError(Exception):
    """The server no longer has the history from our resourceVersion on: list again."""


async def snapshots(call: ListCall, **selectors: str) -> AsyncIterator[Snapshot]:
    """All objects that match, by name: now, and again after every change.

    Lists first, then watches from the list's resourceVersion. An expired version (410) lists again; a server that
    cannot be reached is asked again, with growing pauses, for as long as the caller goes on.

    :param call: a list function of `kubernetes_asyncio`, with its positional arguments bound.
    :param selectors: `label_selector`, `field_selector`.
    """
    from aiohttp import ClientError
    from kubernetes_asyncio.client import ApiException

    pause = FIRST_PAUSE_S
    while True:
        try:
            found, version = await _list(call, selectors)
            yield dict(found)
            pause = FIRST_PAUSE_S
            async for change, manifest in _watch(call, selectors, version):
                name = manifest["metadata"]["name"]
                if change == "DELETED":
                    found.pop(name, None)
                else:
                    found[name] = manifest
                yield dict(found)
        except ExpiredError:
            log.debug("Watch expired, listing again")
        except (ApiException, ClientError, OSError, TimeoutError) as error:
            # Credentials that have expired are loaded anew; who provides them may be away for a while.
            if isinstance(error, ApiException) and error.status == FORBIDDEN:
                raise
            log.warning("Cannot watch (%r), trying again in %.1f s", error, pause)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)


async def _list(call: ListCall, selectors: dict[str, str]) -> tuple[Snapshot, str]:
    response = await call(**selectors, _preload_content=False, _request_timeout=30)
    async with response:
        await raise_for_status(response)
        body = json.loads(await response.read())
    return {item["metadata"]["name"]: item for item in body["items"]}, body["metadata"]["resourceVersion"]


async def _watch(call: ListCall, selectors: dict[str, str], version: str) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """Changes from a version on; watches again from the last one seen when the server ends the watch."""
    while True:
        response = await call(
            **selectors,
            watch=True,
            resource_version=version,
            allow_watch_bookmarks=True,
            timeout_seconds=WATCH_S,
            _preload_content=False,
            _request_timeout=WATCH_S + 30,
        )
        async with response:
            await raise_for_status(response)
            # Not readline(): aiohttp refuses lines beyond 64 KiB, and an object may well be larger.
            rest = b""
            async for chunk in response.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in filter(None, lines):
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        _raise(event["object"])
                    version = event["object"]["metadata"]["resourceVersion"]
                    if event["type"] != "BOOKMARK":
                        yield event["type"], event["object"]


async def raise_for_status(response: Any) -> None:
    """Raise for an answer that was not read by the client, which checks the status only of those that it reads itself.

    :raises ExpiredError: 410.
    :raises ApiException: any other status from 400 on.
    """
    from kubernetes_asyncio.client import ApiException

    if response.status >= 400:
        text = await response.text()
        try:
            _raise(json.loads(text))
        except json.JSONDecodeError:
            raise ApiException(status=response.status, reason=text[:200]) from None


def _raise(status: dict[str, Any]) -> NoReturn:
    from kubernetes_asyncio.client import ApiException

    if status.get("code") == GONE:
        raise ExpiredError
    raise ApiException(status=status.get("code"), reason=status.get("message"))
