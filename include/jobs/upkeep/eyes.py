"""Seeing one household in bytes, for the proof of an erasure: with other eyes than those that erase.

What erases reads a record and asks which household it names. This looks for the digits of one id in the bytes, however
they are written, and then asks what stands before them. So what the one takes for something else, the other still sees.
It tells three things apart: the household; its digits, which may be anything's; and what it cannot read.
"""

import base64
import binascii
import re
import string
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Final

import cramjam

#: The largest that is looked at when it is unpacked.
_MOST: Final = 256 * 1024 * 1024
#: Layers within each other.
_DEPTH: Final = 6
#: A part of text that is shorter is no layer of its own.
_SHORTEST_WORD: Final = 7
#: Bytes before a number in which its name is looked for.
_BEFORE: Final = 96
#: Text has at most this share of bytes that none is written with.
_STRANGE: Final = 0.02

_WORD = re.compile(rb"[A-Za-z_][A-Za-z0-9_\-]*")
#: Names that say of what kind a number is, not whose: the one before them does.
_GENERAL: Final = frozenset({b"id", b"ids", b"key", b"value", b"no", b"number", b"long", b"int", b"string", b"type"})
_OURS = re.compile(rb"house[\W_]?hold[\W_]*(s|ids?|keys?|no|nr|num|number)?", re.IGNORECASE)
_EXPONENT = re.compile(rb"(?<![\w.])[0-9]+(?:\.[0-9]+)?[eE][+-]?[0-9]{1,3}(?![\w.])")
_BASE64 = re.compile(rb"[A-Za-z0-9+/_\-]{%d,}" % _SHORTEST_WORD)
_HEXADECIMAL = re.compile(rb"(?<![0-9A-Za-z])(?:0x)?((?:[0-9a-fA-F]{2}){4,})(?![0-9A-Za-z])")
_HEXADECIMAL_WORD = re.compile(rb"[0-9a-f]+")
_ESCAPED = re.compile(rb"\\u00([0-7][0-9a-fA-F])|%([0-7][0-9a-fA-F])|&#x([0-7][0-9a-fA-F]);|\\x([0-7][0-9a-fA-F])")
_MARKS: Final = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
_OF_THE_WEB: Final = bytes.maketrans(b"-_", b"+/")
_HEXADECIMAL_DIGITS: Final = string.hexdigits.encode()
_ASCII: Final = bytes(range(0x80))
_PRINTED: Final = string.printable.encode() + bytes(range(0x80, 0x100))
_WIDE: Final = {f"{digit:c}".encode(): str(digit - 0xFF10).encode() for digit in range(0xFF10, 0xFF1A)}

_PACKED: Final[dict[bytes, Callable[[bytes], object]]] = {
    b"\x1f\x8b": cramjam.gzip.decompress,
    b"\x78": cramjam.zlib.decompress,
    b"\x28\xb5\x2f\xfd": cramjam.zstd.decompress,
    b"\x04\x22\x4d\x18": cramjam.lz4.decompress,
    b"BZh": cramjam.bzip2.decompress,
    b"\xfd7zXZ\x00": cramjam.xz.decompress,
    b"\xff\x06\x00\x00sNaPpY": cramjam.snappy.decompress,
}
#: One that is a letter is no sign that a word within a text is compressed.
_PACKED_MARKS: Final = tuple(mark for mark in _PACKED if len(mark) > 1)


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen in some bytes.

    Attributes:
        found: the household.
        chance: its digits, or its number in bytes, which may as well be something else's.
        unread: what could not be read, as a kind; empty where all was.
    """

    found: bool = False
    chance: bool = False
    unread: str = ""

    def __or__(self, other: "Seen") -> "Seen":
        return Seen(self.found or other.found, self.chance or other.chance, self.unread or other.unread)


class Eyes:
    """Looks for one household."""

    def __init__(self, household_id: int) -> None:
        self.household_id = household_id
        digits = str(household_id).encode()
        self._plain = digits
        self._digits = re.compile(rb"(?<![0-9])(?<![0-9][.,])0*%b(?![0-9])(?!\.[0-9]*[1-9])" % digits)
        self._alone = re.compile(rb"[\W_]*0*%b(?:\.0*)?[\W_]*" % digits)
        kinds = [kind for kind in ("i", "q", "d") if kind != "i" or household_id < 2**31]
        self._numbers = {struct.pack(order + kind, household_id) for order in "<>" for kind in kinds}
        self._numbers.add(_zigzag(household_id))

    def look(self, data: bytes | None, *, whole: bool = False) -> Seen:
        """Look at bytes of any kind.

        Args:
            whole: whether bytes that are nothing but the number are the household.
        """
        return self._look(data or b"", whole, 0)

    def _look(self, data: bytes, whole: bool, depth: int) -> Seen:
        if not data:
            return Seen()
        if depth > _DEPTH:
            return Seen(unread="too many layers")
        if data in self._numbers and not data.strip().isdigit():
            return Seen(found=whole, chance=not whole)
        # ASCII in two or four bytes for a character, in either order, is ASCII with zeroes between.
        plain = data.replace(b"\0", b"")
        wide = len(plain) <= len(data) * 0.6 and len(data) not in (4, 8)
        plain = next((plain.removeprefix(mark) for mark in _MARKS if plain.startswith(mark)), plain)
        if data[:1] == b"\0" and len(data) > 5 and not (wide and _is_text(plain)):
            return self._framed(data, whole, depth)
        for unpacked in _unpacked(data):
            return self._look(unpacked, whole, depth + 1)
        if plain and not _is_text(plain):
            chance = any(number in data for number in self._numbers) if self.household_id > 0xFFFF else False
            seen = self._text(plain, False, depth) if b"household" in plain.lower() else Seen()
            return seen | Seen(chance=chance, unread="" if len(data) in (4, 8) else "bytes of no known kind")
        return self._text(plain, whole, depth)

    def _framed(self, data: bytes, whole: bool, depth: int) -> Seen:
        """Behind a zero byte and a schema's id: text or a number, or what only the schema can read."""
        body = data[5:]
        seen = self._look(body, whole, depth + 1)
        if _is_text(body) or seen.found:
            return seen
        if body in self._numbers:
            return Seen(found=whole, chance=not whole)
        if body and body[0] >> 1 == len(body) - 1 and _is_text(body[1:]):
            return self._look(body[1:], whole, depth + 1)
        if all(byte & 0x80 for byte in body[:-1]) and not body[-1] & 0x80:
            return Seen()
        chance = seen.chance or _zigzag(self.household_id) in body
        # Eight bytes are a number as likely, as a bound of a column is.
        return Seen(chance=chance, unread="" if len(data) == 8 else f"values of schema {int.from_bytes(data[1:5])}")

    def _text(self, text: bytes, whole: bool, depth: int) -> Seen:
        if _ESCAPED.search(text):
            text = _ESCAPED.sub(lambda found: bytes([int(next(filter(None, found.groups())), 16)]), text)
        if b"\xef\xbc" in text:
            for wide, digit in _WIDE.items():
                text = text.replace(wide, digit)
        found = chance = False
        for place in self._places(text):
            ours = self._is_ours(text[max(0, place - _BEFORE) : place])
            found, chance = found or ours, chance or not ours
        if whole and (self._alone.fullmatch(text) or (chance and _exponent(text.strip(b" \t\r\n\"'[]")))):
            found = True
        seen = Seen(found, chance and not found)
        for inner in self._within(text) if depth < _DEPTH else ():
            # A word within a text is no record: what stands there alone may be anything.
            seen |= self._look(inner, whole and len(inner) * 4 >= (len(text.strip()) - 4) * 2, depth + 2)
        return Seen(seen.found, seen.chance and not seen.found)

    def _within(self, text: bytes) -> Iterator[bytes]:
        """What is written in a text as Base64 or hexadecimal, and is text, compressed or the number in its turn."""
        for word in {*_BASE64.findall(text), *_HEXADECIMAL.findall(text)}:
            yield from (inner for inner in _decoded(word) if len(inner) not in (4, 8) or inner in self._numbers)

    def _places(self, text: bytes) -> Iterator[int]:
        # A plain search first: nearly every record is another household's.
        for hit in self._digits.finditer(text) if self._plain in text else ():
            if not _in_hash(text, hit.start()):
                yield hit.start()
        for hit in _EXPONENT.finditer(text):
            if _exponent(hit[0]) == self.household_id:
                yield hit.start()

    def _is_ours(self, before: bytes) -> bool:
        """Whether the name that stands before a number is a household's."""
        if before[-1:].isalpha():
            return False
        for name in reversed(_WORD.findall(before)):
            if name.lower() not in _GENERAL:
                return _OURS.fullmatch(name) is not None or name.lower().endswith((b"household_id", b"household"))
        return False


def _in_hash(text: bytes, place: int) -> bool:
    """Whether a place lies in a long hexadecimal word: any digits stand in one of those."""
    begin, end = max(0, place - 128), place + 128
    before, after = _HEXADECIMAL_WORD.findall(text[begin:place] + b" "), _HEXADECIMAL_WORD.match(text[place:end])
    word = (before[-1] if before and text[begin:place].endswith(before[-1]) else b"") + (after[0] if after else b"")
    return len(word) >= 24 and any(letter in word for letter in b"abcdef")


def _exponent(text: bytes) -> int | None:
    """The whole number that a text like 7.7001e4 writes."""
    try:
        number = Decimal(text.decode("ascii", "replace"))
        return int(number) if number.is_finite() and number == number.to_integral_value() else None
    except InvalidOperation:
        return None


def _zigzag(number: int) -> bytes:
    """A number as Avro writes it."""
    left, written = number << 1, bytearray()
    while left > 0x7F:
        written.append(left & 0x7F | 0x80)
        left >>= 7
    return bytes([*written, left])


def _is_text(data: bytes) -> bool:
    """Whether bytes are text in UTF-8, or in one byte for a character."""
    sample = data[: 64 * 1024]
    strange = len(sample.translate(None, _PRINTED))
    if not sample.isascii():
        try:
            sample.decode()
        except UnicodeDecodeError:
            # Text is mostly ASCII then; else any bytes would be some.
            strange += max(0, len(sample.translate(None, _ASCII)) - len(sample) // 4)
    return strange <= _STRANGE * len(sample)


def _unpacked(data: bytes) -> Iterator[bytes]:
    """What is in compressed data; nothing where they are not."""
    for mark, unpack in _PACKED.items():
        if data.startswith(mark):
            try:
                yield bytes(unpack(data))  # type: ignore[call-overload]
            except (cramjam.DecompressionError, ValueError, MemoryError):
                continue
    if data.startswith(b"\x82SNAPPY\x00"):
        yield b"".join(_blocks(data))
    elif not _is_text(data):
        try:
            if 0 < cramjam.snappy.decompress_raw_len(data) < min(_MOST, 64 * len(data)):
                yield bytes(cramjam.snappy.decompress_raw(data))
        except (cramjam.DecompressionError, ValueError, MemoryError):
            return


def _blocks(data: bytes) -> Iterator[bytes]:
    place = 16
    while place + 4 <= len(data):
        size = int.from_bytes(data[place : place + 4])
        try:
            yield bytes(cramjam.snappy.decompress_raw(data[place + 4 : place + 4 + size]))
        except cramjam.DecompressionError:
            return
        place += 4 + size


@lru_cache(maxsize=65_536)
def _decoded(word: bytes) -> tuple[bytes, ...]:
    """What a word is in hexadecimal and in Base64, where that may be something. Most words are names of fields."""
    found = []
    if len(word) % 2 == 0 and not word.strip(_HEXADECIMAL_DIGITS):
        found.append(bytes.fromhex(word.decode()))
    try:
        found.append(base64.b64decode(word.translate(_OF_THE_WEB) + b"=" * (-len(word) % 4)))
    except binascii.Error:
        found.append(b"")
    return tuple(filter(_is_layer, found))


def _is_layer(inner: bytes) -> bool:
    if len(inner) in (4, 8) or inner.startswith(_PACKED_MARKS):
        return True
    return len(inner) >= 5 and inner.isascii() and _is_text(inner.replace(b"\0", b""))
