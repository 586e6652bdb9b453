"""Leaving out the records of erased households: they are still in the topic, and must not come back from there."""

import dataclasses

import pyarrow as pa
import pyarrow.compute as pc

from include.jobs.ingest.check import Checked
from include.jobs.ingest.topic import Records
from include.jobs.lake.erasures import HOUSEHOLD, Erased


def leave_out(erased: Erased, records: Records, checked: Checked) -> tuple[Checked, int]:
    """A checked batch without the erased households' records, good and broken; also, how many those are.

    In a topic whose contract has no household, only what a broken record calls a household is one: a key is the number
    of something else.
    """
    if not erased:
        return checked, 0
    places = pa.array([broken.index for broken in checked.broken], pa.int64())
    details = pa.array([broken.detail for broken in checked.broken], pa.string())
    named = erased.raw(
        records.keys.take(places), records.values.take(places), details, whole=HOUSEHOLD in checked.columns
    )
    left = dataclasses.replace(
        checked, broken=[broken for broken, gone in zip(checked.broken, named.to_pylist(), strict=True) if not gone]
    )
    if HOUSEHOLD in checked.columns:
        kept = pc.invert(erased.rows(checked.columns[HOUSEHOLD]))
        left = dataclasses.replace(
            left,
            good=checked.good.filter(kept),
            columns={name: column.filter(kept) for name, column in checked.columns.items()},
        )
    gone = len(checked.good) - len(left.good) + len(checked.broken) - len(left.broken)
    return left, gone
