"""A model's files against the hashes of their run."""

from pathlib import Path

import numpy as np
import pytest

from include.jobs.ranking import fingerprints
from include.jobs.ranking.fingerprints import FILE_TAG, WEIGHTS_TAG, TamperedModelError
from include.jobs.ranking.model import Layer, Ranker


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    made.mkdir()
    for name in ("model.json", "weights.npz", "candidates.npz"):
        (made / name).write_text(name)
    return made


def ranker(weight: float) -> Ranker:
    zero, one = np.zeros(1, np.float32), np.ones(1, np.float32)
    return Ranker(("spend",), zero, one, (Layer(np.array([[weight]], np.float32), zero),))


def test_what_the_run_has_made_is_taken(folder: Path) -> None:
    tags = fingerprints.of_files(folder)
    assert tags.keys() == {FILE_TAG + name for name in ("model.json", "weights.npz", "candidates.npz")}
    fingerprints.check_files(folder, {**tags, "seed": "1"}, "r1")


@pytest.mark.parametrize("name", ["model.json", "weights.npz", "candidates.npz", "added.npz"])
def test_a_file_that_was_changed_or_added_is_refused_with_run_file_and_hashes(folder: Path, name: str) -> None:
    tags = fingerprints.of_files(folder)
    (folder / name).write_text("of somebody else")
    with pytest.raises(TamperedModelError, match=f"run r1 .*{name} has SHA-256 [0-9a-f]{{64}}, its tag says") as error:
        fingerprints.check_files(folder, tags, "r1")
    assert tags.get(FILE_TAG + name, "no such file") in str(error.value)


def test_a_file_that_is_gone_is_refused(folder: Path) -> None:
    tags = fingerprints.of_files(folder)
    (folder / "weights.npz").unlink()
    with pytest.raises(TamperedModelError, match=r"weights\.npz has SHA-256 missing"):
        fingerprints.check_files(folder, tags, "r1")


def test_older_runs_are_held_against_their_weights(folder: Path) -> None:
    tags = {WEIGHTS_TAG: fingerprints.of_weights(ranker(1.0))}
    fingerprints.check_files(folder, tags, "r1")
    fingerprints.check_weights(ranker(1.0), tags, "r1")
    with pytest.raises(TamperedModelError, match="its weights"):
        fingerprints.check_weights(ranker(2.0), tags, "r1")


def test_a_run_without_any_hash_is_refused(folder: Path) -> None:
    with pytest.raises(TamperedModelError, match="train it again"):
        fingerprints.check_files(folder, {"seed": "1"}, "r1")


def test_while_files_are_replaced_the_old_and_the_new_ones_are_taken_and_no_others(
    folder: Path, tmp_path: Path
) -> None:
    new = tmp_path / "new"
    new.mkdir()
    for path in folder.iterdir():
        (new / path.name).write_text(path.read_text())
    (new / "candidates.npz").write_text("without a household")
    during = fingerprints.replacing(folder, new, fingerprints.of_files(folder))
    for present in (folder, new):
        fingerprints.check_files(present, during, "r1")
    (new / "candidates.npz").write_text("of somebody else")
    with pytest.raises(TamperedModelError):
        fingerprints.check_files(new, during, "r1")
    assert fingerprints.replacing(new, folder, during) == {}, "what was refused is not trusted by being written anew"
