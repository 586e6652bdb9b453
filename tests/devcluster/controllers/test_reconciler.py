"""Queue, informer and reconciler base, against a small API server whose faults a real one cannot be told to have."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from aiohttp import web

from include.devcluster.controllers import client
from include.devcluster.controllers.client import ApiError, Credentials, KubeApi, KubeconfigError
from include.devcluster.controllers.informer import Informer
from include.devcluster.controllers.objects import PODS, Manifest, Resource, key_of, owner_reference
from include.devcluster.controllers.reconciler import Controller, NotOwnedError, WorkQueue
from tests.devcluster.controllers.support import eventually

THINGS = Resource("podium.dev", "v1", "things", "Thing")
Script = Callable[[web.Request, int], Awaitable[web.StreamResponse]]


def thing(name: str, version: int) -> Manifest:
    metadata = {"name": name, "namespace": "podium", "uid": f"uid-{name}", "resourceVersion": str(version)}
    return {"apiVersion": "podium.dev/v1", "kind": "Thing", "metadata": metadata, "spec": {}}


async def stream(request: web.Request, *events: tuple[str, Manifest]) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for kind, obj in events:
        await response.write(json.dumps({"type": kind, "object": obj}).encode() + b"\n")
    return response


@asynccontextmanager
async def api_server(handle: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[KubeApi]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    async with KubeApi(Credentials(server=f"http://127.0.0.1:{port}", token="t")) as api:
        yield api
    await runner.cleanup()


@asynccontextmanager
async def running(informer: Informer) -> AsyncIterator[None]:
    task = asyncio.create_task(informer.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_a_key_is_never_worked_on_twice_at_once() -> None:
    async def scenario() -> None:
        queue, key = WorkQueue(), ("podium", "a")
        queue.add(key)
        queue.add(key)
        assert await queue.get() == key
        queue.add(key)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await queue.get()
        queue.done(key)
        assert await queue.get() == key
        queue.done(key)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await queue.get()

    asyncio.run(scenario())


def test_the_earlier_of_two_delays_wins() -> None:
    async def scenario() -> None:
        queue, key = WorkQueue(), ("podium", "a")
        queue.add_after(key, 60)
        queue.add_after(key, 0.01)
        queue.add_after(key, 60)
        async with asyncio.timeout(5):
            assert await queue.get() == key

    asyncio.run(scenario())


def test_an_expired_version_is_listed_again_and_the_difference_handed_out() -> None:
    lists = [[thing("kept", 1), thing("lost", 2)], [thing("kept", 1), thing("new", 7)]]
    watched: list[str] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            items = lists.pop(0)
            return web.json_response({"metadata": {"resourceVersion": str(10 * (2 - len(lists)))}, "items": items})
        watched.append(request.query["resourceVersion"])
        if len(watched) == 1:
            bookmark = {"metadata": {"resourceVersion": "15"}}
            return await stream(request, ("MODIFIED", thing("kept", 12)), ("BOOKMARK", bookmark))
        if len(watched) == 2:
            return await stream(request, ("ERROR", {"code": 410, "reason": "Expired", "message": "too old"}))
        await asyncio.sleep(60)
        raise AssertionError

    async def scenario() -> None:
        async with api_server(handle) as api:
            informer = Informer(api, THINGS, "podium")
            seen: list[tuple[str, str]] = []
            informer.subscribe(lambda o: seen.append((o["metadata"]["name"], o["metadata"]["resourceVersion"])))
            async with running(informer):
                await eventually(lambda: len(watched) == 3)
            assert watched == ["10", "15", "20"], "bookmarks move the version, 410 starts over"
            assert seen == [("kept", "1"), ("lost", "2"), ("kept", "12"), ("lost", "2"), ("kept", "1"), ("new", "7")]
            assert {key_of(o)[1] for o in informer} == {"kept", "new"}

    asyncio.run(scenario())


def test_a_server_that_fails_or_goes_away_is_asked_again() -> None:
    answers = iter([500, 0, 200])

    async def handle(request: web.Request) -> web.StreamResponse:
        if "watch" in request.query:
            await asyncio.sleep(60)
        code = next(answers, 200)
        if code == 0:
            assert request.transport is not None
            request.transport.close()
        if code == 500:
            return web.json_response({"reason": "InternalError", "message": "etcd is down"}, status=500)
        return web.json_response({"metadata": {"resourceVersion": "1"}, "items": [thing("a", 1)]})

    async def scenario() -> None:
        async with api_server(handle) as api:
            informer = Informer(api, THINGS, "podium")
            async with running(informer):
                async with asyncio.timeout(10):
                    await informer.synced.wait()
                assert [key_of(o)[1] for o in informer] == ["a"]

    asyncio.run(scenario())


def test_a_kind_that_a_cluster_may_lack_is_there_as_soon_as_it_is_served() -> None:
    served = asyncio.Event()

    async def handle(request: web.Request) -> web.StreamResponse:
        if not served.is_set():
            return web.json_response({"reason": "NotFound", "message": "no such kind"}, status=404)
        if "watch" in request.query:
            await asyncio.sleep(60)
        return web.json_response({"metadata": {"resourceVersion": "1"}, "items": [thing("a", 1)]})

    async def scenario() -> None:
        async with api_server(handle) as api:
            optional, needed = Informer(api, THINGS, "podium", optional=True), Informer(api, THINGS, "podium")
            async with running(optional), running(needed):
                async with asyncio.timeout(10):
                    await optional.synced.wait()
                assert list(optional) == []
                assert not needed.synced.is_set(), "what must be there is waited for"
                served.set()
                await eventually(lambda: bool(list(optional)))

    asyncio.run(scenario())


def test_a_watch_that_falls_silent_is_given_up_and_what_it_kept_back_is_seen(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As one does whose server, or something on the way to it, has forgotten it; the connection stands."""
    monkeypatch.setattr(client, "WATCH_SILENCE_S", 0.5)
    # What aiohttp watches over is more patient here: of a transport that it has paused it watches over nothing.
    timeout = aiohttp.ClientTimeout
    monkeypatch.setattr(aiohttp, "ClientTimeout", lambda **given: timeout(**(given | {"sock_read": None})))
    items: list[Manifest] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            return web.json_response({"metadata": {"resourceVersion": "1"}, "items": items})
        response = await stream(request, ("BOOKMARK", {"metadata": {"resourceVersion": "2"}}))
        items.append(thing("late", 3))
        await asyncio.sleep(60)
        return response

    async def scenario() -> None:
        async with api_server(handle) as api:
            informer = Informer(api, THINGS, "podium")
            async with running(informer):
                await eventually(lambda: informer.get(("podium", "late")) is not None)

    asyncio.run(scenario())
    assert "the watch was silent" in caplog.text


def test_an_object_larger_than_any_line_buffer_passes() -> None:
    big = thing("big", 2)
    big["spec"]["text"] = "x" * 2_000_000

    async def handle(request: web.Request) -> web.StreamResponse:
        if "watch" in request.query:
            return await stream(request, ("ADDED", big))
        return web.json_response({"metadata": {"resourceVersion": "1"}, "items": []})

    async def scenario() -> None:
        async with api_server(handle) as api:
            informer = Informer(api, THINGS, "podium")
            async with running(informer):
                await eventually(lambda: informer.get(("podium", "big")) is not None)

    asyncio.run(scenario())


class Recorder(Controller):
    """Fails the first times, then wants a pod, then is content."""

    resource = THINGS

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.calls = 0
        self.deleted: list[tuple[str, str]] = []
        self.errors: list[Exception] = [ApiError(409, "Conflict", "stale"), ValueError("a bug"), OSError("reset")]

    async def reconcile(self, owner: Manifest) -> float | None:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        await self.create_child(owner, PODS, {"metadata": {"name": "child"}, "spec": {}})
        return None

    async def gone(self, key: tuple[str, str]) -> None:
        self.deleted.append(key)


class Store:
    """Things and pods, enough of an API for the base class."""

    def __init__(self, pod: Manifest | None = None) -> None:
        self.pod = pod
        self.events: list[Manifest] = []
        self.delete = asyncio.Event()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.method == "POST":
            body = await request.json()
            if body["kind"] == "Event":
                self.events.append(body)
            elif self.pod is not None:
                return web.json_response({"reason": "AlreadyExists", "message": "pod exists"}, status=409)
            else:
                self.pod = body
            return web.json_response(body, status=201)
        if request.path.endswith("/pods/child"):
            return web.json_response(self.pod)
        if "watch" in request.query:
            if "things" in request.path:
                await self.delete.wait()
                self.delete.clear()
                return await stream(request, ("DELETED", thing("a", 9)))
            await asyncio.sleep(60)
        items = [thing("a", 1)] if "things" in request.path else []
        return web.json_response({"metadata": {"resourceVersion": "1"}, "items": items})


async def with_controller(store: Store, check: Callable[[Recorder], Awaitable[None]]) -> None:
    async with api_server(store.handle) as api:
        owners, pods = Informer(api, THINGS, "podium"), Informer(api, PODS, "podium")
        controller = Recorder(api, owners, pods)
        task = asyncio.create_task(controller.run())
        async with running(owners), running(pods):
            await check(controller)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_failures_are_retried_and_the_child_belongs_to_its_owner() -> None:
    async def scenario() -> None:
        store = Store()

        async def check(controller: Recorder) -> None:
            await eventually(lambda: store.pod is not None)
            assert controller.calls == 4
            store.delete.set()
            await eventually(lambda: bool(controller.deleted))
            assert controller.deleted == [("podium", "a")]

        await with_controller(store, check)
        assert store.pod is not None
        assert store.pod["metadata"]["ownerReferences"] == [owner_reference(thing("a", 1))]
        assert (store.pod["kind"], store.pod["metadata"]["namespace"]) == ("Pod", "podium")

    asyncio.run(scenario())


def test_a_child_that_exists_is_adopted_only_if_it_is_the_owners() -> None:
    mine = {"kind": "Pod", "metadata": {"name": "child", "ownerReferences": [owner_reference(thing("a", 1))]}}
    other = {"kind": "Pod", "metadata": {"name": "child"}}

    async def scenario(pod: Manifest) -> tuple[Store, Exception | Manifest]:
        store = Store(pod)
        async with api_server(store.handle) as api:
            controller = Recorder(api, Informer(api, THINGS, "podium"), Informer(api, PODS, "podium"))
            try:
                manifest = {"metadata": {"name": "child"}, "spec": {}}
                return store, await controller.create_child(thing("a", 1), PODS, manifest)
            except NotOwnedError as error:
                return store, error

    store, adopted = asyncio.run(scenario(mine))
    assert adopted == mine
    store, refused = asyncio.run(scenario(other))
    assert isinstance(refused, NotOwnedError)
    assert store.events[0]["reason"] == "ErrResourceExists"


def test_a_kubeconfig_that_cannot_be_used_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(KubeconfigError, match="Start the dev cluster first"):
        Credentials.from_kubeconfig(tmp_path / "missing")
    (tmp_path / "broken").write_text(yaml.safe_dump({"current-context": "x", "contexts": []}))
    with pytest.raises(KubeconfigError, match="Check current-context"):
        Credentials.from_kubeconfig(tmp_path / "broken")


def test_tokens_do_not_show_in_representations() -> None:
    assert "s3cret" not in repr(Credentials(server="http://x", token="s3cret", client_pem=("s3cret", "s3cret")))
