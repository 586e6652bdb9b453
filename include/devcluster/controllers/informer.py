"""A local copy of one kind's objects, kept true by list and watch."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterator

import aiohttp

from include.devcluster.controllers.client import ApiError, GoneError, KubeApi
from include.devcluster.controllers.objects import Manifest, Resource, key_of

log = logging.getLogger(__name__)

WATCH_SECONDS = 300
FIRST_RETRY_S = 0.1
LAST_RETRY_S = 5.0

Handler = Callable[[Manifest], None]


class Informer:
    """Lists, then watches, for ever; after 410, or a connection that is broken or silent, it lists again and hands out
    the difference.

    Handlers get the object that was added, changed or removed, and run in the event loop, after the copy changed.
    Objects in the copy are shared: never change them.
    """

    def __init__(self, api: KubeApi, resource: Resource, namespace: str, *, optional: bool = False) -> None:
        """A copy of one namespace's objects.

        :param optional: a cluster may do without this kind, or keep it from us; then there are none, until it has it.
        """
        self.resource = resource
        self.synced = asyncio.Event()
        self._optional = optional
        self._api = api
        self._namespace = namespace
        self._objects: dict[tuple[str, str], Manifest] = {}
        self._handlers: list[Handler] = []

    def __iter__(self) -> Iterator[Manifest]:
        return iter(list(self._objects.values()))

    def get(self, key: tuple[str, str]) -> Manifest | None:
        """One object, or ``None`` when there is none."""
        return self._objects.get(key)

    def subscribe(self, handler: Handler) -> None:
        """Have ``handler`` called for each change from now on."""
        self._handlers.append(handler)

    async def run(self) -> None:
        """Keep the copy true until cancelled."""
        failures = 0
        while True:
            try:
                version = await self._list()
                if failures:
                    log.info("%s: connected again", self.resource.plural)
                failures = 0
                while True:
                    version = await self._watch(version)
                    # A server that ends watches at once must not be asked without a pause.
                    await asyncio.sleep(FIRST_RETRY_S)
            except GoneError:
                log.info("%s: resourceVersion has expired, listing again", self.resource.plural)
            except (ApiError, aiohttp.ClientError, TimeoutError, OSError) as error:
                if self._optional and isinstance(error, ApiError) and error.status in (403, 404):
                    self._replace({})
                elif not failures:
                    log.warning("%s: list and watch broke (%s), trying again", self.resource.plural, error)
                delay = min(LAST_RETRY_S, FIRST_RETRY_S * 2**failures)
                failures += 1
                await asyncio.sleep(delay * random.uniform(0.5, 1.0))

    async def _list(self) -> str:
        answer = await self._api.list(self.resource, self._namespace)
        # Items of a list carry neither apiVersion nor kind; the rest of the code relies on both.
        typed = {"apiVersion": self.resource.api_version, "kind": self.resource.kind}
        self._replace({key_of(item): {**typed, **item} for item in answer["items"]})
        return str(answer["metadata"]["resourceVersion"])

    def _replace(self, fresh: dict[tuple[str, str], Manifest]) -> None:
        gone = [obj for key, obj in self._objects.items() if key not in fresh]
        changed = [obj for key, obj in fresh.items() if _version(self._objects.get(key)) != _version(obj)]
        self._objects = fresh
        self.synced.set()
        for obj in gone + changed:
            self._notify(obj)

    async def _watch(self, version: str) -> str:
        async for event in self._api.watch(self.resource, self._namespace, version, WATCH_SECONDS):
            obj = event["object"]
            version = _version(obj)
            if event["type"] == "BOOKMARK":
                continue
            if event["type"] == "DELETED":
                self._objects.pop(key_of(obj), None)
            else:
                self._objects[key_of(obj)] = obj
            self._notify(obj)
        return version

    def _notify(self, obj: Manifest) -> None:
        for handler in self._handlers:
            handler(obj)


def _version(obj: Manifest | None) -> str:
    return str(obj["metadata"]["resourceVersion"]) if obj else ""
