"""The ledger as a table holds it: the newest closed intervals as properties, the older ones on pages.

A property an interval, for ever, would make every commit as large as the history. So the commit that closes an
interval folds older ones into pages: Parquet files of a few hundred records, each named by one short property with its
bounds and its hash. A page is written before the commit that names it and never changed; an interval of it that is
closed anew gets a property again, which stands for what the page has, until it is folded into a page that replaces
this one. Pages lie beside the tables, where the removal of a table's orphans does not look: `sweep` is theirs.
"""

import datetime as dt
import hashlib
import io
import json
import uuid
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from include.jobs.lake.ledger import PREFIX, STAGED_PREFIX, Interval, IntervalRecord, Ledger, LedgerError, iso

# Spark's jobs read the ledger too, and have no PyIceberg.
if TYPE_CHECKING:
    from pyiceberg.catalog.sql import SqlCatalog
    from pyiceberg.io import FileIO
    from pyiceberg.table import Table

#: What names a page: this, and the start of its first interval.
PAGE_PREFIX: Final = "podium.intervals."
#: More properties of closed intervals than `FOLD_PAST` are folded, but for the `KEEP` newest intervals.
FOLD_PAST: Final = 64
KEEP: Final = 32
#: Intervals of a page, at most.
PAGE_INTERVALS: Final = 256
#: The folder of pages in the warehouse; there, a table's have a folder by its name.
FOLDER: Final = "ledger"

_MOMENT = "%Y%m%dT%H%M%S.%fZ"
_SCHEMA = pa.schema(
    [
        pa.field("start", pa.timestamp("us", "UTC"), nullable=False),
        pa.field("end", pa.timestamp("us", "UTC"), nullable=False),
        pa.field("record", pa.string(), nullable=False),
    ]
)

#: Gives the content of a file by its address.
Read = Callable[[str], bytes]


@dataclass(frozen=True)
class Page:
    """Some neighbouring closed intervals, in a file at `address`; see `include.jobs.lake.ledger.Page`."""

    first: dt.datetime
    last: dt.datetime
    end: dt.datetime
    count: int
    address: str
    sha256: str
    read: Read

    @property
    def key(self) -> str:
        """The table property that names it."""
        return PAGE_PREFIX + iso(self.first)

    def to_json(self) -> str:
        """The property's value."""
        bounds = {"last": iso(self.last), "end": iso(self.end), "count": self.count}
        return json.dumps(bounds | {"file": self.address, "sha256": self.sha256}, separators=(",", ":"))

    @classmethod
    def from_property(cls, key: str, text: str, read: Read) -> "Page":
        """Parse a property.

        Raises:
            LedgerError: it is not what `to_json` writes.
        """
        try:
            value: dict[str, Any] = json.loads(text)
            first, last, end = (
                dt.datetime.fromisoformat(moment).astimezone(dt.UTC)
                for moment in (key.removeprefix(PAGE_PREFIX), value["last"], value["end"])
            )
            return cls(first, last, end, int(value["count"]), value["file"], value["sha256"], read)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise LedgerError(
                f"table property {key} is damaged ({error}): restore it from an older metadata file of the table"
            ) from error

    @property
    def intervals(self) -> Sequence[Interval]:
        """All of them, in order."""
        return list(self._places)

    def record(self, interval: Interval) -> IntervalRecord:
        """What is recorded of one of them."""
        return IntervalRecord.from_property(PREFIX + iso(interval.start), self.text(interval))

    def text(self, interval: Interval) -> str:
        """The same, as a property would have it."""
        text: str = self._rows["record"][self._places[interval]].as_py()
        return text

    @cached_property
    def _places(self) -> dict[Interval, int]:
        bounds = zip(self._rows["start"].to_pylist(), self._rows["end"].to_pylist(), strict=True)
        return {
            Interval(start.astimezone(dt.UTC), end.astimezone(dt.UTC)): place
            for place, (start, end) in enumerate(bounds)
        }

    @cached_property
    def _rows(self) -> pa.Table:
        try:
            content = self.read(self.address)
        except OSError as error:
            raise self._lost(f"cannot be read ({error})") from error
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise self._lost("is not what was written")
        return pq.read_table(pa.BufferReader(content))

    def _lost(self, what: str) -> LedgerError:
        return LedgerError(
            f"the page of the ledger with the {self.count} intervals from {iso(self.first)} to {iso(self.end)}, "
            f"{self.address}, {what}: restore this file from a backup of the bucket. Without it nobody knows which "
            "offsets these intervals took"
        )


@dataclass(frozen=True, slots=True)
class Folded:
    """What a commit has to do to the properties of a table."""

    setting: dict[str, str]
    removing: set[str]


def closed_intervals(table: "Table") -> Ledger:
    """The closed intervals of a table of events."""
    return closed_in(table.properties, reader(table.io))


def staged_intervals(table: "Table") -> Ledger:
    """The staged intervals of a table of events."""
    return Ledger(_records(table.properties, STAGED_PREFIX))


def taken_intervals(table: "Table") -> Ledger:
    """Closed and staged ones together: the offsets that are spoken for.

    A closed interval that is staged again has the same ranges in both states.
    """
    properties = table.properties
    records = _records(properties, PREFIX) | _records(properties, STAGED_PREFIX)
    return Ledger(records, _pages(properties, reader(table.io)))


def closed_in(properties: Mapping[str, str], read: Read) -> Ledger:
    """The closed intervals by a table's properties; `read` gives the files that these name."""
    return Ledger(_records(properties, PREFIX), _pages(properties, read))


def reader(files: "FileIO") -> Read:
    """Reads whole files of a table."""

    def read(address: str) -> bytes:
        with files.new_input(address).open() as stream:
            content: bytes = stream.read()
            return content

    return read


def folder_of(warehouse: str, identifier: str) -> str:
    """Where the pages of a table lie."""
    return f"{warehouse.rstrip('/')}/{FOLDER}/{identifier}"


def fold(properties: Mapping[str, str], closing: Mapping[str, str], files: "FileIO", folder: str) -> Folded:
    """What sets `closing`, and leaves no more than `FOLD_PAST` closed intervals as properties: pages for the others.

    The pages are written at once. When the commit fails nothing names them, and `sweep` removes them.

    Raises:
        LedgerError: a property or a page that is to be folded is damaged.
    """
    closed = {key: text for key, text in {**properties, **closing}.items() if key.startswith(PREFIX)}
    if len(closed) <= FOLD_PAST:
        return Folded(dict(closing), set())
    older = sorted(_records(closed, PREFIX))[:-KEEP]
    folded = {PREFIX + iso(interval.start): interval for interval in older}
    replaced: set[str] = set()
    written: dict[str, str] = {}
    pages = _pages(properties, reader(files))
    for page, coming in _by_page(older, pages):
        texts = {interval: page.text(interval) for interval in page.intervals} if page else {}
        texts |= {interval: closed[PREFIX + iso(interval.start)] for interval in coming}
        replaced.update([page.key] if page else [])
        for part in _parts(sorted(texts), at_the_end=page is None or page is pages[-1]):
            new = _write({interval: texts[interval] for interval in part}, files, folder)
            written[new.key] = new.to_json()
    setting = {key: text for key, text in closing.items() if key not in folded} | written
    return Folded(setting, {key for key in (folded.keys() | replaced) - written.keys() if key in properties})


def sweep(catalog: "SqlCatalog", identifier: str, files: pafs.FileSystem, older_than: dt.datetime) -> list[str]:
    """Remove the pages of a table that nothing names any more and that are older than `older_than`; their addresses.

    One that was replaced stays as long as one that may have replaced it is younger: somebody may still read by what
    the table was before.
    """
    table = catalog.load_table(identifier)
    named = {page.address.removeprefix("s3://") for page in _pages(table.properties, reader(table.io))}
    folder = folder_of(catalog.properties["warehouse"], identifier).removeprefix("s3://")
    found = files.get_file_info(pafs.FileSelector(folder, allow_not_found=True))
    young = [_bounds(info.base_name) for info in found if info.mtime > older_than]

    def kept(info: pafs.FileInfo) -> bool:
        first, last = _bounds(info.base_name)
        return info.path in named or any(
            first <= other_last and other_first <= last for other_first, other_last in young
        )

    gone = [info.path for info in found if not kept(info)]
    for path in gone:
        files.delete_file(path)
    return gone


def _records(properties: Mapping[str, str], prefix: str) -> dict[Interval, IntervalRecord]:
    records = (IntervalRecord.from_property(k, v) for k, v in properties.items() if k.startswith(prefix))
    return {record.interval: record for record in records}


def _pages(properties: Mapping[str, str], read: Read) -> list[Page]:
    pages = (Page.from_property(k, v, read) for k, v in properties.items() if k.startswith(PAGE_PREFIX))
    return sorted(pages, key=lambda page: page.first)


def _by_page(intervals: Sequence[Interval], pages: Sequence[Page]) -> Iterable[tuple[Page | None, list[Interval]]]:
    """Intervals by the page that they belong to; a new one (None) for those that follow a full last one."""
    firsts = [page.first for page in pages]
    found: defaultdict[int | None, list[Interval]] = defaultdict(list)
    for interval in intervals:
        place = max(0, bisect_right(firsts, interval.start) - 1)
        full = not pages or (place == len(pages) - 1 and pages[place].count >= PAGE_INTERVALS)
        found[None if full and (not pages or interval.start > pages[place].last) else place].append(interval)
    return [(None if place is None else pages[place], coming) for place, coming in found.items()]


def _parts(intervals: Sequence[Interval], *, at_the_end: bool) -> Iterable[Sequence[Interval]]:
    """Intervals as they are spread over pages: full ones where history goes on, else as many on each."""
    pages = -(-len(intervals) // PAGE_INTERVALS)
    size = PAGE_INTERVALS if at_the_end else -(-len(intervals) // pages)
    return (intervals[place : place + size] for place in range(0, len(intervals), size))


def _write(texts: Mapping[Interval, str], files: "FileIO", folder: str) -> Page:
    """Write a page; each has a name of its own, so that it replaces none that somebody reads."""
    intervals = list(texts)
    first, last = intervals[0].start, intervals[-1].start
    rows = {
        "start": [interval.start for interval in intervals],
        "end": [interval.end for interval in intervals],
        "record": list(texts.values()),
    }
    buffer = io.BytesIO()
    pq.write_table(pa.table(rows, schema=_SCHEMA), buffer, compression="zstd", use_dictionary=False)
    content = buffer.getvalue()
    address = f"{folder}/{first:{_MOMENT}}_{last:{_MOMENT}}_{uuid.uuid4()}.parquet"
    with files.new_output(address).create() as stream:
        stream.write(content)
    digest = hashlib.sha256(content).hexdigest()
    return Page(first, last, intervals[-1].end, len(intervals), address, digest, reader(files))


def _bounds(name: str) -> tuple[str, str]:
    """The moments that the name of a page holds; they sort as moments do."""
    first, last, _ = name.split("_", 2)
    return first, last
