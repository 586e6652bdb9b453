"""The base of every controller: a queue of owners, one reconcile at a time per owner, retries with back-off."""

from __future__ import annotations

import asyncio
import logging
import random
import uuid
from abc import ABC, abstractmethod
from typing import ClassVar

import aiohttp

from include.devcluster.controllers.client import FIELD_MANAGER, ApiError, KubeApi
from include.devcluster.controllers.informer import Informer
from include.devcluster.controllers.objects import (
    EVENTS,
    PODS,
    Manifest,
    Resource,
    controller_of,
    is_controlled_by,
    is_deleting,
    key_of,
    owner_reference,
    shorten,
    to_rfc3339,
    utc_now,
)

log = logging.getLogger(__name__)

Key = tuple[str, str]
WORKERS = 4
FIRST_RETRY_S = 0.05
LAST_RETRY_S = 30.0


class NotOwnedError(Exception):
    """A child's name is taken by an object that this owner does not control."""


class WorkQueue:
    """Keys to look at. A key is never worked on twice at once; one that is added meanwhile comes again after."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[Key] = asyncio.Queue()
        self._dirty: set[Key] = set()
        self._busy: set[Key] = set()
        self._timers: dict[Key, asyncio.TimerHandle] = {}

    def add(self, key: Key) -> None:
        """Add now; a key that waits already is not added twice."""
        if key not in self._dirty:
            self._dirty.add(key)
            if key not in self._busy:
                self._waiting.put_nowait(key)

    def add_after(self, key: Key, seconds: float) -> None:
        """Add later; the earlier of two such requests wins."""
        loop = asyncio.get_running_loop()
        timer = self._timers.get(key)
        if timer is not None:
            if timer.when() <= loop.time() + seconds:
                return
            timer.cancel()
        self._timers[key] = loop.call_later(seconds, self._fire, key)

    async def get(self) -> Key:
        """Wait for a key; :meth:`done` must follow."""
        key = await self._waiting.get()
        self._dirty.discard(key)
        self._busy.add(key)
        return key

    def done(self, key: Key) -> None:
        """The work on a key that :meth:`get` gave has ended."""
        self._busy.discard(key)
        if key in self._dirty:
            self._waiting.put_nowait(key)

    def _fire(self, key: Key) -> None:
        self._timers.pop(key, None)
        self.add(key)


class Controller(ABC):
    """Brings what exists in line with what the objects of one kind ask for.

    Subclasses say what in :meth:`reconcile`. It is level-triggered: it must derive everything from the object, its
    pods and their status, never from which event woke it, and must be safe to repeat at any point.
    """

    resource: ClassVar[Resource]

    def __init__(self, api: KubeApi, owners: Informer, pods: Informer) -> None:
        self.api = api
        self.owners = owners
        self.pods = pods
        self.queue = WorkQueue()
        self._failures: dict[Key, int] = {}
        owners.subscribe(lambda obj: self.queue.add(key_of(obj)))
        pods.subscribe(self._enqueue_owner)

    @abstractmethod
    async def reconcile(self, owner: Manifest) -> float | None:
        """Do what is to be done now. Returns after how many seconds to look again even if nothing changes."""

    async def gone(self, key: Key) -> None:
        """Called when the owner does not exist (any more) or is being deleted; its children go with it."""
        log.debug("%s %s/%s is gone", self.resource.kind, *key)

    async def run(self) -> None:
        """Work until cancelled."""
        await self.owners.synced.wait()
        await self.pods.synced.wait()
        async with asyncio.TaskGroup() as group:
            for _ in range(WORKERS):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            key = await self.queue.get()
            try:
                again = await self._reconcile(key)
            except ApiError as error:
                # A conflict only says that the copy was stale: the watch brings the newer object.
                self._retry(key, error, quiet=error.status == 409)
            except (aiohttp.ClientError, TimeoutError, OSError, NotOwnedError) as error:
                self._retry(key, error)
            except Exception as error:
                log.exception("%s %s/%s: reconcile failed", self.resource.kind, *key)
                self._retry(key, error, quiet=True)
            else:
                self._failures.pop(key, None)
                if again is not None:
                    self.queue.add_after(key, max(0.0, again))
            finally:
                self.queue.done(key)

    async def _reconcile(self, key: Key) -> float | None:
        owner = self.owners.get(key)
        if owner is None or is_deleting(owner):
            await self.gone(key)
            return None
        return await self.reconcile(owner)

    def _retry(self, key: Key, error: Exception, quiet: bool = False) -> None:
        count = self._failures[key] = self._failures.get(key, 0) + 1
        delay = min(LAST_RETRY_S, FIRST_RETRY_S * 2 ** (count - 1)) * random.uniform(0.5, 1.0)
        level = logging.DEBUG if quiet else logging.WARNING
        log.log(level, "%s %s/%s: %s; again in %.1f s", self.resource.kind, *key, error, delay)
        self.queue.add_after(key, delay)

    def _enqueue_owner(self, pod: Manifest) -> None:
        reference = controller_of(pod)
        if (
            reference
            and reference["kind"] == self.resource.kind
            and reference["apiVersion"] == self.resource.api_version
        ):
            self.queue.add((pod["metadata"].get("namespace", ""), reference["name"]))

    def pods_of(self, owner: Manifest) -> list[Manifest]:
        """The pods that the owner controls, by name, as the local copy knows them."""
        return sorted((p for p in self.pods if is_controlled_by(p, owner)), key=lambda p: str(p["metadata"]["name"]))

    async def create_child(self, owner: Manifest, resource: Resource, manifest: Manifest) -> Manifest:
        """Create a child unless it exists. Names are deterministic, so a stale copy cannot make a second one.

        Returns the child as it is in the API: the new one, or the one that was there.
        Raises :class:`NotOwnedError` when the name belongs to somebody else.
        """
        child = self._adopted(owner, resource, manifest)
        try:
            return await self.api.create(resource, child)
        except ApiError as error:
            if error.status != 409:
                raise
            existing = await self.api.get(resource, *key_of(child))
            if is_controlled_by(existing, owner):
                return existing
            message = (
                f'Resource "{child["metadata"]["name"]}" of Kind "{resource.kind}" already exists and is not '
                f"managed by {self.resource.kind} {owner['metadata']['name']}: delete or rename one of them"
            )
            await self.event(owner, "Warning", "ErrResourceExists", message)
            raise NotOwnedError(message) from error

    async def apply_child(self, owner: Manifest, resource: Resource, manifest: Manifest) -> None:
        """Create the child or bring it to this state."""
        await self.api.apply(resource, self._adopted(owner, resource, manifest))

    async def delete_pod(self, pod: Manifest) -> None:
        """Delete this very pod, unless it is being deleted."""
        if not is_deleting(pod):
            await self.api.delete(PODS, *key_of(pod), uid=pod["metadata"]["uid"])

    async def update_status(self, owner: Manifest, status: Manifest) -> None:
        """Write the status if it differs. A conflict (the copy is stale) surfaces as :class:`ApiError` 409."""
        if status != (owner.get("status") or {}):
            await self.api.update_status(self.resource, {**owner, "status": status})

    async def event(self, owner: Manifest, kind: str, reason: str, message: str) -> None:
        """Record an Event ("Normal" or "Warning"). Losing one is no reason to fail a reconcile."""
        namespace, name = key_of(owner)
        log.info("%s %s/%s: %s: %s", self.resource.kind, namespace, name, reason, message)
        now = to_rfc3339(utc_now())
        manifest = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"namespace": namespace, "name": f"{name}.{uuid.uuid4().hex[:16]}"},
            "involvedObject": {
                "apiVersion": self.resource.api_version,
                "kind": self.resource.kind,
                "namespace": namespace,
                "name": name,
                "uid": owner["metadata"]["uid"],
                "resourceVersion": owner["metadata"]["resourceVersion"],
            },
            "type": kind,
            "reason": reason,
            "message": shorten(message),
            "source": {"component": FIELD_MANAGER},
            "reportingComponent": FIELD_MANAGER,
            "reportingInstance": FIELD_MANAGER,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        try:
            await self.api.create(EVENTS, manifest)
        except ApiError as error:
            log.warning("%s %s/%s: event %s was refused: %s", self.resource.kind, namespace, name, reason, error)

    @staticmethod
    def _adopted(owner: Manifest, resource: Resource, manifest: Manifest) -> Manifest:
        metadata = {
            **manifest["metadata"],
            "namespace": owner["metadata"]["namespace"],
            "ownerReferences": [owner_reference(owner)],
        }
        return {**manifest, "apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata}
