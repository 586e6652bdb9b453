"""The proof's eyes: they see whatever the eraser takes, tell chance apart, and say what they cannot read."""

import os

import pytest

from include.jobs.upkeep.eyes import Eyes, Seen
from tests.jobs.shapes import ALONE, ID, NAMED, OTHERS, cases, zigzag

EYES = Eyes(ID)


@pytest.mark.parametrize("shape", cases(ALONE))
def test_a_number_alone_is_seen(shape: bytes) -> None:
    assert EYES.look(shape, whole=True).found
    assert not EYES.look(shape).found, "where records are of something else, it may be anything's"


@pytest.mark.parametrize("shape", cases(NAMED))
def test_a_named_number_is_seen_in_any_bytes(shape: bytes) -> None:
    assert EYES.look(shape) == Seen(found=True)


@pytest.mark.parametrize("shape", cases(OTHERS))
def test_digits_of_something_else_are_chance_and_other_numbers_none(shape: bytes) -> None:
    other_number = any(number in shape for number in (b"1770012", b"770012", b"77001.5"))
    assert EYES.look(shape, whole=True) == Seen(chance=not other_number)


def test_digits_in_a_hash_are_nobody_s() -> None:
    assert EYES.look(b"sha256:9f86d081884c7d659a2f77001cd15d6c15b0f00a08 of a file") == Seen()
    assert EYES.look(b"household_id: 77001abcdef") != Seen()


def test_what_cannot_be_read_is_named() -> None:
    assert EYES.look(os.urandom(4096)).unread == "bytes of no known kind"
    assert EYES.look(b"\0\0\0\0\x09" + zigzag(5) + bytes(range(9))) == Seen(unread="values of schema 9")
    hidden = EYES.look(b"\0\0\0\0\x09" + zigzag(5) + zigzag(ID) + bytes(range(9)))
    assert hidden == Seen(chance=True, unread="values of schema 9")
    assert EYES.look(None) == EYES.look(b"") == EYES.look(b"all of this is text") == Seen()
