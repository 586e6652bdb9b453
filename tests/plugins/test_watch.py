"""Watching through what goes wrong with watches, on a server that does all of it."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
from aiohttp import web
from kubernetes_asyncio.client import ApiClient, ApiException, Configuration, CustomObjectsApi
from podium.hooks import watch
from podium.hooks.watch import snapshots

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def thing(name: str, version: int) -> dict[str, Any]:
    return {"metadata": {"name": name, "resourceVersion": str(version)}}


def listed(version: int, *names: str) -> web.Response:
    items = [thing(name, version) for name in names]
    return web.json_response({"kind": "List", "metadata": {"resourceVersion": str(version)}, "items": items})


def event(kind: str, manifest: dict[str, Any]) -> dict[str, Any]:
    return {"type": kind, "object": manifest}


EXPIRED = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}


class Server:
    """Answers each list, and each watch, as the script says; the last one of a watch stays open."""

    def __init__(self, lists: list[Any], watches: list[Any]) -> None:
        self.lists, self.watches = lists, watches
        self.watched_from: list[str] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            answer = self.lists.pop(0)
            return answer if isinstance(answer, web.Response) else listed(*answer)
        self.watched_from.append(request.query["resourceVersion"])
        script = self.watches.pop(0) if self.watches else None
        if isinstance(script, web.Response):
            return script
        response = web.StreamResponse()
        await response.prepare(request)
        for line in script or []:
            text = json.dumps(line).encode() + b"\n"
            # In two pieces: a chunk is not a line.
            await response.write(text[:7])
            await asyncio.sleep(0)
            await response.write(text[7:])
        if script is None:
            await asyncio.sleep(60)
        return response


@asynccontextmanager
async def running(server: Server) -> AsyncIterator[Any]:
    app = web.Application()
    app.router.add_get("/{path:.*}", server.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    async with ApiClient(Configuration(host=f"http://127.0.0.1:{port}")) as client:
        yield partial(CustomObjectsApi(client).list_namespaced_custom_object, "g", "v1", "ns", "things")
    await runner.cleanup()


def seen(server: Server, count: int) -> list[list[str]]:
    """The names in the first snapshots."""

    async def collect() -> list[list[str]]:
        result: list[list[str]] = []
        async with running(server) as call, asyncio.timeout(10):
            async for found in snapshots(call, field_selector="metadata.name=a"):
                result.append(sorted(found))
                if len(result) == count:
                    break
        return result

    return asyncio.run(collect())


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "FIRST_PAUSE_S", 0.01)


def test_changes_follow_the_list() -> None:
    changes = [event("ADDED", thing("b", 6)), event("DELETED", thing("a", 7))]
    server = Server([(5, "a")], [changes])
    assert seen(server, 3) == [["a"], ["a", "b"], ["b"]]


def test_a_watch_that_ends_goes_on_from_the_last_version_seen() -> None:
    bookmark = event("BOOKMARK", {"metadata": {"resourceVersion": "9"}})
    server = Server([(5, "a")], [[event("ADDED", thing("b", 6)), bookmark], [event("ADDED", thing("c", 10))]])
    assert seen(server, 3) == [["a"], ["a", "b"], ["a", "b", "c"]]
    assert server.watched_from == ["5", "9"]


@pytest.mark.parametrize("expired", [[event("ERROR", EXPIRED)], web.json_response(EXPIRED, status=410)])
def test_an_expired_version_lists_again_and_misses_nothing(expired: Any) -> None:
    server = Server([(5, "a"), (20, "b")], [expired, [event("ADDED", thing("c", 21))]])
    assert seen(server, 3) == [["a"], ["b"], ["b", "c"]]
    assert server.watched_from == ["5", "20"]


def test_a_server_in_trouble_is_asked_again() -> None:
    trouble = web.json_response({"kind": "Status", "code": 503, "message": "etcd"}, status=503)
    server = Server([trouble, (5, "a")], [])
    assert seen(server, 1) == [["a"]]


def test_a_refusal_is_not_asked_again() -> None:
    refusal = web.json_response({"kind": "Status", "code": 403, "message": "no right to list things"}, status=403)
    with pytest.raises(ApiException, match="no right to list things"):
        seen(Server([refusal], []), 1)


def test_objects_larger_than_a_line_buffer_get_through() -> None:
    large = thing("b", 6) | {"spec": "x" * 3_000_000}
    assert seen(Server([(5, "a")], [[event("ADDED", large)]]), 2) == [["a"], ["a", "b"]]
