"""Results: where the orchestrator looks, whole or not at all."""

import json
from pathlib import Path

import pytest

from include.jobs.lake.errors import EXIT_TRY_LATER, JobError, LakeError, run_main
from include.jobs.lake.result import read_object, write_result


def test_a_result_is_a_file_and_a_log_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "xcom" / "return.json"
    write_result({"read": 3}, {"PODIUM_XCOM_PATH": str(path)})
    assert json.loads(path.read_text()) == {"read": 3}
    assert list(path.parent.iterdir()) == [path]
    assert capsys.readouterr().out == 'PODIUM_RESULT {"read": 3}\n'


def test_without_a_path_the_log_line_remains(capsys: pytest.CaptureFixture[str]) -> None:
    write_result({"read": 3}, {})
    assert capsys.readouterr().out == 'PODIUM_RESULT {"read": 3}\n'


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_is_null(number: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """JSON knows no other numbers, and no database column, browser or other language reads them."""
    path = tmp_path / "return.json"
    result = {"rows": [{"p_value": number}, (number, 0.5)], "none": None, "count": 3}
    write_result(result, {"PODIUM_XCOM_PATH": str(path)})
    expected = {"rows": [{"p_value": None}, [None, 0.5]], "none": None, "count": 3}

    def refused(name: str) -> None:
        pytest.fail(f"{name} is no JSON")

    assert json.loads(path.read_text(), parse_constant=refused) == expected
    assert json.loads(capsys.readouterr().out.removeprefix("PODIUM_RESULT "), parse_constant=refused) == expected


@pytest.mark.parametrize("uri", ["file:///tmp/x", "s3://bucket", "s3:///key", "key"])
def test_an_address_that_is_none_is_refused(uri: str) -> None:
    with pytest.raises(LakeError, match=r"is no object address: give s3://bucket/key"):
        read_object(uri, None)  # type: ignore[arg-type]


def test_a_job_error_ends_the_process_with_its_text_and_code(capsys: pytest.CaptureFixture[str]) -> None:
    class TooEarlyError(JobError):
        exit_code = EXIT_TRY_LATER

    def main() -> None:
        raise TooEarlyError("come back at noon")

    with pytest.raises(SystemExit) as ended:
        run_main(main)
    assert ended.value.code == EXIT_TRY_LATER
    assert capsys.readouterr().err == "TooEarlyError: come back at noon\n"
