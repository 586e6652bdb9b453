"""Checkpoints of a training in the lake: one object an epoch, the newest one counts."""

import io
import json
from dataclasses import dataclass, field
from typing import Any
from zipfile import BadZipFile

import numpy as np
from pyarrow.fs import FileSelector, FileSystem, FileType

from include.jobs.ranking.errors import RankingError

_PREFIX = "checkpoints/recommender"


class CheckpointError(RankingError):
    """A checkpoint cannot be read."""


@dataclass(slots=True)
class Progress:
    """Where a training is after some epochs.

    Attributes:
        epoch: epochs done.
        state: weights and optimiser of the last one.
        best_epoch: the one with the best validation, from 1.
        best_recall: its recall.
        best_state: its weights and optimiser.
        history: per epoch its loss, recall and rows a second.
    """

    epoch: int
    state: list[np.ndarray]
    best_epoch: int = 0
    best_recall: float = -1.0
    best_state: list[np.ndarray] = field(default_factory=list)
    history: list[dict[str, float]] = field(default_factory=list)


class CheckpointStore:
    """Checkpoints of one run key, under `<bucket>/checkpoints/recommender/<run key>/`."""

    def __init__(self, filesystem: FileSystem, bucket: str, run_key: str) -> None:
        self._filesystem = filesystem
        self.folder = f"{bucket}/{_PREFIX}/{run_key}"

    def save(self, progress: Progress) -> None:
        """Write the progress as one object (so never half of one), then drop the one before the last."""
        content = io.BytesIO()
        facts = {
            "epoch": progress.epoch,
            "best_epoch": progress.best_epoch,
            "best_recall": progress.best_recall,
            "history": progress.history,
        }
        arrays: dict[str, Any] = {f"state_{i}": value for i, value in enumerate(progress.state)}
        arrays |= {f"best_{i}": value for i, value in enumerate(progress.best_state)}
        np.savez(content, facts=np.frombuffer(json.dumps(facts).encode(), np.uint8), **arrays)
        with self._filesystem.open_output_stream(self._path(progress.epoch)) as stream:
            stream.write(content.getvalue())
        for epoch in self._epochs()[:-2]:
            self._filesystem.delete_file(self._path(epoch))

    def load(self) -> Progress | None:
        """The newest progress, or None when there is none.

        Raises:
            CheckpointError: it is damaged.
        """
        epochs = self._epochs()
        if not epochs:
            return None
        path = self._path(epochs[-1])
        try:
            with self._filesystem.open_input_stream(path) as stream:
                content = io.BytesIO(stream.read())
            with np.load(content, allow_pickle=False) as stored:
                facts = json.loads(stored["facts"].tobytes())
                return Progress(state=_numbered(stored, "state"), best_state=_numbered(stored, "best"), **facts)
        except (OSError, ValueError, KeyError, TypeError, BadZipFile) as error:
            raise CheckpointError(f"checkpoint s3://{path} is damaged ({error}): delete it and run again") from error

    def clear(self) -> None:
        """Remove all checkpoints of this run key."""
        for epoch in self._epochs():
            self._filesystem.delete_file(self._path(epoch))

    def _path(self, epoch: int) -> str:
        return f"{self.folder}/epoch-{epoch:04d}.npz"

    def _epochs(self) -> list[int]:
        found = self._filesystem.get_file_info(FileSelector(self.folder, allow_not_found=True))
        names = [item.base_name for item in found if item.type == FileType.File]
        return sorted(int(name[6:-4]) for name in names if name.startswith("epoch-") and name.endswith(".npz"))


def _numbered(stored: Any, prefix: str) -> list[np.ndarray]:
    count = sum(name.startswith(f"{prefix}_") for name in stored.files)
    return [stored[f"{prefix}_{i}"] for i in range(count)]
