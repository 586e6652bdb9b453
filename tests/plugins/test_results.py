import json

import pytest
from airflow.sdk.exceptions import AirflowFailException
from podium.results import UnfitResultError, find_result, parse


@pytest.mark.parametrize(
    ("lines", "result"),
    [
        ([], None),
        (["a", "b"], None),
        (['PODIUM_RESULT {"a": 1}'], {"a": 1}),
        (['[1,0]<stdout>:PODIUM_RESULT {"a": 1}', "bye"], {"a": 1}),
        (['PODIUM_RESULT {"a": 1}', 'PODIUM_RESULT {"a": 2}'], {"a": 2}),
        (['PODIUM_RESULT {"a": 1}', 'PODIUM_RESULT {"a": '], {"a": 1}),
        (["PODIUM_RESULT [1]"], None),
    ],
)
def test_the_last_whole_result_counts(lines: list[str], result: dict[str, int] | None) -> None:
    assert find_result(lines) == result


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"loss": NaN}', r"the result\['loss'\] is nan"),
        ('{"a": [1, -Infinity]}', r"the result\['a'\]\[1\] is -inf"),
        ("1" + "0" * 30, "the result is an integer of 100 bits"),
        ('{"a": "x\\u0000y"}', r"the result\['a'\] holds the character NUL"),
        ('{"a": "\\ud800"}', r"the result\['a'\] holds half a character"),
        ('{"a\\u0000": 1}', "a key of the result holds"),
        ("datetime.date(2026, 1, 1)", "it is no JSON"),
        ("{'a', 'b'}", "it is no JSON"),
        ("[" * 100_000, "it is no JSON"),
    ],
)
def test_a_result_that_cannot_be_kept_is_refused_in_words_and_not_tried_again(text: str, why: str) -> None:
    with pytest.raises(UnfitResultError, match=rf"Pod podium/fit succeeded, but its result cannot be kept: {why}") as e:
        parse(text, "Pod podium/fit")
    assert isinstance(e.value, AirflowFailException)


@pytest.mark.parametrize("value", [None, 1.5, -(2**63), 2**64 - 1, "a\u2028b", {"a": [True, {}]}, "\U0001f600"])
def test_a_result_that_can_be_kept_is_what_it_was(value: object) -> None:
    assert parse(json.dumps(value), "Pod podium/fit") == value
