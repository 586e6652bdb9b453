"""Checkpoints come back as they went, and the newest one counts."""

from pathlib import Path

import numpy as np
import pytest
from pyarrow.fs import LocalFileSystem

from include.jobs.recommender.checkpoint import CheckpointError, CheckpointStore, Progress


class CreatingFileSystem(LocalFileSystem):
    """Makes folders as an object store does: by writing into them."""

    def open_output_stream(self, path: str, *arguments: object, **options: object) -> object:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        return super().open_output_stream(path, *arguments, **options)


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(CreatingFileSystem(), str(tmp_path), "key")


def progress(epoch: int) -> Progress:
    state = [np.full((2, 3), epoch, np.float32), np.array(epoch, np.int64)]
    return Progress(epoch, state, 1, 0.25, [np.ones((2, 3), np.float32)], [{"loss": 1.5}] * epoch)


def test_nothing_saved_nothing_found(store: CheckpointStore) -> None:
    assert store.load() is None


def test_the_newest_comes_back_whole(store: CheckpointStore) -> None:
    for epoch in range(1, 12):
        store.save(progress(epoch))
    found, expected = store.load(), progress(11)
    assert found is not None
    assert (found.epoch, found.best_epoch, found.best_recall) == (11, 1, 0.25)
    assert found.history == expected.history
    for value, wanted in zip([*found.state, *found.best_state], [*expected.state, *expected.best_state], strict=True):
        np.testing.assert_array_equal(value, wanted)
        assert value.dtype == wanted.dtype


def test_old_ones_go_and_the_last_two_stay(store: CheckpointStore) -> None:
    for epoch in range(1, 6):
        store.save(progress(epoch))
    assert sorted(path.name for path in Path(store.folder).iterdir()) == ["epoch-0004.npz", "epoch-0005.npz"]


def test_clearing_leaves_none(store: CheckpointStore) -> None:
    store.save(progress(1))
    store.clear()
    assert store.load() is None


def test_a_damaged_one_says_where_it_is_and_what_to_do(store: CheckpointStore) -> None:
    store.save(progress(1))
    Path(store.folder, "epoch-0001.npz").write_bytes(b"half of a file")
    with pytest.raises(CheckpointError, match=r"epoch-0001.npz is damaged .* delete it and run again"):
        store.load()


def test_keys_do_not_see_one_another(tmp_path: Path, store: CheckpointStore) -> None:
    store.save(progress(1))
    assert CheckpointStore(CreatingFileSystem(), str(tmp_path), "other").load() is None
