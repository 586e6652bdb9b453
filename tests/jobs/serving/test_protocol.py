"""What a request must be."""

from typing import Any

import pytest

from include.jobs.serving.protocol import BadRequestError, Query, parse


def test_a_good_request() -> None:
    assert parse({"instances": [{"household_id": 1228, "k": 5}, {"household_id": 0}]}) == [Query(1228, 5), Query(0, 20)]


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"\x00", "must be a JSON object"),
        ([], "must be a JSON object"),
        (None, "must be a JSON object"),
        ({}, '"instances" must be a list'),
        ({"instances": {}}, '"instances" must be a list'),
        ({"instances": []}, "at least one"),
        ({"instances": [{"household_id": 1}] * 257}, "257 entries, at most 256"),
        ({"instances": [1228]}, r"instances\[0\] must be an object"),
        ({"instances": [{"household_id": 1}, {"k": 3}]}, r"instances\[1\] lacks household_id"),
        ({"instances": [{"household_id": 1, "size": 3}]}, "unknown fields 'size'"),
        ({"instances": [{"household_id": "1228"}]}, "household_id must be an integer .* not '1228'"),
        ({"instances": [{"household_id": 12.0}]}, "household_id must be an integer"),
        ({"instances": [{"household_id": True}]}, "household_id must be an integer"),
        ({"instances": [{"household_id": -1}]}, "household_id must be an integer"),
        ({"instances": [{"household_id": 2**63}]}, "household_id must be an integer"),
        ({"instances": [{"household_id": 1, "k": 0}]}, "k must be an integer from 1 to 100"),
        ({"instances": [{"household_id": 1, "k": 101}]}, "k must be an integer from 1 to 100"),
        ({"instances": [{"household_id": 1, "k": None}]}, "k must be an integer"),
    ],
)
def test_a_bad_request_is_told_what_is_wrong(payload: Any, message: str) -> None:
    with pytest.raises(BadRequestError, match=message):
        parse(payload)


def test_an_endless_value_is_not_sent_back_whole() -> None:
    with pytest.raises(BadRequestError) as caught:
        parse({"instances": [{"household_id": "x" * 10_000}]})
    assert len(str(caught.value)) < 200
