"""The command line: what fails says so in one line, with an exit code that tells a retry from a mend."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from include.jobs.lake.connections import Connections
from include.jobs.lake.errors import EXIT_TRY_LATER
from tests.jobs.ingest.broker import Broker, record
from tests.services import Services

TABLE = ("--table", "sales.transactions", "--contract", "transactions.v1")
BOUNDS = (*TABLE, "--start", "2016-12-31T19:00:00-05:00", "--end", "2017-01-01T05:00:00-05:00")


def bounds(*moments: str) -> list[tuple[str, ...]]:
    """The arguments for the intervals between some moments."""
    return [(*TABLE, "--start", start, "--end", end) for start, end in pairwise(moments)]


def call(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "include.jobs.ingest", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def platform(services: Services, tmp_path: Path) -> dict[str, str]:
    """What a pod finds."""
    folder = services.write_credentials(tmp_path / "credentials")
    return services.platform_environment | {
        "PODIUM_CREDENTIALS_DIR": str(folder),
        "PODIUM_XCOM_PATH": str(tmp_path / "return.json"),
        "PODIUM_RUN_ID": "run-7",
    }


def test_an_interval_is_ingested_and_judged(
    platform: dict[str, str], tmp_path: Path, broker: Broker, topic_name: Callable[..., str], catalog: object
) -> None:
    topic = topic_name(1)
    broker.send(topic, [(0, number / 2, record(number / 2, number)) for number in range(20)] + [(0, 9, b"no")])
    done = call("interval", "--topic", topic, *BOUNDS, "--max-bad-fraction", "0.1", **platform)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "return.json").read_text())
    assert (result["read"], result["accepted"], result["quarantined"]) == (21, 20, 1)
    assert done.stdout.splitlines()[-1] == f"PODIUM_RESULT {json.dumps(result, sort_keys=True)}"

    failed = call("interval", "--topic", topic, *BOUNDS, "--max-bad-fraction", "0.01", **platform)
    assert failed.returncode == 1
    assert "TooManyBadRecordsError: interval" in failed.stderr
    assert "Traceback" not in failed.stderr

    early = call(
        *("interval", "--topic", topic, "--allowed-lateness", "3e9"),
        *(*TABLE, "--start", "2017-01-01T10:00:00Z", "--end", "2017-01-01T20:00:00Z"),
        **platform,
    )
    assert early.returncode == EXIT_TRY_LATER
    assert "IntervalOpenError" in early.stderr

    assert call("reference", **platform).returncode == 0
    judged = call("validate", *BOUNDS, **platform)
    assert judged.returncode == 0, judged.stderr
    verdict = json.loads((tmp_path / "return.json").read_text())
    assert (verdict["success"], verdict["published"]) == (False, False)
    assert {entry["expectation"] for entry in verdict["failed_expectations"]} == {
        "expect_column_quantile_values_to_be_between"
    }
    assert verdict["explanation"] in judged.stderr
    assert "Refused: [2017-01-01T00:00:00Z, 2017-01-01T10:00:00Z)" in verdict["explanation"]


def test_days_are_staged_discarded_mended_and_published(
    platform: dict[str, str],
    tmp_path: Path,
    broker: Broker,
    topic_name: Callable[..., str],
    catalog: object,
    connections: Connections,
) -> None:
    topic = topic_name(1)
    broker.send(topic, [(0, hour, record(hour, hour, sales_value=1 + hour % 9)) for hour in range(48)])
    broker.send(topic, [(0, 47, b"no")])
    days = (
        *TABLE,
        "--start",
        "2017-01-01T00:00:00Z",
        "--end",
        "2017-01-03T00:00:00Z",
        "--unit",
        "day",
        "--timezone",
        "UTC",
    )
    second = (*TABLE, "--start", "2017-01-02T00:00:00Z", "--end", "2017-01-03T00:00:00Z")

    def result(*arguments: str) -> dict[str, Any]:
        done = call(*arguments, **platform)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads((tmp_path / "return.json").read_text())
        return found

    assert result("reference")["tables"]["reference.products"]["rows"] == 92_331
    staged = result("interval", "--topic", topic, *days)
    assert (staged["read"], staged["accepted"], staged["intervals"]) == (49, 48, 2)
    assert result("discard", *second) == {"discarded": True}
    assert result("interval", "--topic", topic, *second, "--max-bad-fraction", "0.1")["accepted"] == 24
    assert result("validate", *days)["published"]

    lines = json.dumps({"partition": 0, "offset": 48, "key": "900", "value": json.loads(record(47, 99))})
    with connections.filesystem().open_output_stream("lake/mended/second.ndjson") as stream:
        stream.write(lines.encode())
    replayed = result("replay", *second, "--mended", "s3://lake/mended/second.ndjson")
    assert (replayed["replayed"], replayed["quarantined"], replayed["unknown"]) == (1, 0, [])
    assert result("validate", *second)["rows"] == 25


def test_records_that_an_outage_made_late_are_refused_and_published_by_name(
    platform: dict[str, str], tmp_path: Path, broker: Broker, topic_name: Callable[..., str], catalog: object
) -> None:
    """As the DAG's page has it: first a look, then the same two commands with `max_stray_fraction: 1`."""
    topic = topic_name(1)

    def hour(moment: float, number: int) -> tuple[int, float, bytes]:
        return 0, moment, record(moment, number, sales_value=1 + number % 9)

    first, second = bounds("2017-01-01T00:00:00Z", "2017-01-01T10:00:00Z", "2017-01-01T20:00:00Z")
    broker.send(topic, [hour(number / 5, number) for number in range(1, 50)])
    assert call("reference", **platform).returncode == 0
    for command in (("interval", "--topic", topic), ("validate",)):
        assert call(*command, *first, **platform).returncode == 0
    # Of the hours before, sent once the producer was back.
    broker.send(topic, [hour(number / 20, number) for number in range(101, 131)])
    broker.send(topic, [hour(10 + number / 20, number) for number in range(151, 199)])
    assert call("interval", "--topic", topic, *second, **platform).returncode == 0
    refused = call("validate", *second, **platform)
    verdict = json.loads((tmp_path / "return.json").read_text())
    assert (refused.returncode, verdict["success"], verdict["published"]) == (0, False, False)
    assert [entry["column"] for entry in verdict["failed_expectations"]] == ["event_time"]
    assert call("validate", *second, "--max-stray-fraction", "0.1", **platform).returncode == 0
    assert not json.loads((tmp_path / "return.json").read_text())["published"]
    for command in (("interval", "--topic", topic), ("validate", "--max-stray-fraction", "1")):
        done = call(*command, *second, **platform)
        assert done.returncode == 0, done.stderr
    verdict = json.loads((tmp_path / "return.json").read_text())
    assert (verdict["success"], verdict["published"], verdict["rows"]) == (True, True, 78)


def test_a_table_goes_on_after_its_topic_was_made_anew_and_gives_up_what_is_gone(
    platform: dict[str, str], tmp_path: Path, broker: Broker, topic_name: Callable[..., str], catalog: object
) -> None:
    topic = topic_name(1)
    first, second = bounds("2017-01-01T00:00:00Z", "2017-01-01T10:00:00Z", "2017-01-01T20:00:00Z")

    def result(*arguments: str) -> dict[str, Any]:
        done = call(*arguments, **platform)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads((tmp_path / "return.json").read_text())
        return found

    def refused(why: str, *arguments: str) -> None:
        done = call(*arguments, **platform)
        assert done.returncode == 1
        assert f"{why}: " in done.stderr
        assert "Traceback" not in done.stderr

    good = [(0, hour, record(hour, hour, sales_value=1 + hour)) for hour in range(20)]
    broker.send(topic, good)
    assert result("reference")["tables"]
    assert result("interval", "--topic", topic, *first)["read"] == 10
    assert result("validate", *first)["published"]
    broker.drop_before(topic, 0, 4)
    refused("RetentionError", "interval", "--topic", topic, *first)
    taken = result("interval", "--topic", topic, *first, "--found-less", "take")
    assert (taken["read"], taken["given_up"]) == (6, 4)
    (events,) = (each for each in taken["datasets"]["outputs"] if each["name"] == "sales.transactions")
    assert events["given_up"] == 4, "the audit trail has it"
    assert result("validate", *first)["rows"] == 6

    broker.delete(topic)
    broker.create(topic, 1)
    broker.send(topic, good[8:])
    refused("TopicChangedError", "interval", "--topic", topic, *second)
    moved = ("adopt-topic", "--topic", topic, *TABLE, "--from")
    refused("AdoptionError", *moved, "2017-01-01T05:00:00Z")
    adopted = result(*moved, "2017-01-01T10:00:00Z")
    assert (adopted["topic"], adopted["from"]) == (topic, "2017-01-01T10:00:00Z")
    assert result("interval", "--topic", topic, *second)["ranges"] == {"0": [2, 12]}
    assert result("validate", *second)["published"]


@pytest.mark.parametrize(
    "option", [("--allowed-lateness", "-1"), ("--allowed-lateness", "1e12"), ("--max-bad-fraction", "2")]
)
def test_options_out_of_range_are_refused(option: tuple[str, str]) -> None:
    done = call("interval", "--topic", "events", *BOUNDS, *option)
    assert done.returncode == 2
    assert f"argument {option[0]}: {option[1]} is not between 0 and" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((*TABLE, "--start", "2017-01-01", "--end", "2017-02-01"), "LedgerError: start '2017-01-01' has no UTC offset"),
        (BOUNDS, "ConnectionSettingsError: environment variable KAFKA_BOOTSTRAP_SERVERS is not set"),
    ],
)
def test_what_is_missing_is_named(arguments: tuple[str, ...], text: str) -> None:
    done = call("interval", "--topic", "events", *arguments)
    assert done.returncode == 1
    assert text in done.stderr
    assert "Traceback" not in done.stderr
