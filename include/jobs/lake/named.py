"""Which households a raw record names, whatever it is written in.

A record that broke its contract may be anything: JSON that is no JSON any more, another encoding, compressed, in Base64
within JSON within Base64. It names a household where a number stands under a name like `household_id`, at any depth, or
where the number is all there is, as it is in a key. A number under another name is something else's.
"""

import base64
import binascii
import bz2
import codecs
import json
import lzma
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Final
from urllib.parse import unquote

import pyarrow as pa

#: Ids are 64-bit in the lake.
_LARGEST: Final = 2**63 - 1
#: A compressed value that is larger is left alone: none of a topic's is, and one may be made to fill the memory.
_MOST_BYTES: Final = 64 * 1024 * 1024
#: In longer texts that nothing can parse, single words are not looked into.
_MOST_WORDS: Final = 64 * 1024
#: Layers within each other: compression, Base64, JSON in a string, …
_DEPTH: Final = 5
#: Whole numbers as bytes, by their length.
_INTEGERS: Final = {4: "i", 8: "q"}

#: Of encodings.
_MARKS: Final = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

_NUMBER = r"[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d{1,3})?"
_SUFFIX = r"(?:[\W_]*(?:ids?|keys?|no|nr|num|number)|s)?"
_HOUSEHOLD = re.compile(rf"[\w\W]*house[\W_]?hold{_SUFFIX}[\W_]*", re.IGNORECASE)
#: In text that nothing can parse: the name, what stands between, the number.
_NAMED = re.compile(rf"house[\W_]?hold{_SUFFIX}[^0-9A-Za-z]{{0,32}}?(?<!\d)({_NUMBER})(?!\d)", re.IGNORECASE)
_WHOLE = re.compile(rf"[\s\"']*({_NUMBER})[\s\"',;]*")
_HEXADECIMAL = re.compile(r"(?:0x)?((?:[0-9a-fA-F]{2}){4,})")
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})|\\x([0-9a-fA-F]{2})|&#(\d{1,4});|&#x([0-9a-fA-F]{1,4});|\\(?=[\"'/\\])")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{6,}={0,2}")


def households_in(key: bytes | None, value: bytes | None, *, whole: bool = True) -> set[int]:
    """Every household that a raw record names, in its key or in its value. Any bytes will do.

    Args:
        whole: whether a key or a value that is nothing but a number names a household: where records are of
            something else, it is the number of that.
    """
    found: set[int] = set()
    for data in (key, value):
        for number, alone in _numbers(data or b"", 0):
            if (whole or not alone) and 0 <= number <= _LARGEST:
                found.add(number)
    return found


def _numbers(data: bytes, depth: int) -> Iterator[tuple[int, bool]]:
    """Numbers that name a household, and whether they do so by being all there is."""
    if depth > _DEPTH or not data:
        return
    if len(data) in _INTEGERS and not (data.isascii() and data.decode().isprintable()):
        for order in "<>":
            yield struct.unpack(order + _INTEGERS[len(data)], data)[0], True
    if data[0] == 0 and len(data) > 5:
        # A zero byte and the id of a schema.
        yield from _framed(data[5:], depth)
    for unpacked in _unpacked(data):
        yield from _numbers(unpacked, depth + 1)
    for text in _texts(data):
        yield from _in_text(text, depth)


def _framed(payload: bytes, depth: int) -> Iterator[tuple[int, bool]]:
    """What stands behind a schema's id: a number or a text of Avro, or anything else."""
    number, end = _variable_length(payload)
    if end == len(payload):
        yield number, True
    if 0 < end < len(payload) == end + number:
        yield from _numbers(payload[end:], depth + 1)
    yield from _numbers(payload, depth + 1)


def _variable_length(data: bytes) -> tuple[int, int]:
    """A number as Avro writes it, and where it ends; 0 where there is none."""
    found = 0
    for place, byte in enumerate(data[:10]):
        found |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return (found >> 1) ^ -(found & 1), place + 1
    return 0, 0


def _inflated(data: bytes) -> bytes:
    # Whatever of zlib, gzip: more than one part, too.
    return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(data, _MOST_BYTES)


def _arrow(codec: str) -> Callable[[bytes], bytes]:
    def unpack(data: bytes) -> bytes:
        with pa.CompressedInputStream(pa.BufferReader(data), codec) as stream:
            unpacked: bytes = stream.read(_MOST_BYTES)
        return unpacked

    return unpack


def _snappy(data: bytes) -> bytes:
    """A block of snappy: its length is written before it."""
    size = place = 0
    for place, byte in enumerate(data[:5]):
        size |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            break
    if not 0 < size <= min(_MOST_BYTES, 64 * len(data)):
        return b""
    return bytes(pa.decompress(data, size, codec="snappy"))


def _snappy_of_java(data: bytes) -> bytes:
    """Blocks of snappy, each with its length, as Java's clients write them."""
    found, place = b"", 16
    while place + 4 <= len(data):
        size = int.from_bytes(data[place : place + 4])
        found += _snappy(data[place + 4 : place + 4 + size])
        place += 4 + size
    return found


#: By how the data begin.
_PACKED: Final[dict[bytes, Callable[[bytes], bytes]]] = {
    b"\x1f\x8b": _inflated,
    b"\x78\x01": _inflated,
    b"\x78\x5e": _inflated,
    b"\x78\x9c": _inflated,
    b"\x78\xda": _inflated,
    b"\x28\xb5\x2f\xfd": _arrow("zstd"),
    b"\x04\x22\x4d\x18": _arrow("lz4"),
    b"BZh": lambda data: bz2.BZ2Decompressor().decompress(data, _MOST_BYTES),
    b"\xfd7zXZ\x00": lambda data: lzma.LZMADecompressor().decompress(data, _MOST_BYTES),
    b"\x82SNAPPY\x00": _snappy_of_java,
}


def _unpacked(data: bytes) -> Iterator[bytes]:
    for mark, unpack in [*_PACKED.items(), (b"", _snappy)]:
        if data.startswith(mark) and len(data) > len(mark) and (mark or not data.isascii()):
            try:
                yield unpack(data)
            except (OSError, ValueError, EOFError, zlib.error, lzma.LZMAError, pa.ArrowException):
                # It only begins so.
                continue


def _texts(data: bytes) -> Iterator[str]:
    """The data as text: by its mark, else by where its zero bytes are; what is no text becomes Latin-1."""
    encoding = json.detect_encoding(data)
    if encoding.startswith("utf-32") and len(data) in _INTEGERS:
        return
    try:
        yield data.decode(encoding)
    except UnicodeDecodeError:
        yield data.decode("latin-1")
        if encoding != "utf-8":
            yield data.decode(encoding, "ignore")
    if b"\0" in data and len(data) not in _INTEGERS:
        # Two bytes for a character behind something else.
        yield data.replace(b"\0", b"").decode("latin-1")


def _in_text(text: str, depth: int) -> Iterator[tuple[int, bool]]:
    if depth > _DEPTH:
        return
    stripped = text.strip("\ufeff \t\r\n\0")
    tree = _parsed(stripped)
    if isinstance(tree, list):
        yield from _in_tree(tree, depth)
        return
    if isinstance(tree, str) and tree != stripped:
        yield from _in_text(tree, depth + 1)
    if found := _WHOLE.fullmatch(stripped):
        yield from ((number, True) for number in _whole(found[1]))
    forms = {stripped}
    if "%" in stripped or "\\" in stripped or "&#" in stripped:
        forms |= {unquote(stripped), _unescaped(stripped), _unescaped(unquote(stripped))}
    for form in forms:
        yield from ((number, False) for found in _NAMED.findall(form) for number in _whole(found))
    for form in forms - {stripped}:
        yield from _numbers(form.encode("utf-8", "surrogatepass"), depth + 1)
    yield from _in_words(stripped, depth)


def _in_words(text: str, depth: int) -> Iterator[tuple[int, bool]]:
    """What is written in hexadecimal or in Base64: the text, or words of it."""
    if found := _HEXADECIMAL.fullmatch(text):
        yield from _numbers(bytes.fromhex(found[1]), depth + 1)
    if _BASE64.fullmatch(text):
        yield from _numbers(_from_base64(text), depth + 1)
    elif len(text) < _MOST_WORDS:
        within = (found for word in _BASE64.findall(text) for found in _numbers(_from_base64(word), depth + 2))
        # One number within a text is nobody's.
        yield from ((number, False) for number, alone in within if not alone)


def _parsed(text: str) -> Any:
    if not text.startswith(("{", "[", '"')):
        return None
    try:
        return json.loads(text, object_pairs_hook=_Members)
    except (ValueError, RecursionError):
        return None


class _Members(list[tuple[str, Any]]):
    """The members of a JSON object, those of one name too."""


def _in_tree(tree: Any, depth: int) -> Iterator[tuple[int, bool]]:
    while type(tree) is list and len(tree) == 1:
        tree = tree[0]
    if isinstance(tree, str):
        yield from _in_text(tree, depth + 1)
    elif not isinstance(tree, list):
        yield from ((number, True) for number in _whole(tree))
    else:
        for item, named in _values(tree):
            if named:
                yield from ((number, False) for number in _whole(item))
            if isinstance(item, str):
                within = _numbers(item.encode("utf-8", "surrogatepass"), depth + 1)
                yield from ((number, False) for number, alone in within if named or not alone)


def _values(tree: list[Any]) -> Iterator[tuple[Any, bool]]:
    """Every value in a tree, and names that may be one, with whether it stands under a household's name."""
    waiting: list[tuple[Any, bool]] = [(tree, False)]
    while waiting:
        item, named = waiting.pop()
        if isinstance(item, _Members):
            for name, value in item:
                if named:
                    yield name, True
                waiting.append((value, named or _HOUSEHOLD.fullmatch(name) is not None))
        elif isinstance(item, list):
            waiting.extend((value, named) for value in item)
        else:
            yield item, named


def _whole(value: object) -> Iterator[int]:
    """The whole number that a value is, in any form."""
    if isinstance(value, str):
        found = _WHOLE.fullmatch(value)
        if found is None:
            return
        if len(found[1]) <= 40 and re.fullmatch(r"[+-]?\d+", found[1]):
            yield int(found[1])
            return
        value = float(found[1]) if len(found[1]) <= 40 else None
    if isinstance(value, int) and not isinstance(value, bool):
        yield value
    elif isinstance(value, float) and value.is_integer():
        yield int(value)


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(
        lambda found: next(
            (chr(int(digits, base)) for digits, base in zip(found.groups(), (16, 16, 10, 16), strict=True) if digits),
            "",
        ),
        text,
    )


def _from_base64(text: str) -> bytes:
    """What a text is in Base64; nothing where that is no text, no number and nothing compressed."""
    plain = text.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        data = base64.b64decode(plain + "=" * (-len(plain) % 4))
    except binascii.Error:
        return b""
    return data if data.isascii() or len(data) in _INTEGERS or data.startswith((b"\0", *_MARKS, *_PACKED)) else b""
