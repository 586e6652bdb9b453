"""What a watch says when much happens that it does not see, or more than the history holds."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web

from include.devcluster.core import store as store_module
from include.devcluster.core import watch
from include.devcluster.core.resources import CONFIG_MAPS
from include.devcluster.core.store import Store
from include.devcluster.protocol.selectors import Selection

pytestmark = pytest.mark.dev_only

Next = Callable[[], Awaitable[dict[str, Any]]]


def put(store: Store, name: str) -> None:
    store.put(CONFIG_MAPS.key, {"metadata": {"name": name, "namespace": "a"}})


@asynccontextmanager
async def watching(store: Store, **query: str) -> AsyncIterator[Next]:
    """A watch of config maps, over HTTP; yields what reads its next event."""
    chosen = Selection(CONFIG_MAPS.key, "", query.pop("fieldSelector", ""))

    async def handle(request: web.Request) -> web.StreamResponse:
        return await watch.serve(request, store, CONFIG_MAPS, None, chosen, lambda obj: obj)

    application = web.Application()
    application.router.add_get("/", handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        address = f"http://127.0.0.1:{runner.addresses[0][1]}/"
        async with ClientSession() as session, session.get(address, params=query) as answer:

            async def following() -> dict[str, Any]:
                return dict(json.loads(await asyncio.wait_for(answer.content.readline(), 30)))

            yield following
    finally:
        await runner.cleanup()
        store.close()


def test_who_sees_nothing_is_kept_up_to_date_while_much_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "BOOKMARK_S", 0.05)

    async def run() -> None:
        store = Store(tmp_path)
        query = {"resourceVersion": "1", "allowWatchBookmarks": "true", "fieldSelector": "metadata.name=mine"}
        put(store, "mine")
        async with watching(store, **query) as following:
            writing = asyncio.create_task(write(store))
            versions = []
            for _ in range(3):
                event = await following()
                assert event["type"] == "BOOKMARK"
                versions.append(int(event["object"]["metadata"]["resourceVersion"]))
            writing.cancel()
        assert 1 < versions[0] < versions[1] < versions[2]

    async def write(store: Store) -> None:
        while True:
            put(store, "others")
            await asyncio.sleep(0.01)

    asyncio.run(run())


@pytest.mark.parametrize("since", ["1", "5"])
def test_a_version_that_the_history_has_forgotten_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, since: str
) -> None:
    monkeypatch.setattr(store_module, "HISTORY", 10)

    async def run() -> None:
        store = Store(tmp_path)
        for _ in range(20):
            put(store, "map")
        async with watching(store, resourceVersion=since) as following:
            event = await following()
        assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 410, "Expired")

    asyncio.run(run())


def test_a_watch_that_falls_behind_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "HISTORY", 10)

    async def run() -> None:
        store = Store(tmp_path)
        put(store, "map")
        async with watching(store, resourceVersion="1") as following:
            put(store, "map")
            assert (await following())["type"] == "MODIFIED"
            for _ in range(20):  # before anybody gets a turn
                put(store, "map")
            event = await following()
        assert (event["type"], event["object"]["code"]) == ("ERROR", 410)

    asyncio.run(run())
