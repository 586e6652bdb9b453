"""One household's id, 77001, in the shapes in which records are found to hold it, by name."""

import base64
import bz2
import gzip
import json
import lzma
import struct
import zlib
from typing import Any, Final
from urllib.parse import quote

import pyarrow as pa

ID: Final = 77001
_JSON: Final = b'{"household_id":77001}'
_LONG: Final = json.dumps({"basket_id": 5, "household_id": ID, "note": "x" * 200}).encode()


def _arrow(codec: str) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, codec) as stream:
        stream.write(_LONG)
    return bytes(sink.getvalue())


def _snappy(data: bytes) -> bytes:
    return bytes(pa.compress(data, "snappy", asbytes=True))


def _of_java(data: bytes) -> bytes:
    block = _snappy(data)
    return b"\x82SNAPPY\0" + struct.pack(">iii", 1, 1, len(block)) + block


def zigzag(number: int) -> bytes:
    """A long as Avro writes it."""
    left, out = (number << 1) ^ (number >> 63), bytearray()
    while left > 0x7F:
        out.append(left & 0x7F | 0x80)
        left >>= 7
    return bytes([*out, left])


#: Which may be a key as well as a value.
ALONE: Final[dict[str, bytes]] = {
    "digits": b"77001",
    "zeroes before": b"0077001",
    "quoted": b'"77001"',
    "blanks and a new line": b" 77001\r\n",
    "float": b"77001.0",
    "exponent": b"7.7001e4",
    "large exponent": b"770010E-1",
    "list of one": b"[77001]",
    "UTF-16": "77001".encode("utf-16"),
    "UTF-16-LE": "77001".encode("utf-16-le"),
    "UTF-16-BE": "77001".encode("utf-16-be"),
    "UTF-32": "77001".encode("utf-32-le"),
    "UTF-8 with a mark": b"\xef\xbb\xbf77001",
    "other digits": "７７００１".encode(),
    "escaped digits": rb'"\u0037\u0037001"',
    "percent": b"%37%37001",
    "base64": base64.b64encode(b"77001"),
    "hexadecimal text": b"77001".hex().encode(),
    "hexadecimal number": struct.pack(">q", ID).hex().encode(),
    "int32": struct.pack(">i", ID),
    "int32 little": struct.pack("<i", ID),
    "int64": struct.pack(">q", ID),
    "int64 little": struct.pack("<q", ID),
    "framed Avro long": b"\0\0\0\0\x07" + zigzag(ID),
    "framed Avro string": b"\0\0\0\0\x07" + zigzag(5) + b"77001",
    "gzip": gzip.compress(b"77001"),
}

#: Which say that it is a household.
NAMED: Final[dict[str, bytes]] = {
    "JSON": _JSON,
    "blanks": b'\n{ "household_id" :\n 77001 }\n',
    "text": b'{"household_id": "77001"}',
    "float": b'{"household_id": 77001.0}',
    "exponent": b'{"household_id": 7.7001e4}',
    "twice": b'{"household_id": 77001, "household_id": 1}',
    "nested": b'{"payload": {"after": {"household": {"id": 77001}}}}',
    "union of Avro's JSON": b'{"household_id": {"long": 77001}}',
    "list": b'{"households": [5, 77001]}',
    "as a name": b'{"households": {"77001": true}}',
    "other name": b'{"HouseholdKey": 77001}',
    "deep": b'{"a":' * 300 + _JSON + b"}" * 300,
    "deeper than anything reads": b'{"a":' * 5000 + _JSON + b"}" * 5000,
    "cut off": b'{"household_id": 77001, "basket',
    "escaped digits": rb'{"household_id": "\u0037\u0037001"}',
    "escaped digits, cut off": rb'{"household_id": "\u0037\u0037001", "b',
    "escaped name": rb'{"\u0068ousehold_id": 77001}',
    "JSON in JSON": json.dumps({"payload": _JSON.decode()}).encode(),
    "JSON in JSON, cut off": json.dumps({"payload": _JSON.decode()}).encode()[:-2],
    "UTF-16": _JSON.decode().encode("utf-16"),
    "UTF-16-LE": _JSON.decode().encode("utf-16-le"),
    "UTF-16-BE": _JSON.decode().encode("utf-16-be"),
    "UTF-32-BE": _JSON.decode().encode("utf-32-be"),
    "UTF-8 with a mark": b"\xef\xbb\xbf" + _JSON,
    "Latin-1": '{"name": "Zoë", "household_id": 77001}'.encode("latin-1"),
    "no UTF-8, cut off": b'\xff\xfe\xfd{"household_id": 77001',
    "query": b"basket=5&household_id=77001&store=3",
    "URL-encoded": quote(_JSON.decode()).encode(),
    "base64": base64.b64encode(_JSON),
    "base64 of the web, no end": base64.urlsafe_b64encode(_JSON).rstrip(b"="),
    "base64 in JSON": json.dumps({"data": base64.b64encode(_JSON).decode()}).encode(),
    "hexadecimal": _JSON.hex().encode(),
    "gzip": gzip.compress(_LONG),
    "gzip in base64": base64.b64encode(gzip.compress(_LONG)),
    "zlib": zlib.compress(_LONG),
    "bz2": bz2.compress(_LONG),
    "xz": lzma.compress(_LONG),
    "zstd": _arrow("zstd"),
    "lz4": _arrow("lz4"),
    "snappy": _snappy(_LONG),
    "snappy of Java": _of_java(_LONG),
    "framed JSON": b"\0\0\0\0\x07" + _JSON,
    "XML": b"<sale><household_id>77001</household_id></sale>",
    "CSV": b"household_id\n77001\n",
    "YAML": b"household_id: 77001\nstore_id: 5\n",
}

#: Which are another's, or no household at all, though the digits stand there.
OTHERS: Final[dict[str, bytes]] = {
    "longer": b'{"household_id": 1770012}',
    "begins so": b'{"household_id": 770012}',
    "another field": b'{"household_id": 5, "basket_id": 77001}',
    "another number of a household": b'{"household_size": 77001}',
    "fraction": b'{"household_id": 77001.5}',
    "null": b'{"household_id": null, "basket_id": 77001}',
    "in a word": b'{"household_id": "x77001y"}',
}


def cases(*groups: dict[str, bytes]) -> list[Any]:
    """For `pytest.mark.parametrize`."""
    import pytest

    return [pytest.param(shape, id=name) for group in groups for name, shape in group.items()]
