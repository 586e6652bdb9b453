"""Records that others leave in the lake's bucket, one JSON object each, to be brought into a table and removed."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from pyarrow.fs import FileSelector

from include.jobs.lake.connections import Connections
from include.jobs.lake.errors import LakeError


class MalformedRecordError(LakeError):
    """An object is no record of its kind."""


class Inbox:
    """The objects `<prefix>/<name>.json` of the lake's bucket.

    Whoever brings them into a table removes a batch only after the commit that holds it; so a record that was brought
    in before a crash is there again, and is to be told by its id.
    """

    def __init__(self, connections: Connections, prefix: str) -> None:
        self._files = connections.filesystem()
        self._folder = f"{urlsplit(connections.warehouse).netloc}/{prefix}"

    def batches(self, size: int) -> Iterator[list[str]]:
        """Paths of the records that are there now, by name, at most `size` at once."""
        found = self._files.get_file_info(FileSelector(self._folder, allow_not_found=True, recursive=False))
        paths = sorted(info.path for info in found if info.path.endswith(".json"))
        for begin in range(0, len(paths), size):
            yield paths[begin : begin + size]

    def read(self, path: str, wanted: frozenset[str]) -> dict[str, Any]:
        """A record with exactly the wanted fields.

        Raises:
            MalformedRecordError: it is no JSON object, or lacks some.
        """
        with self._files.open_input_stream(path) as stream:
            text = stream.read()
        try:
            record = json.loads(text)
            if not isinstance(record, dict):
                raise ValueError("it is no JSON object")
            if missing := wanted - record.keys():
                raise ValueError(f"it lacks {', '.join(sorted(missing))}")
        except ValueError as error:
            raise malformed(path, error) from error
        return {name: record[name] for name in sorted(wanted)}

    def remove(self, paths: list[str]) -> None:
        """Remove records."""
        for path in paths:
            self._files.delete_file(path)


def malformed(path: str, error: Exception) -> MalformedRecordError:
    """The error for an object that is no record."""
    return MalformedRecordError(f"s3://{path} is no record ({error}): correct it or remove it, then run this again")
