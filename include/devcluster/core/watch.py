"""Watches: a stream of changes, one JSON document a line."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable

from aiohttp import web

from include.devcluster.core.errors import ApiError
from include.devcluster.core.objects import Object, namespace
from include.devcluster.core.resources import Resource
from include.devcluster.core.store import Change, Store
from include.devcluster.protocol import options
from include.devcluster.protocol.selectors import Selection

BOOKMARK_S = 60.0
LONGEST_S = 3600.0
"""A watch without timeoutSeconds ends after this; clients start again from where they were."""

Render = Callable[[Object], Object]


async def serve(
    request: web.Request, store: Store, resource: Resource, space: str | None, selection: Selection, render: Render
) -> web.StreamResponse:
    """Answer a watch request.

    :param space: None for all namespaces.
    :param render: turns an object into what the client asked for (a table row, metadata only, itself).
    """
    query = request.query
    options.version(query)
    since = int(query.get("resourceVersion") or 0)
    bookmarks = options.is_true(query, "allowWatchBookmarks")
    initial = options.is_true(query, "sendInitialEvents")
    from_start = initial or not (since or "sendInitialEvents" in query)
    deadline = time.monotonic() + min(options.number(query.get("timeoutSeconds") or "0") or LONGEST_S, LONGEST_S)
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    response.enable_chunked_encoding()
    await response.prepare(request)

    async def send(kind: str, obj: Object) -> None:
        await response.write(json.dumps({"type": kind, "object": obj}, separators=(",", ":")).encode() + b"\n")

    try:
        backlog = [o for o in store.list(resource.key, space) if o in selection] if from_start else []
        first, subscription = store.revision, store.subscribe(resource.key, since if since and not from_start else None)
    except ApiError as error:  # too old: a watch says so in an event, as the real one
        await send("ERROR", error.status())
        return response
    try:
        for obj in backlog:
            await send("ADDED", render(obj))
        if initial and bookmarks:
            await send("BOOKMARK", _bookmark(resource, first, {"k8s.io/initial-events-end": "true"}))
        marked = time.monotonic()
        while (left := deadline - time.monotonic()) > 0:
            change = await subscription.next(min(left, BOOKMARK_S))
            if change is not None and (event := _seen(change, space, selection)):
                await send(event, render(_stamped(change)))
            elif bookmarks and time.monotonic() - marked >= BOOKMARK_S:
                # What others see may be all that happens: the client must not fall behind the history.
                await send("BOOKMARK", _bookmark(resource, change.revision if change else store.revision))
                marked = time.monotonic()
    except ApiError as error:  # the client reads so slowly that the history has moved past it
        await send("ERROR", error.status())
    except (ConnectionResetError, asyncio.CancelledError):
        return response  # the client is gone, or the server ends
    finally:
        subscription.close()
    return response


def _stamped(change: Change) -> Object:
    """The object with the revision of the change; what leaves a selection has that of its going."""
    if change.object["metadata"]["resourceVersion"] == str(change.revision):
        return change.object
    return {**change.object, "metadata": {**change.object["metadata"], "resourceVersion": str(change.revision)}}


def _seen(change: Change, space: str | None, selection: Selection) -> str | None:
    """How the change looks to somebody who sees only the selection."""
    if space is not None and namespace(change.object) != space:
        return None
    is_in = change.object in selection
    was_in = change.previous is not None and change.previous in selection
    if change.type == "DELETED":
        return "DELETED" if is_in or was_in else None
    if is_in:
        return "MODIFIED" if was_in else "ADDED"
    return "DELETED" if was_in else None


def _bookmark(resource: Resource, revision: int, annotations: dict[str, str] | None = None) -> Object:
    meta: Object = {"resourceVersion": str(revision)}
    if annotations:
        meta["annotations"] = annotations
    return {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": meta}
