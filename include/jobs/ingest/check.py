"""Holding a batch of records against the contract: in columns for good ones, one by one for those that break.

`Contract.check` is the authority. This does the same for whole columns and hands every record that looks broken, or
that the two JSON parsers might read differently, to it. What it accepts without asking is what the authority accepts:

- Records that are written alike, as one producer writes them, need no parser at all (`alike`).
- Of the others, only *plain* ones are parsed in columns: flat objects without an escape, in valid UTF-8. Each holds
  exactly one opening and one closing brace, at its ends, so that as many rows as records prove that row n is record n.
- Arrow's parser refuses what orjson refuses, a field given twice or a number that is too large among it, but for
  NaN and infinities: these fail the bounds, or the look at the fields that the contract does not name.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from include.jobs.ingest.alike import Layout
from include.jobs.ingest.contract import BrokenRecordError, Contract, Field, Reason, Value, read_json

#: Records that are parsed together; large enough to hide the cost of a call, small enough to be parsed again.
_BLOCK = 8_192
#: A block that does not parse is cut into so many; below `_SMALL` records the authority takes them.
_CUTS = 8
_SMALL = 128

_TIMESTAMP = r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\d:[0-5]\dZ$"
_DAY_OF_EVERY_MONTH = "^.{8}([01]|2[0-8])"
_UNEXPECTED_FIELD = "unexpected field"
_NEGATIVE_ZERO = -(2**63)

# As wide as there are: a narrower column takes what lies within the field's bounds.
COLUMN_TYPES = {
    "integer": pa.int64(),
    "number": pa.float64(),
    "string": pa.string(),
    "timestamp": pa.timestamp("us", "UTC"),
}


@dataclass(frozen=True, slots=True)
class Broken:
    """A broken record: its place in the batch, and why."""

    index: int
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Checked:
    """A batch after the check.

    `columns` holds the contract's columns of the records at the places `good` (int64, ascending).
    """

    good: pa.Array
    columns: dict[str, pa.Array]
    broken: list[Broken]


#: Columns of an array of values, and a mask of those that they are of; a timestamp may be left as text.
Columns = Callable[[pa.Array], tuple[Mapping[str, pa.Array], "np.ndarray"]]


def check_batch(contract: Contract, keys: pa.Array, values: pa.Array) -> Checked:
    """Check a batch of message keys (binary) and values (large binary) of one length.

    Every record comes out either good or broken.
    """
    small = _small(contract, values)
    checked = _alike(contract, keys, values, small)
    if len(checked.good) < len(small):
        checked = _merged(checked, _parsed(contract, keys, values, _without(small, checked.good)))
    return _completed(contract, checked, keys, values, read_json)


def check_columns(
    contract: Contract, keys: pa.Array, values: pa.Array, columns: Columns, read: Callable[[bytes], object]
) -> Checked:
    """The same for values that are no JSON: `columns` takes those that it is sure of, `read` any one, or raises.

    Every record that `columns` leaves out, or whose fields look broken, goes to the authority.
    """
    small = _small(contract, values)
    raw, sure = columns(_take(values, small))
    places = small[sure]
    checked = _bounded(contract, raw, places, _take(keys, places))
    return _completed(contract, checked, keys, values, read)


def check_one_by_one(
    contract: Contract, keys: pa.Array, values: pa.Array, read: Callable[[bytes], object] = read_json
) -> Checked:
    """The same as `check_batch`, by the authority alone, for values that `read` reads: many times slower."""
    return _one_by_one(contract, keys, values, np.arange(len(values)), read)


def joined(parts: Sequence[tuple["np.ndarray", Checked]]) -> Checked:
    """Parts of a batch as one, at least one: each with the places of its records in the batch, ascending."""

    def placed(places: "np.ndarray", part: Checked) -> Checked:
        broken = [replace(broken, index=int(places[broken.index])) for broken in part.broken]
        return Checked(pa.array(places).take(part.good), part.columns, broken)

    return reduce(_merged, (placed(*part) for part in parts))


def _completed(
    contract: Contract, checked: Checked, keys: pa.Array, values: pa.Array, read: Callable[[bytes], object]
) -> Checked:
    """With the authority's word on all that are not good yet."""
    if len(checked.good) == len(values):
        return checked
    suspected = _without(np.arange(len(values)), checked.good)
    return _merged(checked, _one_by_one(contract, keys, values, suspected, read))


def _one_by_one(
    contract: Contract,
    keys: pa.Array,
    values: pa.Array,
    places: "np.ndarray",
    read: Callable[[bytes], object],
) -> Checked:
    good: list[int] = []
    rows: list[tuple[Value, ...]] = []
    broken: list[Broken] = []
    for index in places.tolist():
        try:
            rows.append(contract.check(keys[index].as_py(), values[index].as_py(), read))
            good.append(index)
        except BrokenRecordError as error:
            broken.append(Broken(index, error.reason, error.detail))
    columns = {
        item.name: pa.array([row[place] for row in rows], COLUMN_TYPES[item.type])
        for place, item in enumerate(contract.fields)
    }
    return Checked(pa.array(good, pa.int64()), columns, broken)


def _merged(fast: Checked, judged: Checked) -> Checked:
    """Both together, in the order of the batch."""
    broken = sorted(fast.broken + judged.broken, key=lambda one: one.index)
    if not len(judged.good):
        return Checked(fast.good, fast.columns, broken)
    places = pa.concat_arrays([fast.good, judged.good])
    order = pc.sort_indices(places)
    columns = {
        name: pa.concat_arrays([column, judged.columns[name]]).take(order) for name, column in fast.columns.items()
    }
    return Checked(places.take(order), columns, broken)


def _small(contract: Contract, values: pa.Array) -> "np.ndarray":
    """The places of the records that have a value of no more than the contract's size."""
    small = pc.less_equal(pc.binary_length(values), contract.max_bytes)
    return np.flatnonzero(pc.fill_null(small, False).to_numpy(zero_copy_only=False))


def _without(places: "np.ndarray", gone: pa.Array) -> "np.ndarray":
    return np.setdiff1d(places, gone.to_numpy(), assume_unique=True)


def _alike(contract: Contract, keys: pa.Array, values: pa.Array, places: "np.ndarray") -> Checked:
    """The good ones among records that are written as one of a few of them is."""
    texts = _take(values, places)
    samples = [texts[index].as_py() for index in (0, len(texts) // 2, -1)] if len(texts) else []
    layout = next(filter(None, (Layout.of(contract, sample) for sample in samples)), None)
    if layout is None:
        return _one_by_one(contract, keys, values, places[:0], read_json)
    columns, alike = layout.read(texts)
    places = places if alike.all() else places[alike]
    return _bounded(contract, columns, places, _take(keys, places))


def _parsed(contract: Contract, keys: pa.Array, values: pa.Array, places: "np.ndarray") -> Checked:
    """The good ones among records that Arrow's JSON parser reads as the authority does."""
    places = _plain(places, _take(values, places))
    columns, places = _parse(contract, _take(values, places), places)
    return _bounded(contract, columns, places, _take(keys, places))


def _plain(places: "np.ndarray", texts: pa.Array) -> "np.ndarray":
    """The places of the records that may be parsed in columns."""
    plain = _flat(texts)
    try:
        pc.cast(texts, pa.large_string())
    except pa.ArrowInvalid:
        # Arrow does not say which of them is not UTF-8: ASCII ones are.
        others = pc.invert(pc.string_is_ascii(pc.cast(texts, pa.large_string(), safe=False)))
        plain[others.to_numpy(zero_copy_only=False)] = False
    return places.compress(plain)


def _flat(texts: pa.Array) -> "np.ndarray":
    """Which of them are `{…}` and have no other brace, no bracket and no escape."""
    _, offsets, data = texts.buffers()
    bounds = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    content = np.frombuffer(data or b"", np.uint8)[: bounds[-1]]
    mask = np.diff(bounds) >= 2
    starts, lasts = bounds[:-1][mask], bounds[1:][mask] - 1
    mask[mask] = (content[starts] == ord("{")) & (content[lasts] == ord("}"))
    for character, edges in (("{", bounds[:-1][mask]), ("}", bounds[1:][mask] - 1), ("[", ()), ("\\", ())):
        found = bounds[0] + np.flatnonzero(content[bounds[0] :] == ord(character))
        if not np.array_equal(found, edges):
            elsewhere = np.setdiff1d(found, edges, assume_unique=True)
            mask[np.searchsorted(bounds[1:], elsewhere, side="right")] = False
    return mask


def _take(array: pa.Array, places: "np.ndarray") -> pa.Array:
    return array if len(places) == len(array) else array.take(pa.array(places))


def _parse(contract: Contract, texts: pa.Array, places: "np.ndarray") -> tuple[dict[str, pa.Array], "np.ndarray"]:
    """The plain records' fields as the contract types them, null where there is none, and their places.

    Records whose block cannot be parsed are left out.
    """
    parser = _Parser(contract, texts)
    blocks = ((begin, min(begin + _BLOCK, len(texts))) for begin in range(0, len(texts), _BLOCK))
    parsed = [found for begin, end in blocks for found in parser.parse(begin, end)]
    table = pa.concat_tables([parser.schema.empty_table(), *(table for table, _, _ in parsed)])
    spans = [places[:0], *(places[begin:end] for _, begin, end in parsed)]
    return {name: table[name].combine_chunks() for name in contract.names}, np.concatenate(spans)


class _Parser:
    """Parses blocks of an array of plain records, without copying them: its buffer has one object after the other."""

    def __init__(self, contract: Contract, texts: pa.Array) -> None:
        # Timestamps are taken as text: Arrow reads more forms of them than the contract allows.
        self.schema = pa.schema(
            [
                (item.name, pa.string() if item.type == "timestamp" else COLUMN_TYPES[item.type])
                for item in contract.fields
            ]
        )
        self._unexpected = "error"
        _, offsets, data = texts.buffers()
        self._data = data
        self._offsets = np.frombuffer(offsets, np.int64)[texts.offset :] if offsets else np.zeros(1, np.int64)

    def parse(self, begin: int, end: int) -> Iterator[tuple[pa.Table, int, int]]:
        """Tables of the blocks that can be parsed, each with its bounds."""
        try:
            table = self._read(begin, end)
        except pa.ArrowInvalid as error:
            if self._unexpected == "error" and _UNEXPECTED_FIELD in str(error):
                # The contract ignores fields that it does not name; what they hold must be JSON all the same.
                self._unexpected = "infer"
                yield from self.parse(begin, end)
            elif end - begin > _SMALL:
                step = -(-(end - begin) // _CUTS)
                for cut in range(begin, end, step):
                    yield from self.parse(cut, min(cut + step, end))
        else:
            # Fewer rows than records: a quotation mark that is never closed has swallowed a brace.
            if table.num_rows == end - begin:
                yield self._named(table), begin, end

    def _read(self, begin: int, end: int) -> pa.Table:
        start, size = int(self._offsets[begin]), int(self._offsets[end] - self._offsets[begin])
        return pj.read_json(
            pa.BufferReader(self._data.slice(start, size)),
            read_options=pj.ReadOptions(use_threads=False, block_size=size + 1),
            parse_options=pj.ParseOptions(explicit_schema=self.schema, unexpected_field_behavior=self._unexpected),
        )

    def _named(self, table: pa.Table) -> pa.Table:
        """The contract's columns; a row with a number elsewhere that JSON does not know becomes null throughout."""
        others = [name for name in table.column_names if name not in self.schema.names]
        named = table.select(self.schema.names)
        sound = [pc.is_finite(table[name]).fill_null(True) for name in others if pa.types.is_floating(table[name].type)]
        for mask in sound:
            named = pa.table([pc.if_else(mask, column, None) for column in named.columns], schema=self.schema)
        return named


def _bounded(contract: Contract, raw: Mapping[str, pa.Array], places: "np.ndarray", keys: pa.Array) -> Checked:
    """The rows that have every field within its bounds and match their key; timestamps may come as text."""
    columns: dict[str, pa.Array] = {}
    mask = pa.repeat(pa.scalar(True), len(places))
    for item in contract.fields:
        array = raw[item.name]
        text = item.type == "timestamp" and pa.types.is_string(array.type)
        columns[item.name] = _timestamps(array) if text else array
        within = _within(item, columns[item.name])
        # Asked of the text: a timestamp that is none has become null.
        mask = pc.and_(mask, pc.or_(within, pc.is_null(array)) if item.optional else within)
    expected = columns[contract.key_field].cast(pa.string()).cast(pa.binary())
    mask = pc.and_(mask, pc.fill_null(pc.equal(expected, keys), False))
    good = pa.array(places, pa.int64())
    if pc.all(mask, min_count=0).as_py():
        return Checked(good, columns, [])
    return Checked(good.filter(mask), {name: array.filter(mask) for name, array in columns.items()}, [])


def _within(item: Field, array: pa.Array) -> pa.Array:
    measured = pc.utf8_length(array) if item.type == "string" else array
    low, high = pa.scalar(item.minimum, measured.type), pa.scalar(item.maximum, measured.type)
    mask = pc.and_(pc.greater_equal(measured, low), pc.less_equal(measured, high))
    if item.type == "number":
        # Written as an integer, -0 is 0 to the authority; Arrow keeps the sign.
        mask = pc.and_(mask, pc.not_equal(array.view(pa.int64()), _NEGATIVE_ZERO))
    return pc.fill_null(mask, False)


def _timestamps(texts: pa.Array) -> pa.Array:
    """Parse `YYYY-MM-DDTHH:MM:SSZ`; null where a text is none, or might be none."""
    texts = pc.if_else(pc.match_substring_regex(texts, _TIMESTAMP), texts, None)
    try:
        return texts.cast(COLUMN_TYPES["timestamp"])
    except pa.ArrowInvalid:
        # A day that its month does not have; Arrow does not say which.
        return pc.if_else(pc.match_substring_regex(texts, _DAY_OF_EVERY_MONTH), texts, None).cast(
            COLUMN_TYPES["timestamp"]
        )
