"""Objects on disk, their revisions and the history that watches resume from.

One SQLite file in WAL mode: a change is committed before anybody is told of it, so a killed server forgets nothing that
a client has seen. All objects are also held in memory; the caller must not change what it is given.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from include.devcluster.errors import DevClusterError, gone
from include.devcluster.objects import Object, name, namespace

HISTORY = 2_000
"""Changes kept for watches to resume from; an older revision is answered with 410, as after a compaction."""

ChangeType = Literal["ADDED", "MODIFIED", "DELETED"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
    resource TEXT, namespace TEXT, name TEXT, body TEXT NOT NULL, PRIMARY KEY (resource, namespace, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS changes (revision INTEGER PRIMARY KEY, type TEXT, resource TEXT, body TEXT NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Change:
    """One committed change. `previous` is what the object was before, None when it is new (or not known)."""

    revision: int
    type: ChangeType
    resource: str
    object: Object
    previous: Object | None


class Subscription:
    """Changes of one resource from a revision on: iterate, or `close` to end it."""

    def __init__(self, store: Store, resource: str, backlog: list[Change]) -> None:
        self._store, self._resource = store, resource
        self._queue: asyncio.Queue[Change] = asyncio.Queue()
        for change in backlog:
            self._queue.put_nowait(change)
        store.listen(self._take)

    def _take(self, change: Change) -> None:
        if change.resource == self._resource:
            self._queue.put_nowait(change)

    async def next(self, at_most_s: float) -> Change | None:
        """The next change, or None when none came within so many seconds."""
        if not self._queue.empty():
            return self._queue.get_nowait()
        try:
            async with asyncio.timeout(at_most_s):
                return await self._queue.get()
        except TimeoutError:
            return None

    def close(self) -> None:
        """End the subscription."""
        self._store.unlisten(self._take)


class Store:
    """Objects by resource (`pods`, `mpijobs.kubeflow.org`), namespace and name.

    :param folder: made if missing, readable by the owner alone; locked against a second server.
    :raises DevClusterError: another server holds the folder, or the file cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)
        self._lock = (folder / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DevClusterError(f"{folder}: another dev cluster runs on this folder; stop it first.") from error
        path = folder / "objects.db"
        try:
            self._db = sqlite3.connect(path, isolation_level=None)
            self._db.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;" + _SCHEMA)
            self._load()
        except sqlite3.Error as error:
            raise DevClusterError(f"{path}: {error}. Remove {folder} to start with an empty cluster.") from error
        path.chmod(0o600)
        self._listeners: list[Callable[[Change], None]] = []

    def _load(self) -> None:
        self._objects: dict[str, dict[tuple[str, str], Object]] = {}
        for resource, space, own, body in self._db.execute("SELECT resource, namespace, name, body FROM objects"):
            self._objects.setdefault(resource, {})[space, own] = json.loads(body)
        self._history: deque[Change] = deque(maxlen=HISTORY)
        self.revision, last = 0, dict[tuple[str, str, str], Object]()
        for revision, kind, resource, body in self._db.execute("SELECT * FROM changes ORDER BY revision"):
            obj = json.loads(body)
            key = (resource, namespace(obj), name(obj))
            self._history.append(Change(revision, kind, resource, obj, last.get(key)))
            last[key] = obj
            self.revision = revision
        self._oldest = self._history[0].revision - 1 if self._history else 0

    def get(self, resource: str, space: str, own: str) -> Object | None:
        """One object, which is shared: do not change it."""
        return self._objects.get(resource, {}).get((space, own))

    def list(self, resource: str, space: str | None = None) -> list[Object]:
        """Objects of a resource, in order of namespace and name."""
        found = self._objects.get(resource, {})
        return [found[key] for key in sorted(found) if space is None or key[0] == space]

    def all(self) -> Iterator[tuple[str, Object]]:
        """Every object with its resource."""
        for resource, found in list(self._objects.items()):
            for obj in list(found.values()):
                yield resource, obj

    def put(self, resource: str, obj: Object) -> Object:
        """Commit an object under a new resourceVersion, which is set on it."""
        key = (namespace(obj), name(obj))
        previous = self._objects.get(resource, {}).get(key)
        revision = self.revision + 1
        obj["metadata"]["resourceVersion"] = str(revision)
        body = json.dumps(obj, separators=(",", ":"))
        kind: ChangeType = "MODIFIED" if previous else "ADDED"
        with self._transaction():
            self._db.execute("REPLACE INTO objects VALUES (?, ?, ?, ?)", (resource, *key, body))
            self._record(revision, kind, resource, body)
        self._objects.setdefault(resource, {})[key] = obj
        self._tell(Change(revision, kind, resource, obj, previous))
        return obj

    def remove(self, resource: str, obj: Object) -> Object:
        """Commit the end of an object; the last state is returned with the revision of its deletion."""
        key = (namespace(obj), name(obj))
        previous = self._objects[resource][key]
        revision = self.revision + 1
        last = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(revision)}}
        with self._transaction():
            self._db.execute("DELETE FROM objects WHERE resource=? AND namespace=? AND name=?", (resource, *key))
            self._record(revision, "DELETED", resource, json.dumps(last, separators=(",", ":")))
        del self._objects[resource][key]
        self._tell(Change(revision, "DELETED", resource, last, previous))
        return last

    def _transaction(self) -> sqlite3.Connection:
        self._db.execute("BEGIN IMMEDIATE")
        return self._db  # as a context it commits, or rolls back on an exception

    def _record(self, revision: int, kind: ChangeType, resource: str, body: str) -> None:
        self._db.execute("INSERT INTO changes VALUES (?, ?, ?, ?)", (revision, kind, resource, body))
        if revision % 500 == 0:
            self._db.execute("DELETE FROM changes WHERE revision <= ?", (revision - HISTORY,))

    def _tell(self, change: Change) -> None:
        if len(self._history) == HISTORY:
            self._oldest = self._history[0].revision
        self.revision = change.revision
        self._history.append(change)
        for listener in list(self._listeners):
            listener(change)

    def listen(self, listener: Callable[[Change], None]) -> None:
        """Call `listener` right after each commit; it must neither wait nor write."""
        self._listeners.append(listener)

    def unlisten(self, listener: Callable[[Change], None]) -> None:
        """Call it no longer."""
        self._listeners.remove(listener)

    def subscribe(self, resource: str, since: int | None = None) -> Subscription:
        """Changes of a resource after revision `since` (None: from now on).

        :raises ApiError: 410 when the history no longer reaches back to `since`.
        """
        if since is None:
            return Subscription(self, resource, [])
        if since < self._oldest:
            raise gone(since, self._oldest)
        return Subscription(self, resource, [c for c in self._history if c.revision > since and c.resource == resource])

    def close(self) -> None:
        """Let go of the folder."""
        self._db.close()
        self._lock.close()
