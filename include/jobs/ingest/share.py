"""A share of an interval's records: read, checked, and written to files that nobody sees until they are committed."""

import datetime as dt
import logging
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table

from include.jobs.ingest.ahead import ahead
from include.jobs.ingest.check import Checked
from include.jobs.ingest.contract import Contract
from include.jobs.ingest.erased import leave_out
from include.jobs.ingest.framed import Check, checker
from include.jobs.ingest.keys import Keys, numbers_of
from include.jobs.ingest.mended import Mended
from include.jobs.ingest.times import event_times, refuse_times
from include.jobs.ingest.topic import Records, Topic
from include.jobs.lake.erasures import Erased
from include.jobs.lake.intervals import IntervalWriter
from include.jobs.lake.ledger import Counts, Interval, Mark, OffsetRange
from include.jobs.lake.tables import EventTables

log = logging.getLogger(__name__)

_PROGRESS_S = 5.0


@dataclass(frozen=True, slots=True)
class Share:
    """What to read, and where its rows belong.

    Rows that `mended` has stay as they are; households whose pseudonyms are in `erased` are left out. `folder` is for
    what is worked with meanwhile, see `Keys`.
    """

    interval: Interval
    run_id: str
    tables: EventTables
    contract: Contract
    ranges: Mapping[int, OffsetRange]
    mended: Mended
    erased: frozenset[str]
    folder: Path

    def __len__(self) -> int:
        return sum(len(span) for span in self.ranges.values())

    def split(self, parts: int) -> list["Share"]:
        """Shares of one size, each with a stretch of every partition, however unlike these are in size."""
        return [
            replace(self, ranges={number: _stretch(span, part, parts) for number, span in self.ranges.items()})
            for part in range(parts)
        ]


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a share: counts, broken records by reason, good ones by UTC day, and the files of both tables.

    `last` is the last record of each partition. `keys` are the numbers that stand for the keys of good ones (see
    `keys`), where the contract speaks of duplicates.
    """

    counts: Counts
    reasons: Counter[str]
    days: Counter[str]
    accepted: list[DataFile]
    quarantined: list[DataFile]
    last: Mapping[int, Mark]
    keys: Keys

    @classmethod
    def together(cls, parts: Sequence[Self]) -> Self:
        """Several shares as one."""
        numbers = {number for part in parts for number in part.last}
        names = ("read", "accepted", "quarantined", "erased", "duplicates")
        return cls(
            Counts(*(sum(getattr(part.counts, name) for part in parts) for name in names)),
            sum((part.reasons for part in parts), Counter()),
            sum((part.days for part in parts), Counter()),
            [file for part in parts for file in part.accepted],
            [file for part in parts for file in part.quarantined],
            # Each part has read a stretch of every partition, and the marks begin with the offset.
            {number: max(part.last[number] for part in parts if number in part.last) for number in numbers},
            Keys.together([part.keys for part in parts]),
        )

    def discard(self, events: Table, quarantine: Table) -> None:
        """Remove the files: they will not be committed."""
        for table, files in ((events, self.accepted), (quarantine, self.quarantined)):
            for file in files:
                table.io.delete(file.file_path)


def write(events: Table, quarantine: Table, topic: Topic, share: Share) -> Written:
    """Write the share's rows to files of the two tables; none is left when this fails.

    Raises:
        JobError: see `Topic.read`, `Framed.check`, `Erased.of`.
    """
    check = checker(share.contract, topic.registry)
    erased = Erased.of(share.erased)
    start, expected = share.interval.start, len(share)
    reasons: Counter[str] = Counter()
    days: Counter[str] = Counter()
    last: dict[int, Mark] = {}
    key = share.contract.duplicates.key if share.contract.duplicates else ()
    keys = Keys(share.folder)
    read = left_out = 0
    reported = time.monotonic()
    accepted_schema, quarantined_schema = share.tables.events.arrow_schema, share.tables.quarantine.arrow_schema
    with ExitStack() as stack:
        accepted = stack.enter_context(IntervalWriter(events, start, accepted_schema))
        quarantined = stack.enter_context(IntervalWriter(quarantine, start, quarantined_schema))
        for records, checked in ahead(_checked(check, ahead(topic.read(share.ranges)))):
            checked, gone = leave_out(erased, records, checked)
            left_out += gone
            back, checked = share.mended.put_back(records, checked)
            for good in (_accepted(records, checked, start, accepted_schema), *back):
                days.update(per_day(good))
                if key:
                    keys.add(numbers_of(good, key))
                accepted.write(good)
            quarantined.write(_quarantined(records, checked, share, quarantined_schema))
            reasons.update(broken.reason.value for broken in checked.broken)
            read += len(records)
            last.update(records.last)
            if time.monotonic() - reported > _PROGRESS_S:
                reported = time.monotonic()
                log.info("read %d of up to %d records", read, expected)
    counts = Counts(read, accepted.rows, quarantined.rows, left_out)
    return Written(counts, reasons, days, accepted.files, quarantined.files, last, keys)


def _stretch(span: OffsetRange, part: int, parts: int) -> OffsetRange:
    begin, end = (span.start + len(span) * number // parts for number in (part, part + 1))
    return OffsetRange(begin, end)


def _checked(check: Check, batches: Iterator[Records]) -> Iterator[tuple[Records, Checked]]:
    return ((records, refuse_times(records.times, check(records.keys, records.values))) for records in batches)


def _accepted(records: Records, checked: Checked, start: dt.datetime, schema: pa.Schema) -> pa.RecordBatch:
    columns = origin(records, checked.good, start) | checked.columns
    return batch_of(columns, len(checked.good), schema)


def _quarantined(records: Records, checked: Checked, share: Share, schema: pa.Schema) -> pa.RecordBatch:
    places = pa.array([broken.index for broken in checked.broken], pa.int64())
    columns = origin(records, places, share.interval.start) | {
        "key": records.keys.take(places),
        "value": records.values.take(places),
        "reason": pa.array([broken.reason.value for broken in checked.broken], pa.string()),
        "detail": pa.array([broken.detail for broken in checked.broken], pa.string()),
        "run_id": pa.repeat(pa.scalar(share.run_id), len(places)),
    }
    return batch_of(columns, len(places), schema)


def per_day(accepted: pa.RecordBatch | pa.Table) -> dict[str, int]:
    """Rows by UTC day of their event time."""
    counts = pc.value_counts(accepted.column("event_time").cast(pa.date32()))
    return {row["values"].isoformat(): row["counts"] for row in counts.to_pylist()}


def origin(records: Records, places: pa.Array, start: dt.datetime) -> dict[str, pa.Array]:
    """The columns that tell where the records at some places of a batch came from."""

    def take(column: pa.Array) -> pa.Array:
        return column if len(places) == len(column) else column.take(places)

    return {
        "interval_start": pa.repeat(pa.scalar(start, pa.timestamp("us", "UTC")), len(places)),
        "kafka_partition": take(records.partitions),
        "kafka_offset": take(records.offsets),
        "event_time": event_times(take(records.times), start),
    }


def batch_of(columns: Mapping[str, pa.Array], rows: int, schema: pa.Schema) -> pa.RecordBatch:
    """A batch of a schema; columns that it lacks are null."""
    if rows == 0:
        return pa.RecordBatch.from_pylist([], schema=schema)
    # A column that only a newer contract knows stays empty.
    nothing = pa.nulls(rows)
    arrays = [columns.get(item.name, nothing).cast(item.type) for item in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
