"""Numbers that stand for the keys of records: a whole column at once, 8 bytes a record however long a key is.

Equal keys have equal numbers. Unequal ones nearly never have: about one pair among six thousand million records. Who
goes by them compares the keys themselves before anything follows from it.
"""

import uuid
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final, Self

import numpy as np
import pyarrow as pa

#: Odd numbers without a pattern in their bits: the fractions of the golden ratio, and of the roots of 2 and 3.
_GOLDEN, _ROOT_2, _ROOT_3 = (
    np.uint64(number) for number in (0x9E3779B97F4A7C15, 0x6A09E667F3BCC909, 0xBB67AE8584CAA73B)
)
_HALF, _THIRD = np.uint64(32), np.uint64(29)
_WORD = 8
#: For each number of bytes of a word, the bits of these.
_BITS = np.array([(1 << 8 * size) - 1 for size in range(_WORD + 1)], np.uint64)

#: So many numbers are held in memory, and so many given out at a time: 8 and 32 MB.
_HELD: Final = 1_000_000
_PART: Final = 4_000_000

Numbers = np.ndarray


class Keys:
    """The numbers of the records of an interval. What is too much for memory waits in files of `folder`, if given.

    Another process that sees the folder can go on with it. Whoever made the folder takes it away.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._held: list[Numbers] = []
        self._runs: list[Path] = []
        self._count = self._held_count = 0

    @classmethod
    def together(cls, several: Sequence[Self]) -> Self:
        """Those of several in one."""
        whole = cls(several[0]._folder)
        for each in several:
            whole._runs += each._runs
            whole._count += each._count - each._held_count
            for numbers in each._held:
                whole.add(numbers)
        return whole

    def __len__(self) -> int:
        return self._count

    def add(self, numbers: Numbers) -> None:
        """Take some more, in any order."""
        self._held.append(numbers)
        self._count += len(numbers)
        self._held_count += len(numbers)
        if self._folder is not None and self._held_count >= _HELD:
            path = self._folder / f"{uuid.uuid4()}.keys"
            run = np.concatenate(self._held)
            run.sort()
            run.tofile(path)
            self._runs.append(path)
            self._held, self._held_count = [], 0

    def parts(self) -> Iterator[Numbers]:
        """All of them, as often as they were given: ascending, and equal ones in one part."""
        count = max(1, -(-self._count // _PART))
        bounds = [(1 << 64) * place // count for place in range(count + 1)]
        for begin, end in pairwise(bounds):
            first, last = np.uint64(begin), np.uint64(end - 1)
            found = [numbers[(numbers >= first) & (numbers <= last)] for numbers in self._held]
            for path in self._runs:
                run = np.memmap(path, np.uint64, "r")
                found.append(np.array(run[np.searchsorted(run, first) : np.searchsorted(run, last, "right")]))
            part: Numbers = np.concatenate([np.zeros(0, np.uint64), *found])
            part.sort()
            yield part


def numbers_of(rows: pa.RecordBatch | pa.Table, names: Sequence[str]) -> Numbers:
    """A number (uint64) for each row, by the columns `names`; a column that is not there is null."""
    total = np.zeros(rows.num_rows, np.uint64)
    for name in names:
        if name in rows.schema.names:
            column = rows[name]
            array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
            own = _of_texts(array) if _is_text(array.type) else _of_fixed(array)
            if array.null_count:
                own[array.is_null().to_numpy(zero_copy_only=False)] = 0
        else:
            own = np.zeros(rows.num_rows, np.uint64)
        total = _mixed(total ^ own, _ROOT_3)
    return total


def among(values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Which of some values are among others, which are sorted."""
    if not len(wanted):
        return np.zeros(len(values), np.bool_)
    places = np.searchsorted(wanted, values)
    places[places == len(wanted)] = 0
    found: np.ndarray = wanted[places] == values
    return found


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _of_fixed(array: pa.Array) -> Numbers:
    if pa.types.is_temporal(array.type):
        array = array.view(pa.int64())
    array = array.fill_null(0)
    values: Numbers = np.ascontiguousarray(array.to_numpy(zero_copy_only=False))
    if values.dtype.kind == "f":
        values = values.astype(np.float64).view(np.int64)
    return _mixed(values.astype(np.int64).view(np.uint64), _GOLDEN)


def _of_texts(array: pa.Array) -> Numbers:
    """Word by word: the nth eight bytes of all of them, then the next."""
    width = np.int32 if pa.types.is_string(array.type) else np.int64
    _, places, data = array.buffers()
    if len(array) == 0:
        return np.zeros(0, np.uint64)
    bounds = np.frombuffer(places, width)[array.offset : array.offset + len(array) + 1].astype(np.int64)
    text = np.frombuffer(data, np.uint8)[bounds[0] : bounds[-1]] if data is not None else np.zeros(0, np.uint8)
    # The last words reach past the end.
    padded = np.concatenate([text, np.zeros(_WORD, np.uint8)])
    words: Numbers = np.ndarray((len(text) + 1,), "<u8", padded, strides=(1,))
    starts, sizes = bounds[:-1] - bounds[0], np.diff(bounds)
    total = _mixed(sizes.astype(np.uint64), _GOLDEN)
    for begin in range(0, int(sizes.max()), _WORD):
        left = sizes - begin
        if left.min() >= _WORD:
            total = _mixed(total ^ words[starts + begin], _ROOT_2)
        else:
            going = np.flatnonzero(left > 0)
            word = words[starts[going] + begin] & _BITS[np.minimum(left[going], _WORD)]
            total[going] = _mixed(total[going] ^ word, _ROOT_2)
    return total


def _mixed(values: Numbers, factor: np.uint64) -> Numbers:
    """Each bit of a value has a part in every bit of what comes out."""
    values = (values ^ (values >> _THIRD)) * factor
    mixed: Numbers = values ^ (values >> _HALF)
    return mixed
