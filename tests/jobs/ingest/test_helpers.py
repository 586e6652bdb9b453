"""Processes that share an interval: the same rows as from one, and all or nothing."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyarrow.fs import FileSelector
from pyiceberg.catalog.sql import SqlCatalog

from include.jobs.lake.commits import STAGING, files_of
from include.jobs.lake.connections import Connections
from include.jobs.lake.erasures import put_on_list
from include.jobs.lake.ledger import Interval
from include.jobs.lake.pages import staged_intervals
from include.jobs.lake.pseudonyms import Pseudonyms
from include.jobs.lake.tables import ERASURES
from tests.jobs.ingest.broker import Broker, at, record
from tests.jobs.ingest.test_command_line import BOUNDS, platform

__all__ = ["platform"]

# The command line, with an interval of a few records counted as a large one.
MAIN = """
from include.jobs.ingest import helpers
from include.jobs.ingest.__main__ import main
from include.jobs.lake.errors import JobError, run_main
helpers.MIN_RECORDS = 10
"""
# What the helper, or the process that commits, does instead of writing its share.
INSTEAD = """
import multiprocessing, os, signal, time
write = helpers.write
def instead(*arguments):
    if multiprocessing.parent_process() is None:
        {first}
    {helper}
    return write(*arguments)
helpers.write = instead
"""
WRITE = "return write(*arguments)"
INTERVAL = Interval(at(0), at(10))


def call(
    platform: dict[str, str], topic: str, table: str, processes: int, first: str = WRITE, helper: str = WRITE
) -> tuple[int, str]:
    """Exit code and standard error of `interval`."""
    script = MAIN + INSTEAD.format(first=first, helper=helper) + "run_main(main)"
    arguments = ("interval", "--topic", topic, *BOUNDS, "--table", table, "--max-bad-fraction", "0.5")
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments, "--processes", str(processes)],
        env={**os.environ, **platform},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.fixture
def topic(broker: Broker, topic_name: Callable[..., str]) -> str:
    """Partitions of unlike size, good and broken records; five events are in two of them."""
    name = topic_name(3)
    for partition, count in enumerate((200, 7, 0)):
        values = ((hour * 9 / count, hour) for hour in range(count))
        broker.send(name, [(partition, hours, record(hours, n) if n % 5 else b"no") for hours, n in values])
    return name


def staged(catalog: SqlCatalog, table: str) -> list[dict[str, Any]]:
    found = catalog.load_table(table)
    rows = found.scan(snapshot_id=found.snapshot_by_name(STAGING).snapshot_id).to_arrow().to_pylist()
    return sorted(rows, key=lambda row: (row["kafka_partition"], row["kafka_offset"]))


def test_two_processes_write_what_one_writes(
    platform: dict[str, str], tmp_path: Path, topic: str, catalog: SqlCatalog
) -> None:
    results = []
    for processes in (1, 2, 3):
        code, errors = call(platform, topic, f"shares.of_{processes}_{topic[-8:]}", processes)
        assert code == 0, errors
        results.append(json.loads((tmp_path / "return.json").read_text()))
    names = ("read", "accepted", "quarantined", "duplicates", "reasons", "events_per_day", "ranges")
    assert (results[0]["read"], results[0]["duplicates"]) == (207, 5)
    for number, result in enumerate(results, 1):
        assert {name: result[name] for name in names} == {name: results[0][name] for name in names}
        table = f"shares.of_{number}_{topic[-8:]}"
        for name in (table, f"{table}_quarantine"):
            assert staged(catalog, name) == staged(catalog, name.replace(f"of_{number}", "of_1"))
            # Duplicates that are in several shares are found when all are written, and have a file of their own.
            files = number + (name != table)
            assert len(files_of(catalog.load_table(name), INTERVAL.start, STAGING)) == files


def test_every_share_leaves_erased_households_out(
    platform: dict[str, str], tmp_path: Path, topic: str, catalog: SqlCatalog
) -> None:
    (Path(platform["PODIUM_CREDENTIALS_DIR"]) / "pseudonym_key").write_text("a key of the tests")
    put_on_list(catalog, Pseudonyms("a key of the tests").household(900))
    try:
        table = f"shares.erased_{topic[-8:]}"
        code, errors = call(platform, topic, table, 2)
    finally:
        catalog.drop_table(ERASURES.identifier)
    assert code == 0, errors
    result = json.loads((tmp_path / "return.json").read_text())
    # The key of each of them is 900.
    assert (result["read"], result["accepted"], result["quarantined"], result["erased"]) == (207, 0, 0, 207)
    assert staged(catalog, table) == []


@pytest.mark.parametrize(
    ("helper", "told"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "HelperError: a process that wrote a part of the interval has died"),
        ("raise JobError('no record for 60 s')", "JobError: no record for 60 s"),
        ("raise OSError('no route to the store')", "OSError: no route to the store"),
    ],
)
def test_a_helper_that_fails_leaves_nothing(
    platform: dict[str, str], topic: str, catalog: SqlCatalog, connections: Connections, helper: str, told: str
) -> None:
    table = f"shares.failed_{len(helper)}_{topic[-8:]}"
    code, errors = call(platform, topic, table, 2, helper=helper)
    assert code == 1
    assert told in errors
    found = catalog.load_table(table)
    assert list(staged_intervals(found)) == []
    folder = found.location().removeprefix("s3://")
    files = connections.filesystem().get_file_info(FileSelector(folder, recursive=True))
    assert [file.path for file in files if file.path.endswith(".parquet")] == []


def test_a_failure_stops_the_helpers(platform: dict[str, str], topic: str, catalog: SqlCatalog) -> None:
    """`call` returns once no process holds its standard error any more."""
    first, helper = "raise JobError('mine failed')", "time.sleep(3_600)"
    code, errors = call(platform, topic, f"shares.stopped_{topic[-8:]}", 3, first, helper)
    assert (code, errors.splitlines()[-1]) == (1, "JobError: mine failed")
