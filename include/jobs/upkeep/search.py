"""Searching files for a household, as proof that it is gone: by what they hold, not by what a catalog says of them.

Nothing of what erases is used here. What a file is, its first bytes tell.
"""

import io
import json
import logging
import re
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import fastavro
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from include.jobs.upkeep.eyes import Eyes, Seen

#: The names of columns, fields and arrays that hold households.
_OURS: Final = re.compile(r".*household[\W_]*(s|ids?|keys?|no|nr|num|number)?", re.IGNORECASE | re.DOTALL)
#: The columns of raw records.
_RAW: Final = frozenset({"key", "value"})
_CHUNK: Final = 32 * 1024 * 1024
_OVERLAP: Final = 4096
#: Files that nobody can search for a number, by how they begin.
_IMAGES: Final = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"%PDF")
#: Blobs of statistics that hold no values, only hashes of them.
_SKETCHES: Final = frozenset({"apache-datasketches-theta-v1"})
#: Places that are named of each kind.
_NAMED: Final = 20

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Search:
    """What was searched for a household, and what came of it.

    Attributes:
        eyes: for the household.
        places: files, records and texts searched, by kind.
        left: how often the household is in a place.
        chance: how often its digits are in a place where they may as well be something else's.
        unread: the places that nobody understood, by why.
    """

    eyes: Eyes
    places: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)
    chance: Counter[str] = field(default_factory=Counter)
    unread: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def note(self, place: str, seen: Seen, times: int = 1) -> None:
        """What was seen in a place."""
        if seen.found:
            self.left[place] += times
        if seen.chance:
            self.chance[place] += times
        if seen.unread:
            self.unread[seen.unread][place] += times

    def bucket(self, files: pafs.FileSystem, bucket: str, *, skip: str = "", others: Sequence[str] = ()) -> None:
        """Search every object of a bucket.

        Args:
            skip: the path of the one that says who is searched for.
            others: folders with raw records that are of something else than households.
        """
        for info in files.get_file_info(pafs.FileSelector(bucket, recursive=True)):
            if info.type == pafs.FileType.File and info.path != skip:
                with files.open_input_file(info.path) as source:
                    self.file(f"s3://{info.path}", source, whole=not info.path.startswith(tuple(others)))

    def file(self, place: str, source: pa.NativeFile, *, whole: bool = True) -> None:
        """Search a file; one that is damaged is named among what was not understood."""
        self.places["files"] += 1
        begin = source.read(8)
        source.seek(0)
        try:
            if begin.startswith(b"PAR1"):
                self._parquet(place, source, whole)
            elif begin.startswith(b"Obj\x01"):
                self._avro(place, source)
            elif begin.startswith(b"PFA1"):
                self._statistics(place, source.read())
            elif begin.startswith((b"PK\x03\x04", b"PK\x05\x06")):
                self._archive(place, source.read())
            elif begin.startswith(b"\x93NUMPY"):
                self._array(place, place, source.read())
            elif begin.startswith(_IMAGES):
                self.note(place, Seen(unread="images"))
            else:
                self._bytes(place, source)
        # Any library may fail in its own way on a damaged file, and the other files are still to be searched.
        except Exception as error:
            log.warning("%s cannot be read: %s: %s", place, type(error).__name__, error)
            self.note(place, Seen(unread="damaged files"))

    def record(self, place: str, key: bytes | None, value: bytes | None, *, whole: bool) -> bool:
        """Search a raw record; whether the household is in it."""
        self.places["records"] += 1
        seen = self.eyes.look(key, whole=whole) | self.eyes.look(value, whole=whole)
        self.note(place, seen)
        return seen.found

    def _parquet(self, place: str, source: pa.NativeFile, whole: bool) -> None:
        parquet = pq.ParquetFile(source)
        self.places["rows"] += parquet.metadata.num_rows
        raw = set(parquet.schema_arrow.names) >= _RAW
        for batch in parquet.iter_batches():
            for name, column in zip(batch.schema.names, batch.columns, strict=True):
                for path, leaf in _leaves(name, column):
                    self._column(place, path, leaf, raw and whole)

    def _column(self, place: str, name: str, column: pa.Array, whole: bool) -> None:
        kind, ours = column.type, _OURS.fullmatch(name) is not None
        if pa.types.is_dictionary(kind):
            column = column.dictionary_decode()
            kind = column.type
        if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            if ours and (count := _equal(column, self.eyes.household_id)):
                self.note(place, Seen(found=True), count)
            return
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            if not ours:
                # A text of a sound row: only where the digits stand in it.
                column = column.filter(pc.match_substring(column, str(self.eyes.household_id)))
            column = column.cast(pa.large_binary())
        elif not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)):
            return
        for item in pc.value_counts(column):
            seen = self.eyes.look(item["values"].as_py(), whole=ours or whole)
            self.note(place, seen, item["counts"].as_py())

    def _avro(self, place: str, source: pa.NativeFile) -> None:
        reader = fastavro.reader(io.BytesIO(source.read()))
        names = {item["id"]: item["name"] for item in json.loads(reader.metadata.get("schema", "{}")).get("fields", ())}
        for record in reader:
            # The smallest and the largest value of a file that was removed stay in a manifest for a while.
            bounds = record.get("data_file") or {} if isinstance(record, dict) and names else {}
            for side in ("lower_bounds", "upper_bounds"):
                for bound in bounds.pop(side, None) or ():
                    ours = _OURS.fullmatch(names.get(bound["key"], "")) is not None
                    number = bound["value"] == self.eyes.household_id.to_bytes(8, "little")
                    self.note(place, Seen(chance=True) if ours and number else Seen())
            self._tree(place, "", record)

    def _tree(self, place: str, name: str, item: Any) -> None:
        if isinstance(item, dict):
            for inner, value in item.items():
                self._tree(place, inner, value)
        elif isinstance(item, list):
            for value in item:
                self._tree(place, name, value)
        elif isinstance(item, (int, float)):
            if item == self.eyes.household_id and _OURS.fullmatch(name):
                self.note(place, Seen(found=True))
        elif isinstance(item, (str, bytes)):
            data = item.encode() if isinstance(item, str) else item
            self.note(place, self.eyes.look(data, whole=_OURS.fullmatch(name) is not None))

    def _statistics(self, place: str, data: bytes) -> None:
        """A Puffin file: Apache Iceberg's format of statistics."""
        size = int.from_bytes(data[-12:-8], "little")
        footer = json.loads(data[-12 - size : -12])
        if unknown := {blob["type"] for blob in footer["blobs"]} - _SKETCHES:
            self.note(place, Seen(unread=f"statistics of type {', '.join(sorted(unknown))}"))

    def _archive(self, place: str, data: bytes) -> None:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for name in archive.namelist():
                content = archive.read(name)
                if content.startswith(b"\x93NUMPY"):
                    self._array(place, name.removesuffix(".npy"), content)
                else:
                    with pa.BufferReader(content) as source:
                        self.file(f"{place}#{name}", source)

    def _array(self, place: str, name: str, content: bytes) -> None:
        array = np.load(io.BytesIO(content), allow_pickle=False)
        if array.dtype.kind == "u" and array.dtype.itemsize == 1:
            self.note(place, self.eyes.look(array.tobytes()))
        elif array.dtype.kind in "iuf":
            if _OURS.fullmatch(name) and (count := int((array == self.eyes.household_id).sum())):
                self.note(place, Seen(found=True), count)
        else:
            for item in array.ravel().tolist():
                self._tree(place, name, item)

    def _bytes(self, place: str, source: pa.NativeFile) -> None:
        before = b""
        while chunk := source.read(_CHUNK):
            # What lies across two chunks is seen in the second.
            self.note(place, self.eyes.look(before + chunk))
            before = chunk[-_OVERLAP:]

    def report(self) -> dict[str, Any]:
        """What was searched, and what came of it, as JSON."""
        return {
            "searched": dict(sorted(self.places.items())),
            "left": dict(sorted(self.left.items())),
            "chance": dict(sorted(self.chance.items())),
            "not_understood": {
                why: {"times": places.total(), "places": sorted(places)[:_NAMED], "more": max(0, len(places) - _NAMED)}
                for why, places in sorted(self.unread.items())
            },
        }


def _equal(column: pa.Array, number: int) -> int:
    """How many values are a number; none where their type has no such number."""
    try:
        wanted = pa.scalar(number).cast(column.type)
    except pa.ArrowInvalid:
        return 0
    return int(pc.sum(pc.equal(column, wanted)).as_py() or 0)


def _leaves(name: str, column: pa.Array) -> Iterator[tuple[str, pa.Array]]:
    """The columns of values in a column, whatever is nested in it; the last name that is not general counts."""
    kind = column.type
    if pa.types.is_struct(kind):
        for item, inner in zip(kind, column.flatten(), strict=True):
            yield from _leaves(name if item.name in ("id", "value", "element") else item.name, inner)
    elif pa.types.is_map(kind):
        yield from _leaves(name, column.keys)
        yield from _leaves(name, column.items)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        yield from _leaves(name, column.flatten())
    else:
        yield name, column
