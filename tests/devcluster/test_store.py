"""The store: what only shows with many changes, or none."""

from __future__ import annotations

from pathlib import Path

import pytest

from include.devcluster.core import store as module
from include.devcluster.core.errors import ApiError, DevClusterError
from include.devcluster.core.store import Store

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


def test_large_objects_leave_room_for_fewer_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HISTORY_BYTES", 100_000)
    store = Store(tmp_path)
    for _ in range(600):
        store.put("configmaps", {"metadata": {"name": "large", "namespace": "a"}, "data": {"text": "x" * 10_000}})
    store.subscribe("configmaps", 591).close()
    with pytest.raises(ApiError, match="too old resource version"):
        store.subscribe("configmaps", 580)
    store.close()
    # On the disk too: 600 of them would take 6 MB.
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 3_000_000


def test_what_objects_leave_empty_is_given_back_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HISTORY_BYTES", 100_000)
    store = Store(tmp_path)
    for index in range(300):
        store.put("pods", {"metadata": {"name": f"pod-{index}", "namespace": "a"}, "text": "x" * 10_000})
    for obj in store.list("pods"):
        store.remove("pods", {"metadata": {**obj["metadata"], "text": None}})
    for index in range(500):
        put(store, f"pod-{index % 7}")
    store.close()
    before = (tmp_path / "objects.db").stat().st_size
    again = Store(tmp_path)
    assert len(again.list("pods")) == 7
    again.close()
    assert (tmp_path / "objects.db").stat().st_size < before / 2


def test_a_slow_reader_misses_nothing_or_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    monkeypatch.setattr(module, "HISTORY", 100)

    async def read() -> None:
        store = Store(tmp_path)
        slow, idle = store.subscribe("pods"), store.subscribe("secrets")
        for _ in range(100):
            put(store, "pod")
        seen = [await slow.next(0) for _ in range(100)]
        assert [change.revision for change in seen if change] == list(range(1, 101))
        assert await slow.next(0) is None
        assert await idle.next(0) is None
        for _ in range(101):
            put(store, "pod")
        with pytest.raises(ApiError) as caught:
            await slow.next(0)
        assert caught.value.code == 410
        # Who waits for other things is not slow, however much has happened.
        assert await idle.next(0) is None
        store.close()

    asyncio.run(read())


def test_what_happens_to_others_hides_nothing(tmp_path: Path) -> None:
    import asyncio

    async def read() -> None:
        store = Store(tmp_path)
        reader = store.subscribe("pods")
        assert await reader.next(0) is None
        waiting = asyncio.create_task(reader.next(30))
        await asyncio.sleep(0)
        put(store, "pod")
        store.put("secrets", {"metadata": {"name": "other", "namespace": "a"}})
        change = await waiting
        assert change is not None
        assert change.object["metadata"]["name"] == "pod"
        store.close()

    asyncio.run(read())


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
