"""Numbers that stand for the keys of records: a whole column at once, 8 bytes a record however long a key is.

Equal keys have equal numbers. Unequal ones nearly never have: about one pair among six thousand million records. Who
goes by them compares the keys themselves before anything follows from it.
"""

from collections.abc import Sequence

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

Numbers = np.ndarray


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
