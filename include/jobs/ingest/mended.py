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
        """The mended rows of the batch's broken records, and the check without these."""
        if not self._index:
            return iter(()), checked
        found = {
            broken.index: self._index.get((partition.as_py(), offset.as_py()))
            for broken in checked.broken
            for partition, offset in [(records.partitions[broken.index], records.offsets[broken.index])]
        }
        rows = self._rows.take(pa.array([row for row in found.values() if row is not None], pa.int64()))
        left = [broken for broken in checked.broken if found[broken.index] is None]
        return iter(rows.to_batches()), dataclasses.replace(checked, broken=left)


def at_places(batch: pa.RecordBatch, places: Places) -> pa.Array:
    """Which rows of a batch lie at one of the places."""
    mask = pa.repeat(pa.scalar(False), batch.num_rows)
    for number, offsets in places.items():
        here = pc.equal(batch["kafka_partition"], number)
        mask = pc.or_(mask, pc.and_(here, pc.is_in(batch["kafka_offset"], pa.array(offsets, pa.int64()))))
    return mask
