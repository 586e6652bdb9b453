"""Events that came more than once: one of them is taken, the others stand in quarantine as duplicates.

What makes records the same event, how far apart they may lie, and whether the first is taken or the interval refused,
is a decision of the contract (`Duplicates`). First is what another interval has taken already, closed or staged; among
the records of one interval the one with the earliest message time, then the lowest partition and offset. So each event
is in the table once, whatever the order in which intervals run, and a second run of an interval gives the same rows.

Of all records only numbers that stand for keys are held; where two agree, it is the keys themselves that count.
"""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table
from pyiceberg.table.refs import MAIN_BRANCH

from include.jobs.ingest.contract import Contract, Duplicates, Reason
from include.jobs.ingest.keys import Keys, among, numbers_of
from include.jobs.ingest.near import Near, Span, rows_of
from include.jobs.ingest.share import Share, Written, batch_of, origin, per_day
from include.jobs.ingest.topic import Topic
from include.jobs.lake.commits import files_of
from include.jobs.lake.errors import JobError
from include.jobs.lake.intervals import IntervalWriter
from include.jobs.lake.ledger import Interval, OffsetRange

log = logging.getLogger(__name__)

#: Records of a partition are fetched together when no more than so many offsets lie between them.
_GAP: Final = 10_000
_SHOWN: Final = 3
_PLACE: Final = ("interval_start", "kafka_partition", "kafka_offset", "event_time")
#: Columns that are worked with beside those: who was there first, in which file, and what stands for all it says.
_TAKEN, _FILE, _CONTENT = "taken", "file", "content"
_NO_FILE: Final = -1


class DuplicatesError(JobError):
    """Events came more than once, and the contract refuses that."""


@dataclass(frozen=True, slots=True)
class Looked:
    """What an interval's keys were held against: a stage of it is sound as long as nothing came to that."""

    near: Near
    own: Keys
    span: Span

    def check(self, events: Table) -> None:
        """Hold them against what came since.

        Raises:
            TakenMeanwhileError: see `Near.check`.
        """
        self.near.check(events, self.own, self.span)


def settle(
    events: Table, quarantine: Table, topic: Topic, share: Share, written: Written
) -> tuple[Written, Looked | None]:
    """What was written of an interval, with its duplicates in quarantine; and what `stage` is to check.

    Raises:
        DuplicatesError: the contract refuses duplicates; the files are removed.
        JobError: see `Topic.read`; the files are removed.
    """
    decision = share.contract.duplicates
    if decision is None:
        return written, None
    span = Span.of(events, written.accepted, decision.key[0])
    looked = Looked(Near.of(events, share.interval, decision), written.keys, span)
    try:
        lost = _lost(events, share.contract, decision, looked, written)
        if lost is None:
            return written, looked
        if decision.take == "refuse":
            raise _refused(share.interval, share.contract, decision, lost)
        return _moved(events, quarantine, topic, share, written, lost), looked
    except BaseException:
        written.discard(events, quarantine)
        raise


def part(
    events: Table, interval: Interval, contract: Contract, rows: pa.Table, raw: pa.Table
) -> tuple[pa.Table, pa.Table, Looked | None]:
    """Rows that would come to a published interval, without duplicates; of `raw`, the same records, the duplicates.

    What the interval has already comes first. Also, what `stage` is to check.

    Raises:
        DuplicatesError: there are some, and the contract refuses them.
    """
    decision = contract.duplicates
    if decision is None:
        return rows, raw.slice(0, 0), None
    own, columns = Keys(), _columns(contract)
    own.add(numbers_of(rows, decision.key))
    looked = Looked(Near.of(events, interval, decision), own, Span.of(events, [], decision.key[0]))
    published = files_of(events, interval.start, MAIN_BRANCH)
    taken: list[pa.Table] = []
    for numbers in own.parts():
        taken += looked.near.rows(events, numbers, looked.span, columns)
        for file in published:
            taken += rows_of(events, file, decision.key, numbers, columns)
    worked = [_worked(each, contract, decision, taken=True) for each in taken]
    lost = _later(pa.concat_tables([*worked, _worked(rows, contract, decision, taken=False)]), decision)
    if lost is None:
        return rows, raw.slice(0, 0), looked
    if decision.take == "refuse":
        raise _refused(interval, contract, decision, lost)
    numbers = _rows_at(raw["kafka_partition"], raw["kafka_offset"], _by_partition(lost))
    doubles = raw.filter(pa.array(numbers >= 0))
    why = {
        "reason": pa.repeat(pa.scalar(Reason.DUPLICATE.value), doubles.num_rows),
        "detail": lost["detail"].take(pa.array(numbers[numbers >= 0])),
    }
    for name, column in why.items():
        place = doubles.schema.get_field_index(name)
        doubles = doubles.set_column(place, doubles.schema.field(name), column.cast(doubles.schema.field(name).type))
    return rows.filter(pa.array(numbers < 0)), doubles, looked


def _columns(contract: Contract) -> list[str]:
    """The columns by which duplicates are told."""
    return list(dict.fromkeys([*_PLACE, *contract.names]))


def _lost(events: Table, contract: Contract, decision: Duplicates, looked: Looked, written: Written) -> pa.Table | None:
    columns = _columns(contract)
    near: list[pa.Table] = []
    twice: list[np.ndarray] = []
    for numbers in looked.own.parts():
        rows = looked.near.rows(events, numbers, looked.span, columns)
        near += [_worked(each, contract, decision, taken=True) for each in rows]
        twice.append(numbers[1:][numbers[1:] == numbers[:-1]])
    suspected = np.unique(np.concatenate([*twice, *(numbers_of(rows, decision.key) for rows in near)]))
    if not len(suspected):
        return None
    mine = [
        _worked(rows, contract, decision, taken=False, file=number)
        for number, file in enumerate(written.accepted)
        for rows in rows_of(events, file, decision.key, suspected, columns)
    ]
    return _later(pa.concat_tables([*near, *mine]), decision)


def _worked(rows: pa.Table, contract: Contract, decision: Duplicates, *, taken: bool, file: int = _NO_FILE) -> pa.Table:
    """Only the columns that are worked with."""
    count = rows.num_rows
    content = pa.array(numbers_of(rows, contract.names), pa.uint64())
    found = {name: rows[name] for name in dict.fromkeys([*_PLACE, *decision.key])}
    return pa.table(
        found
        | {
            _TAKEN: pa.repeat(pa.scalar(0 if taken else 1, pa.int8()), count),
            _FILE: pa.repeat(pa.scalar(file, pa.int32()), count),
            _CONTENT: content,
        }
    ).replace_schema_metadata(None)


def _later(rows: pa.Table, decision: Duplicates) -> pa.Table | None:
    """The rows that another one comes before, by partition and offset; None when there are none."""
    order = (*decision.key, _TAKEN, "event_time", "kafka_partition", "kafka_offset", "interval_start")
    rows = rows.sort_by([(name, "ascending") for name in order]).combine_chunks()
    same = np.zeros(rows.num_rows, np.bool_)
    same[1:] = True
    for name in decision.key:
        equal = pc.equal(rows[name].slice(1), rows[name].slice(0, max(0, rows.num_rows - 1)))
        same[1:] &= equal.combine_chunks().to_numpy(zero_copy_only=False)
    first = np.maximum.accumulate(np.where(same, 0, np.arange(rows.num_rows)))
    gone = np.flatnonzero(same & (rows[_TAKEN].to_numpy() != 0))
    if not len(gone):
        return None
    lost, firsts = rows.take(pa.array(gone)), rows.take(pa.array(first[gone]))
    alike = pc.if_else(pc.equal(lost[_CONTENT], firsts[_CONTENT]), "the same content", "another content")
    detail = pc.binary_join_element_wise(
        "the event was taken from partition ",
        firsts["kafka_partition"].cast(pa.string()),
        ", offset ",
        firsts["kafka_offset"].cast(pa.string()),
        " of the interval from ",
        pc.strftime(firsts["interval_start"].cast(pa.timestamp("s")), "%Y-%m-%dT%H:%M:%SZ"),
        ", with ",
        alike,
        "",
    )
    lost = lost.append_column("detail", detail)
    return lost.sort_by([("kafka_partition", "ascending"), ("kafka_offset", "ascending")]).combine_chunks()


def _refused(interval: Interval, contract: Contract, decision: Duplicates, lost: pa.Table) -> DuplicatesError:
    shown = "; ".join(
        f"partition {row['kafka_partition']}, offset {row['kafka_offset']}: {row['detail']}"
        for row in lost.slice(0, _SHOWN).to_pylist()
    )
    return DuplicatesError(
        f"interval {interval}: {lost.num_rows} records have the {', '.join(decision.key)} of another one, and "
        f"contract {contract.name} refuses duplicates ({shown}). Nothing was staged. Kafka keeps what it has: to "
        "go on, set `take: first` under `duplicates` of the contract in include/contracts and run the interval again. "
        "One record of each event is taken then, and the others stand in quarantine with the reason `duplicate`"
    )


def _moved(events: Table, quarantine: Table, topic: Topic, share: Share, written: Written, lost: pa.Table) -> Written:
    """What was written, with the duplicates in quarantine and no longer among the events."""
    places = _by_partition(lost)
    log.info("interval %s: %d records are duplicates, the first of each event is taken", share.interval, lost.num_rows)
    raw = _in_quarantine(quarantine, topic, share, lost, places)
    gone, accepted = set(pc.unique(lost[_FILE]).to_pylist()), []
    try:
        for number, file in enumerate(written.accepted):
            accepted += _without(events, share, file, places) if number in gone else [file]
    except BaseException:
        kept = {file.file_path for file in written.accepted}
        for file in [*raw, *(file for file in accepted if file.file_path not in kept)]:
            events.io.delete(file.file_path)
        raise
    for number in gone:
        events.io.delete(written.accepted[number].file_path)
    counts = written.counts
    return replace(
        written,
        counts=replace(counts, accepted=counts.accepted - lost.num_rows, duplicates=counts.duplicates + lost.num_rows),
        days=written.days - Counter(per_day(lost)),
        accepted=accepted,
        quarantined=[*written.quarantined, *raw],
    )


def _without(events: Table, share: Share, file: DataFile, places: Mapping[int, np.ndarray]) -> list[DataFile]:
    """A file's rows in new files, but for those at some places."""
    schema = share.tables.events.arrow_schema
    with (
        events.io.new_input(file.file_path).open() as source,
        IntervalWriter(events, share.interval.start, schema) as writer,
    ):
        for batch in pq.ParquetFile(source).iter_batches():
            left = batch.filter(pa.array(_rows_at(batch["kafka_partition"], batch["kafka_offset"], places) < 0))
            writer.write(batch_of({name: left[name] for name in left.schema.names}, left.num_rows, schema))
    return writer.files


def _in_quarantine(
    quarantine: Table, topic: Topic, share: Share, lost: pa.Table, places: Mapping[int, np.ndarray]
) -> list[DataFile]:
    """The records as they came, fetched from Kafka once more."""
    schema, found = share.tables.quarantine.arrow_schema, np.zeros(lost.num_rows, np.bool_)
    with IntervalWriter(quarantine, share.interval.start, schema) as writer:
        for spans in _spans(places):
            for records in topic.read(spans):
                rows = _rows_at(records.partitions, records.offsets, places)
                here = pa.array(np.flatnonzero(rows >= 0))
                rows = rows[rows >= 0]
                found[rows] = True
                came = {"key": records.keys.take(here), "value": records.values.take(here)}
                columns = origin(records, here, share.interval.start) | came | _why(lost.take(pa.array(rows)), share)
                writer.write(batch_of(columns, len(rows), schema))
        # One that Kafka no longer has was put back by a replay, or compacted in between.
        left = lost.filter(pa.array(~found))
        columns = {name: left[name].combine_chunks() for name in _PLACE} | _why(left, share)
        writer.write(batch_of(columns, left.num_rows, schema))
    return writer.files


def _why(lost: pa.Table, share: Share) -> dict[str, pa.Array]:
    reason, run = (pa.repeat(pa.scalar(text), lost.num_rows) for text in (Reason.DUPLICATE.value, share.run_id))
    return {"reason": reason, "detail": lost["detail"].combine_chunks(), "run_id": run}


def _by_partition(lost: pa.Table) -> dict[int, np.ndarray]:
    """The offsets by partition, ascending, of rows that are sorted by both; beside each the number of its row."""
    partitions, offsets = lost["kafka_partition"].to_numpy(), lost["kafka_offset"].to_numpy()
    return {
        int(number): np.stack([offsets[partitions == number], np.flatnonzero(partitions == number)])
        for number in np.unique(partitions)
    }


def _rows_at(partitions: pa.Array, offsets: pa.Array, places: Mapping[int, np.ndarray]) -> np.ndarray:
    """For each record the number of the row that has its place, -1 for none."""
    rows = np.full(len(offsets), -1, np.int64)
    numbers, values = partitions.to_numpy(), offsets.to_numpy()
    for number, (wanted, row) in places.items():
        here = np.flatnonzero(numbers == number)
        here = here[among(values[here], wanted)]
        rows[here] = row[np.searchsorted(wanted, values[here])]
    return rows


def _spans(places: Mapping[int, np.ndarray]) -> Iterator[dict[int, OffsetRange]]:
    """What to read to have all places: one span of each partition at a time, over gaps that are not worth a stop."""
    spans = {}
    for number, (offsets, _) in places.items():
        cuts = np.flatnonzero(np.diff(offsets) > _GAP) + 1
        spans[number] = [OffsetRange(int(part[0]), int(part[-1]) + 1) for part in np.split(offsets, cuts)]
    for turn in range(max(map(len, spans.values()))):
        yield {number: each[turn] for number, each in spans.items() if turn < len(each)}
