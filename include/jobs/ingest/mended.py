"""Records that came broken and were put back mended: a second run of their interval keeps them."""

import dataclasses
from collections.abc import Iterator, Mapping

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.table import Table
from pyiceberg.table.refs import MAIN_BRANCH

from include.jobs.ingest.check import Checked
from include.jobs.ingest.topic import Records
from include.jobs.lake.commits import scan_interval
from include.jobs.lake.ledger import IntervalRecord

#: Offsets by partition.
Places = Mapping[int, tuple[int, ...]]


class Mended:
    """The mended rows of an interval, by their place in Kafka."""

    def __init__(self, rows: pa.Table) -> None:
        self._rows = rows.combine_chunks()
        places = zip(rows["kafka_partition"].to_pylist(), rows["kafka_offset"].to_pylist(), strict=True)
        self._index = {place: row for row, place in enumerate(places)}

    @classmethod
    def load(cls, events: Table, record: IntervalRecord | None) -> "Mended":
        """The rows of a closed interval that its record names as mended."""
        scan = scan_interval(events, record.interval.start, MAIN_BRANCH) if record and record.mended else None
        schema = events.schema().as_arrow()
        if scan is None or record is None:
            return cls(schema.empty_table())
        batches = [batch.filter(at_places(batch, record.mended)) for batch in scan.to_arrow_batch_reader()]
        return cls(pa.Table.from_batches(batches, schema=batches[0].schema if batches else schema))

    def put_back(self, records: Records, checked: Checked) -> tuple[Iterator[pa.RecordBatch], Checked]:
        """The mended rows of the batch, and the check without their records.

        These came broken, or as duplicates, which are good.
        """
        if not self._index:
            return iter(()), checked
        numbers = zip(records.partitions.to_pylist(), records.offsets.to_pylist(), strict=True)
        found = {index: row for index, place in enumerate(numbers) if (row := self._index.get(place)) is not None}
        known = {broken.index for broken in checked.broken} | set(checked.good.to_pylist())
        rows = self._rows.take(pa.array([row for index, row in found.items() if index in known], pa.int64()))
        kept = pc.invert(pc.is_in(checked.good, pa.array(list(found), pa.int64())))
        left = dataclasses.replace(
            checked,
            good=checked.good.filter(kept),
            columns={name: column.filter(kept) for name, column in checked.columns.items()},
            broken=[broken for broken in checked.broken if broken.index not in found],
        )
        return iter(rows.to_batches()), left


def at_places(batch: pa.RecordBatch, places: Places) -> pa.Array:
    """Which rows of a batch lie at one of the places."""
    mask = pa.repeat(pa.scalar(False), batch.num_rows)
    for number, offsets in places.items():
        here = pc.equal(batch["kafka_partition"], number)
        mask = pc.or_(mask, pc.and_(here, pc.is_in(batch["kafka_offset"], pa.array(offsets, pa.int64()))))
    return mask
