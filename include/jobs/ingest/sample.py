"""The sample of a large interval that is judged: seeded, with what it would miss.

Added are, for each column, a row with its smallest and one with its largest value, and rows that repeat a key which
ought to be unique. So what is said of extremes, of bounds of every value and of uniqueness holds for the whole
interval; means, quantiles and shares are those of the sample.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from include.jobs.ingest.frames import series_of

if TYPE_CHECKING:
    import numpy.typing as npt

Batches = Callable[[], Iterable[pa.RecordBatch]]

_SEED = 7
_HASH = 2_654_435_761
_SCALE = 2**32


def sample(batches: Batches, unique: Sequence[Sequence[str]], rows: int, wanted: int) -> pa.Table:
    """About `wanted` of `rows`, the same in every run, and what they would miss. Reads the batches twice.

    Args:
        unique: names of columns that together are unique.
    """
    overview = _Overview(unique)
    for batch in batches():
        overview.see(batch)
    return pa.Table.from_batches([batch.filter(mask) for batch, mask in overview.choose(batches(), rows, wanted)])


class _Overview:
    """What a look at all rows tells: extremes of each column, and hashes of what is there more than once."""

    def __init__(self, unique: Sequence[Sequence[str]]) -> None:
        self._unique = [list(names) for names in unique]
        self._extremes: defaultdict[str, list[Any]] = defaultdict(list)
        self._hashes: list[list[npt.NDArray[np.uint64]]] = [[] for _ in self._unique]

    def see(self, batch: pa.RecordBatch) -> None:
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            if not pa.types.is_string(column.type) and not pa.types.is_large_string(column.type):
                seen = [*self._extremes[name], *pc.min_max(column).as_py().values()]
                known = [value for value in seen if value is not None]
                self._extremes[name] = [min(known), max(known)] if known else []
        for names, hashes in zip(self._unique, self._hashes, strict=True):
            hashes.append(_hashed(batch, names)[_there(batch, names)])

    def choose(
        self, batches: Iterable[pa.RecordBatch], rows: int, wanted: int
    ) -> Iterable[tuple[pa.RecordBatch, pa.Array]]:
        """Each batch with the rows of it that are judged."""
        repeated = [_repeated(hashes) for hashes in self._hashes]
        # Where everything is repeated, some of it will do.
        room = wanted
        for batch in batches:
            mask = _sampled(batch, wanted / rows).to_numpy(zero_copy_only=False).copy()
            for name, extremes in self._extremes.items():
                self._extremes[name] = [value for value in extremes if not _take(mask, batch[name], value)]
            for names, hashes in zip(self._unique, repeated, strict=True):
                places = np.flatnonzero(np.isin(_hashed(batch, names), hashes) & _there(batch, names))[:room]
                mask[places] = True
                room -= len(places)
            yield batch, pa.array(mask)


def _take(mask: "npt.NDArray[np.bool_]", column: pa.Array, value: Any) -> bool:
    """Take the first row with a value, if there is one."""
    place = pc.index(column, pa.scalar(value, column.type)).as_py()
    if place >= 0:
        mask[place] = True
    return bool(place >= 0)


def _hashed(batch: pa.RecordBatch, names: list[str]) -> "npt.NDArray[np.uint64]":
    # Imported here, because it takes a while: the rest of the image must not pay for it.
    import pandas as pd
    from pandas.util import hash_pandas_object

    # Of one type in every batch, whether something is missing there or not: else the same value has two hashes.
    frame = pd.DataFrame({name: series_of(pa.chunked_array([batch[name]]), nullable=True) for name in names})
    hashes: npt.NDArray[np.uint64] = hash_pandas_object(frame, index=False).to_numpy()
    return hashes


def _there(batch: pa.RecordBatch, names: list[str]) -> "npt.NDArray[np.bool_]":
    """Rows that have something in one of the columns: what is missing repeats nothing."""
    there: npt.NDArray[np.bool_] = np.logical_or.reduce(
        [batch[name].is_valid().to_numpy(zero_copy_only=False) for name in names]
    )
    return there


def _repeated(hashes: "list[npt.NDArray[np.uint64]]") -> "npt.NDArray[np.uint64]":
    """What is there more than once; the list is empty afterwards, for its memory."""
    ordered = np.sort(np.concatenate(hashes)) if hashes else np.zeros(0, np.uint64)
    hashes.clear()
    return np.unique(ordered[1:][ordered[1:] == ordered[:-1]])


def _sampled(batch: pa.RecordBatch, fraction: float) -> pa.Array:
    """A multiplicative hash of a record's place in Kafka decides, so that the choice needs no state."""
    place = pc.add(pc.multiply(batch["kafka_offset"], 64), batch["kafka_partition"].cast(pa.int64()))
    mixed = pc.bit_wise_and(pc.multiply(pc.bit_wise_and(pc.add(place, _SEED), _SCALE - 1), _HASH // 2), _SCALE - 1)
    return pc.less(mixed, int(fraction * _SCALE))
