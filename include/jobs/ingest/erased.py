"""Leaving out the records of erased households: they are still in the topic, and must not come back from there."""

import dataclasses

import pyarrow as pa
import pyarrow.compute as pc

from include.jobs.ingest.check import Checked
from include.jobs.ingest.topic import Records
from include.jobs.lake.erasures import HOUSEHOLD, Erased


def leave_out(erased: Erased, records: Records, checked: Checked) -> tuple[Checked, int]:
    """A checked batch without the erased households' records, good and broken; also, how many those are.

    A topic whose contract has no household has none of their records, and a key of it is the number of something else.
    """
    if not erased or HOUSEHOLD not in checked.columns:
        return checked, 0
    kept = pc.invert(erased.rows(checked.columns[HOUSEHOLD]))
    places = pa.array([broken.index for broken in checked.broken], pa.int64())
    details = pa.array([broken.detail for broken in checked.broken], pa.string())
    named = erased.raw(records.keys.take(places), records.values.take(places), details).to_pylist()
    left = dataclasses.replace(
        checked,
        good=checked.good.filter(kept),
        columns={name: column.filter(kept) for name, column in checked.columns.items()},
        broken=[broken for broken, gone in zip(checked.broken, named, strict=True) if not gone],
    )
    gone = len(checked.good) - len(left.good) + len(checked.broken) - len(left.broken)
    return left, gone
