"""The store: what only shows with many changes, or none."""

from __future__ import annotations

from pathlib import Path

import pytest

from include.devcluster import store as module
from include.devcluster.errors import ApiError, DevClusterError
from include.devcluster.store import Store

pytestmark = pytest.mark.dev_only


def put(store: Store, name: str) -> int:
    return int(store.put("pods", {"metadata": {"name": name, "namespace": "a"}})["metadata"]["resourceVersion"])


def test_history_is_bounded_and_says_when_it_is_too_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HISTORY", 10)
    store = Store(tmp_path)
    revisions = [put(store, f"pod-{i}") for i in range(15)]
    assert revisions == list(range(1, 16))
    store.subscribe("pods", 5).close()
    with pytest.raises(ApiError) as caught:
        store.subscribe("pods", 4)
    assert (caught.value.code, caught.value.reason) == (410, "Expired")
    store.close()


async def drain(store: Store, since: int) -> list[tuple[str, int]]:
    subscription = store.subscribe("pods", since)
    seen = []
    while change := await subscription.next(0):
        seen.append((change.type, change.revision))
    subscription.close()
    return seen


def test_a_reopened_store_goes_on_where_it_was(tmp_path: Path) -> None:
    import asyncio

    store = Store(tmp_path)
    put(store, "one")
    put(store, "two")
    put(store, "one")
    store.remove("pods", store.list("pods")[1])
    store.close()
    again = Store(tmp_path)
    assert again.revision == 4
    assert [o["metadata"]["name"] for o in again.list("pods")] == ["one"]
    assert asyncio.run(drain(again, 1)) == [("ADDED", 2), ("MODIFIED", 3), ("DELETED", 4)]
    assert put(again, "three") == 5
    again.close()


def test_a_folder_has_one_owner(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(DevClusterError, match="another dev cluster runs on this folder"):
        Store(tmp_path)
    store.close()
    Store(tmp_path).close()


def test_a_broken_file_is_named_with_the_mend(tmp_path: Path) -> None:
    (tmp_path / "objects.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(DevClusterError, match=r"objects\.db.*Remove .* to start with an empty cluster"):
        Store(tmp_path)
