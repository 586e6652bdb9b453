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

from include.devcluster.core.errors import DevClusterError, gone
from include.devcluster.core.objects import Object, name, namespace

HISTORY = 10_000
"""Changes kept for watches to resume from; an older revision is answered with 410, as after a compaction."""

HISTORY_BYTES = 16 << 20
"""As many bytes of them (as JSON) at most: large objects leave room for fewer changes."""

ChangeType = Literal["ADDED", "MODIFIED", "DELETED"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
    resource TEXT, namespace TEXT, name TEXT, body TEXT NOT NULL, PRIMARY KEY (resource, namespace, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS changes (revision INTEGER PRIMARY KEY, type TEXT, resource TEXT, body TEXT NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Change:
    """One committed change. `previous` is what the object was before, None when it is new (or not known).

    :param size: bytes of the object as JSON.
    """

    revision: int
    type: ChangeType
    resource: str
    object: Object
    previous: Object | None
    size: int


class Subscription:
    """Changes of one resource from a revision on: iterate, or `close` to end it.

    It holds a place in the history and no changes of its own, so that a reader who is slow costs no memory.
    """

    def __init__(self, store: Store, resource: str, since: int) -> None:
        self._store, self._resource = store, resource
        self._seen, self._is_level = since, False
        self._news = asyncio.Event()
        store.listen(self._told)

    def _told(self, change: Change) -> None:
        if change.resource == self._resource:
            self._is_level = False
            self._news.set()
        elif self._is_level:
            self._seen = change.revision

    async def next(self, at_most_s: float) -> Change | None:
        """The next change, or None when none came within so many seconds.

        :raises ApiError: 410 when the history has moved past a reader who is too slow.
        """
        self._news.clear()
        if (change := self._advance()) is not None or at_most_s <= 0:
            return change
        try:
            async with asyncio.timeout(at_most_s):
                await self._news.wait()
        except TimeoutError:
            return None
        return self._advance()

    def _advance(self) -> Change | None:
        change = self._store.following(self._resource, self._seen)
        self._seen = change.revision if change else self._store.revision
        self._is_level = change is None
        return change

    def close(self) -> None:
        """End the subscription."""
        self._store.unlisten(self._told)


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
            self._shrink()
            self._load()
        except sqlite3.Error as error:
            raise DevClusterError(f"{path}: {error}. Remove {folder} to start with an empty cluster.") from error
        path.chmod(0o600)
        self._listeners: list[Callable[[Change], None]] = []

    def _shrink(self) -> None:
        """Give back to the disk what objects of former days have left empty; in between it is used again."""
        (pages,), (free,) = (self._db.execute(f"PRAGMA {what}").fetchone() for what in ("page_count", "freelist_count"))
        if free > pages // 2:
            self._db.execute("VACUUM")

    def _load(self) -> None:
        self._objects: dict[str, dict[tuple[str, str], Object]] = {}
        for resource, space, own, body in self._db.execute("SELECT resource, namespace, name, body FROM objects"):
            self._objects.setdefault(resource, {})[space, own] = json.loads(body)
        self._history: deque[Change] = deque()
        self._history_bytes = self._stale_bytes = self._oldest = self.revision = 0
        last = dict[tuple[str, str, str], Object]()
        for revision, kind, resource, body in self._db.execute("SELECT * FROM changes ORDER BY revision"):
            obj = json.loads(body)
            key = (resource, namespace(obj), name(obj))
            if not self._history:
                self._oldest = revision - 1
            self._remember(Change(revision, kind, resource, obj, last.get(key), len(body)))
            last[key] = obj

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
        self._tell(Change(revision, kind, resource, obj, previous, len(body)))
        return obj

    def remove(self, resource: str, obj: Object) -> Object:
        """Commit the end of an object; the last state is returned with the revision of its deletion."""
        key = (namespace(obj), name(obj))
        previous = self._objects[resource][key]
        revision = self.revision + 1
        last = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(revision)}}
        body = json.dumps(last, separators=(",", ":"))
        with self._transaction():
            self._db.execute("DELETE FROM objects WHERE resource=? AND namespace=? AND name=?", (resource, *key))
            self._record(revision, "DELETED", resource, body)
        del self._objects[resource][key]
        self._tell(Change(revision, "DELETED", resource, last, previous, len(body)))
        return last

    def _transaction(self) -> sqlite3.Connection:
        self._db.execute("BEGIN IMMEDIATE")
        return self._db  # as a context it commits, or rolls back on an exception

    def _record(self, revision: int, kind: ChangeType, resource: str, body: str) -> None:
        self._db.execute("INSERT INTO changes VALUES (?, ?, ?, ?)", (revision, kind, resource, body))
        if self._stale_bytes > HISTORY_BYTES // 4:
            self._db.execute("DELETE FROM changes WHERE revision <= ?", (self._oldest,))
            self._stale_bytes = 0

    def _remember(self, change: Change) -> None:
        self.revision = change.revision
        self._history.append(change)
        self._history_bytes += change.size
        while len(self._history) > HISTORY or (self._history_bytes > HISTORY_BYTES and len(self._history) > 1):
            forgotten = self._history.popleft()
            self._history_bytes -= forgotten.size
            self._stale_bytes += forgotten.size
            self._oldest = forgotten.revision

    def _tell(self, change: Change) -> None:
        self._remember(change)
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
        since = self.revision if since is None else since
        if since < self._oldest:
            raise gone(since, self._oldest)
        return Subscription(self, resource, since)

    def following(self, resource: str, since: int) -> Change | None:
        """The first change of a resource after a revision, None when there is none yet.

        :raises ApiError: 410 when the history no longer reaches back to `since`.
        """
        if since < self._oldest:
            raise gone(since, self._oldest)
        # Every change has a revision of its own: the place of one follows from it.
        for place in range(since - self._oldest, len(self._history)):
            if self._history[place].resource == resource:
                return self._history[place]
        return None

    def close(self) -> None:
        """Let go of the folder."""
        self._db.close()
        self._lock.close()
