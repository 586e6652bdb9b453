import pytest
from podium.results import find_result


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
