"""Good records, and hypothesis strategies that break them."""

import string
from collections.abc import Sequence
from random import Random
from typing import Any

import orjson
import pyarrow as pa
from hypothesis import strategies as st

GOOD: dict[str, Any] = {
    "schema_version": 1,
    "event_id": "31198570044-1095275-0",
    "household_id": 900,
    "store_id": 330,
    "basket_id": 31198570044,
    "product_id": 1095275,
    "quantity": 1,
    "sales_value": 0.5,
    "retail_disc": 0,
    "coupon_disc": 0.0,
    "coupon_match_disc": 0.0,
    "transaction_timestamp": "2017-01-01T11:53:26Z",
}
KEY = b"900"
_FRAGMENTS = (b"", b"0", b"9", b'"', b"}", b",", b"null", b" ", b"-")


def encode(**changes: Any) -> bytes:
    """A good record with some fields changed; a field given as None is left out."""
    return orjson.dumps({name: value for name, value in (GOOD | changes).items() if value is not None})


def columns(messages: Sequence[tuple[bytes | None, bytes | None]]) -> tuple[pa.Array, pa.Array]:
    """Keys and values of messages, as a topic's batch has them."""
    keys = pa.array([key for key, _ in messages], pa.binary())
    return keys, pa.array([value for _, value in messages], pa.large_binary())


_values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=30),
    st.sampled_from(
        [
            "2017-02-30T00:00:00Z",
            "2017-01-01 11:53:26Z",
            "2017-01-01T11:53:26+00:00",
            "2017-01-01T24:00:00Z",
            "2017-01-01T23:59:60Z",
            "２０１７-01-01T11:53:26Z",
            "1999-12-31T23:59:59Z",
            "2100-01-01T00:00:00Z",
            "900",
            "",
        ]
    ),
    st.sampled_from([0, 1, 2, 900, 900.0, 1.0, -0.0, 1e300, 1e9, 1e9 + 1, [], {}, [1]]),
)
_changed = st.dictionaries(st.sampled_from([*GOOD, "note", "schemaVersion"]), _values, max_size=3).map(
    lambda changes: orjson.dumps(GOOD | changes)
)
_cut = st.tuples(_changed, st.integers(0, 200), st.binary(max_size=4)).map(
    lambda parts: parts[0][: parts[1]] + parts[2] + parts[0][parts[1] + len(parts[2]) :]
)
#: Records that have tripped one parser or the other.
ODD = (
    b"",
    b" ",
    b"null",
    b"[]",
    b'"text"',
    b"1",
    b"{}",
    b"{}\n{}",
    encode() + b"\n" + encode(),
    encode() + b"\n",
    encode(note="x" * 5000),
    b'{"event_id": 1e999}',
    encode().replace(b'"sales_value":0.5', b'"sales_value":1e999'),
    encode().replace(b'"sales_value":0.5', b'"sales_value":NaN'),
    encode().replace(b'"quantity":1', b'"quantity":99999999999999999999999'),
    encode().replace(b'"event_id":"', b'"event_id":"\\ud800'),
    encode().replace(b'"event_id":"', b'"event_id":"\xff'),
    encode().replace(b'"quantity":1', b'"quantity":1,"quantity":"one"'),
    # Where JSON parsers differ: one reads it, another refuses it or reads something else.
    *(
        encode().replace(b'"sales_value":0.5', b'"sales_value":' + number)
        for number in b"-0 -0.0 0e9 5e-1 -NaN Infinity 1e-400 00.5 .5 5. +1".split()
    ),
    *(
        encode().replace(b'"quantity":1', b'"quantity":' + number)
        for number in (b"-0", b"1e0", b"01", b"0x1", b"1 ", b"1\t", b"1/**/", b"NaN", b"-1", b"9223372036854775808")
    ),
    *(
        encode().replace(b'"event_id":', extra + b',"event_id":')
        for extra in (
            b'"note":1e999',
            b'"note":NaN',
            b'"note":-Infinity',
            b'"note":99999999999999999999999',
            b'"note":"\xff"',
            b'"note":"\xc3\xa9"',
            b'"note":"\\udc00"',
            b'"note":"}{"',
            b'"note":{"a":[1,{}]}',
            b'"note":null',
            b'"note":true',
            b'"note":"2017-01-01T00:00:00Z"',
            b'"note":' + b"[" * 1500 + b"]" * 1500,
            b'"note":1,"note":2',
            b'"household_id":901',
        )
    ),
    # Quotation marks that swallow the next record's brace.
    b'{"event_id":"x}',
    b'{","quantity":1}',
    b'{"event_id":"x}{"}',
    b"{}{}",
    b" " + encode() + b" ",
    b"\xef\xbb\xbf" + encode(),
    encode() + b"\x00",
    b"{" + encode() + b"}",
    encode()[:-1] + b",}",
)
values = st.one_of(
    st.just(encode()), st.just(encode()), _changed, _cut, st.sampled_from(ODD), st.binary(max_size=60), st.none()
)
keys = st.one_of(
    st.just(KEY),
    st.just(KEY),
    st.none(),
    st.sampled_from([b"", b"901", b"0900", b" 900", b"900.0", b"\xff"]),
    st.text(string.digits, max_size=4).map(str.encode),
)


def fuzzed(count: int, seed: int) -> list[tuple[bytes | None, bytes | None]]:
    """Keys and values of good records with a few bytes changed, cut out, doubled or put in; some lack one of them."""
    random = Random(seed)
    return [_fuzzed(number, random) for number in range(count)]


def _fuzzed(number: int, random: Random) -> tuple[bytes | None, bytes | None]:
    value = _mutated(encode(note=number), random, random.randrange(3))
    if number % 20:
        return KEY, value
    key = random.choice((None, b"", KEY * 2_000, random.randbytes(4), _mutated(KEY, random, 1)))
    return key, None if number % 100 == 0 else value


def _mutated(value: bytes, random: Random, changes: int) -> bytes:
    changed = bytearray(value)
    for _ in range(changes):
        begin = random.randrange(len(changed))
        end = begin + random.choice((0, 1, 1, 2, 20))
        changed[begin:end] = random.choice((*_FRAGMENTS, random.randbytes(2)))
    return bytes(changed)
