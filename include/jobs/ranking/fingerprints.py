"""Holds a model's files against the hashes that its run was tagged with when they were made.

Whoever can change a file of a model decides what is recommended to everybody; whoever loads one finds out here.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from include.jobs.ranking.errors import RankingError
from include.jobs.ranking.model import Ranker

#: The tags of a run that name the SHA-256 of each file, e.g. `podium.sha256.weights.npz`.
FILE_TAG = "podium.sha256."
#: The tag that runs had before them: of the weights alone.
WEIGHTS_TAG = "weights_sha256"


class TamperedModelError(RankingError):
    """A model's files are not those that its run has made."""


def of_files(folder: Path) -> dict[str, str]:
    """The tags for the files in a folder."""
    return {FILE_TAG + path.name: _sha256(path) for path in sorted(folder.iterdir()) if path.is_file()}


def of_weights(ranker: Ranker) -> str:
    """A hash of all weights; equal for two trainings of the same inputs."""
    digest = hashlib.sha256()
    for layer in ranker.layers:
        digest.update(layer.kernel.tobytes())
        digest.update(layer.bias.tobytes())
    return digest.hexdigest()


def check_files(folder: Path, tags: Mapping[str, str], run_id: str) -> None:
    """Hold the files against the tags of their run.

    Raises:
        TamperedModelError: a file is another than was tagged, is missing, or was added.
    """
    wanted = {name: value for name, value in tags.items() if name.startswith(FILE_TAG)}
    if not wanted:
        if WEIGHTS_TAG not in tags:
            raise TamperedModelError(
                f"run {run_id} has no tag {FILE_TAG}… that its model could be held against: train it again"
            )
        return
    found = of_files(folder)
    for name in sorted(wanted.keys() | found.keys()):
        _compare(run_id, name.removeprefix(FILE_TAG), found.get(name, "missing"), wanted.get(name, "no such file"))


def replacing(folder: Path, new: Path, tags: Mapping[str, str]) -> dict[str, str]:
    """The tags to set before the files of a run are replaced: they allow the old ones and the new ones.

    Empty when the old files are not those of the tags: what is not trusted does not become so by being written anew.
    """
    found, made = of_files(folder), of_files(new)
    if any(value not in tags.get(name, "").split() for name, value in found.items()):
        return {}
    return {
        name: f"{found[name]} {value}" if found.get(name, value) != value else value for name, value in made.items()
    }


def check_weights(ranker: Ranker, tags: Mapping[str, str], run_id: str) -> None:
    """Hold the weights against the run's tag, where it has one.

    Raises:
        TamperedModelError: they are others.
    """
    if WEIGHTS_TAG in tags:
        _compare(run_id, "weights.npz (its weights)", of_weights(ranker), tags[WEIGHTS_TAG])


def _compare(run_id: str, file: str, found: str, wanted: str) -> None:
    if found not in wanted.split():
        raise TamperedModelError(
            f"the model of run {run_id} is not what the run has made: {file} has SHA-256 {found}, its tag says "
            f"{wanted}. Do not use it: find out who wrote to the store of artifacts, and train it again"
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
