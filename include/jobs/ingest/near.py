"""The keys of intervals nearby: read from the key's columns of their files, and of no other interval.

Rows themselves are read only where the numbers that stand for keys (`keys`) agree.
"""

import datetime as dt
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.conversions import from_bytes
from pyiceberg.expressions import And, GreaterThanOrEqual, LessThan
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table
from pyiceberg.table.refs import MAIN_BRANCH

from include.jobs.ingest.contract import Duplicates
from include.jobs.ingest.keys import Keys, Numbers, among, numbers_of
from include.jobs.lake.commits import STAGING
from include.jobs.lake.errors import JobError
from include.jobs.lake.ledger import Interval
from include.jobs.lake.pages import staged_intervals, taken_intervals

#: Files that are read at the same time: it is the object store that is waited for.
_READERS: Final = 8
_BRANCHES: Final = (MAIN_BRANCH, STAGING)
_INSTANT: Final = dt.timedelta(microseconds=1)
#: What the filter's text can hold.
_FIRST: Final = dt.datetime.min.replace(tzinfo=dt.UTC) + _INSTANT
_LAST: Final = dt.datetime.max.replace(tzinfo=dt.UTC) - _INSTANT
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class TakenMeanwhileError(JobError):
    """Another interval was staged or published meanwhile, and has events of this one."""


@dataclass(frozen=True, slots=True)
class Near:
    """The files of other intervals that may hold the same events, and the snapshots of both branches that have them."""

    interval: Interval
    decision: Duplicates
    files: tuple[DataFile, ...]
    snapshots: tuple[int | None, ...]

    @classmethod
    def of(cls, events: Table, interval: Interval, decision: Duplicates) -> "Near":
        """Those of the intervals that lie within `look_back`, before and after; of a staged one what is staged.

        What is staged counts as taken, however it will be judged, as its offsets do.
        """
        snapshots = _snapshots(events)
        if not decision.look_back:
            return cls(interval, decision, (), snapshots)
        rows = And(
            GreaterThanOrEqual("interval_start", _first_within(events, interval, decision.look_back).isoformat()),
            LessThan("interval_start", _moved(interval.end, decision.look_back).isoformat()),
        )
        published, waiting = (
            [] if number is None else [task.file for task in events.scan(rows, snapshot_id=number).plan_files()]
            for number in snapshots
        )
        own = _micros(interval.start)
        staged = {_micros(each.start) for each in staged_intervals(events).intervals()}
        files = [*waiting, *(file for file in published if file.partition[0] not in staged)]
        return cls(interval, decision, tuple(file for file in files if file.partition[0] != own), snapshots)

    def rows(self, events: Table, own: Numbers, span: "Span", columns: Sequence[str]) -> list[pa.Table]:
        """The rows whose keys have one of the numbers `own`, which are sorted; `span` is that of these keys."""
        files = [file for file in self.files if span.meets(file)]
        with ThreadPoolExecutor(_READERS) as pool:
            found = pool.map(lambda file: list(rows_of(events, file, self.decision.key, own, columns)), files)
            return [rows for each in found for rows in each]

    def check(self, events: Table, own: Keys, span: "Span") -> None:
        """Hold what was staged or published since against one's own keys.

        Raises:
            TakenMeanwhileError: it has some of them, as it seems: find the duplicates again.
        """
        if _snapshots(events) == self.snapshots:
            return
        known, now = {file.file_path for file in self.files}, Near.of(events, self.interval, self.decision)
        new = tuple(file for file in now.files if file.file_path not in known)
        came = Near(self.interval, self.decision, new, now.snapshots)
        if new and any(came.rows(events, part, span, self.decision.key) for part in own.parts()):
            raise TakenMeanwhileError(
                f"interval {self.interval}: other intervals with some of its events were staged while it was read. Run "
                "it again, when fewer intervals run at once"
            )


@dataclass(frozen=True, slots=True)
class Span:
    """The smallest and the largest value of the key's first column, as the statistics of files tell; None: unknown."""

    low: object
    high: object
    field_id: int
    kind: object

    @classmethod
    def of(cls, events: Table, files: Sequence[DataFile], name: str) -> "Span":
        """That of some files together."""
        column = events.schema().find_field(name)
        bounds = [_bounds(file, column.field_id, column.field_type) for file in files]
        if not bounds or any(low is None or high is None for low, high in bounds):
            return cls(None, None, column.field_id, column.field_type)
        lows, highs = zip(*bounds, strict=True)
        return cls(min(lows), max(highs), column.field_id, column.field_type)

    def meets(self, file: DataFile) -> bool:
        """Whether a file may have a key of the span."""
        low, high = _bounds(file, self.field_id, self.kind)
        if None in (low, high, self.low, self.high):
            return True
        return bool(low <= self.high and self.low <= high)  # type: ignore[operator]


def rows_of(
    events: Table, file: DataFile, key: Sequence[str], wanted: Numbers, columns: Sequence[str]
) -> Iterator[pa.Table]:
    """The rows of a file whose keys have one of the wanted numbers, which are sorted; those `columns` that it has."""
    with events.io.new_input(file.file_path).open() as source:
        parquet = pq.ParquetFile(source)
        names = set(parquet.schema_arrow.names)
        if not names.issuperset(key):
            return
        for group in range(parquet.num_row_groups):
            mask = among(numbers_of(parquet.read_row_group(group, list(key)), key), wanted)
            if mask.any():
                rows = parquet.read_row_group(group, [name for name in columns if name in names])
                yield rows.filter(pa.array(mask))


def _snapshots(events: Table) -> tuple[int | None, ...]:
    found = (events.snapshot_by_name(branch) for branch in _BRANCHES)
    return tuple(snapshot.snapshot_id if snapshot else None for snapshot in found)


def _first_within(events: Table, interval: Interval, look_back: dt.timedelta) -> dt.datetime:
    """Where the first interval may start that ends within the look back: where the one before it ends."""
    begin = _moved(interval.start, -look_back)
    before = taken_intervals(events).before(Interval(begin, begin + _INSTANT))
    return before.interval.end if before else _FIRST


def _moved(moment: dt.datetime, by: dt.timedelta) -> dt.datetime:
    try:
        return moment + by
    except OverflowError:
        return _LAST if by > dt.timedelta() else _FIRST


def _micros(moment: dt.datetime) -> int:
    return (moment - _EPOCH) // _INSTANT


def _bounds(file: DataFile, field_id: int, kind: object) -> tuple[object, object]:
    low, high = ((bounds or {}).get(field_id) for bounds in (file.lower_bounds, file.upper_bounds))
    return tuple(None if bound is None else from_bytes(kind, bound) for bound in (low, high))  # type: ignore[return-value]
