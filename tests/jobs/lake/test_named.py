"""Which households raw records name: whatever they are written in, and no other's."""

import random

import pytest

from include.jobs.lake.named import households_in
from tests.jobs.shapes import ALONE, ID, NAMED, OTHERS, cases


@pytest.mark.parametrize("shape", cases(ALONE, NAMED))
def test_a_record_names_its_household_by_its_key_and_by_its_value(shape: bytes) -> None:
    assert ID in households_in(shape, None)
    assert ID in households_in(None, shape)
    assert ID in households_in(b"5", shape)


@pytest.mark.parametrize("shape", cases(OTHERS))
def test_digits_of_something_else_are_no_household(shape: bytes) -> None:
    assert ID not in households_in(shape, shape)


@pytest.mark.parametrize("shape", cases(ALONE))
def test_a_number_alone_is_no_household_where_records_are_of_something_else(shape: bytes) -> None:
    assert households_in(shape, shape, whole=False) == set()


@pytest.mark.parametrize("shape", cases(NAMED))
def test_a_named_one_is_a_household_anywhere(shape: bytes) -> None:
    assert ID in households_in(shape, shape, whole=False)


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        (b"900", None, {900}),
        (b"0900", b"", {900}),
        (b"x900", b"nothing", set()),
        # More digits than Python reads as a number.
        (b"9" * 5000, b'{"household_id": 900}', {900}),
        (None, b'{"household_id": 900, "basket_id": 901}', {900}),
        (None, b'{"household_id":"900"}', {900}),
        (None, b"{'household_id' : 900.0", {900}),
        (None, b'{\\"household_id\\":\\"900\\"}', {900}),
        (None, b'{"household_id": null, "basket_id": 901}', set()),
        (b"901", b'{"household_id": 900}{"household_id": 902}', {900, 901, 902}),
    ],
)
def test_raw_records_tell_their_households_also_when_they_are_broken(
    key: bytes | None, value: bytes | None, named: set[int]
) -> None:
    assert households_in(key, value) == named


def test_any_bytes_are_looked_at() -> None:
    chance = random.Random(5)
    sound = [*ALONE.values(), *NAMED.values()]
    for _ in range(2000):
        shape = bytearray(chance.choice(sound)[:2000])
        for _ in range(chance.randint(1, 5)):
            shape[chance.randrange(len(shape))] = chance.randrange(256)
        households_in(bytes(shape), bytes(shape[chance.randrange(len(shape)) :]))
