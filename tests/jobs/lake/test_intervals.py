"""Replacing intervals in a real lake: one snapshot, all or nothing, many writers at once."""

import datetime as dt
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import ValidationException
from pyiceberg.manifest import DataFile, ManifestFile
from pyiceberg.table import Table
from pyiceberg.table.refs import MAIN_BRANCH
from pyiceberg.table.snapshots import Operation
from pyiceberg.table.update import snapshot

from include.jobs.lake import commits, intervals
from include.jobs.lake.catalog import CatalogUnavailableError, ensure_table, load_table, open_catalog
from include.jobs.lake.commits import (
    STAGING,
    CommitConflictError,
    discard_staged,
    files_of,
    publish_interval,
    replace_interval,
)
from include.jobs.lake.connections import Connections
from include.jobs.lake.errors import LakeError
from include.jobs.lake.intervals import IntervalWriter
from include.jobs.lake.result import read_object, write_object
from include.jobs.lake.tables import QUARANTINE


def hour(number: int) -> dt.datetime:
    return dt.datetime(2017, 1, 1, number, tzinfo=dt.UTC)


def rows(start: dt.datetime, values: list[int]) -> pa.RecordBatch:
    schema = QUARANTINE.arrow_schema
    lines = [
        {
            "interval_start": start,
            "kafka_partition": 0,
            "kafka_offset": value,
            "event_time": start,
            "key": b"k",
            "value": None,
            "reason": "not_json",
            "detail": "",
            "run_id": "r",
        }
        for value in values
    ]
    return pa.RecordBatch.from_pylist(lines, schema=schema)


def write(table: Table, start: dt.datetime, values: list[int]) -> list[DataFile]:
    with IntervalWriter(table, start, QUARANTINE.arrow_schema) as writer:
        writer.write(rows(start, values))
    return writer.files


def replace(catalog: SqlCatalog, start: dt.datetime, values: list[int]) -> int:
    table = ensure_table(catalog, QUARANTINE)
    return commit(catalog, start, write(table, start, values))


def commit(
    catalog: SqlCatalog, start: dt.datetime, files: list[DataFile], branch: str = MAIN_BRANCH, **options: Any
) -> int:
    summary = {"podium.run-id": "r"}
    return replace_interval(catalog, QUARANTINE.identifier, start, files, branch=branch, summary=summary, **options)


def stage(catalog: SqlCatalog, start: dt.datetime, values: list[int], **options: Any) -> int:
    return commit(catalog, start, write(ensure_table(catalog, QUARANTINE), start, values), STAGING, **options)


def publish(catalog: SqlCatalog, start: dt.datetime, **options: Any) -> int:
    return publish_interval(catalog, QUARANTINE.identifier, start, summary={}, **options)


def staged(catalog: SqlCatalog) -> list[int]:
    table = catalog.load_table(QUARANTINE.identifier)
    return offsets(table, table.snapshot_by_name(STAGING).snapshot_id)  # type: ignore[union-attr]


def offsets(table: Table, snapshot_id: int | None = None) -> list[int]:
    return sorted(table.scan(snapshot_id=snapshot_id).to_arrow()["kafka_offset"].to_pylist())


def test_an_interval_is_replaced_in_one_snapshot(catalog: SqlCatalog) -> None:
    ids = [replace(catalog, hour(0), [1, 2]), replace(catalog, hour(1), [3]), replace(catalog, hour(0), [4])]
    table = catalog.load_table(QUARANTINE.identifier)
    assert [snapshot.snapshot_id for snapshot in table.snapshots()] == ids
    assert [offsets(table, one) for one in ids] == [[1, 2], [1, 2, 3], [3, 4]], "no as-of read meets a gap"
    summary = table.current_snapshot().summary  # type: ignore[union-attr]
    assert summary is not None
    assert summary.operation is Operation.OVERWRITE
    assert summary["podium.run-id"] == "r"
    assert (summary["added-records"], summary["deleted-records"], summary["total-records"]) == ("1", "2", "2")


def test_nothing_replaces_something_and_nothing(catalog: SqlCatalog) -> None:
    replace(catalog, hour(0), [1, 2])
    replace(catalog, hour(0), [])
    replace(catalog, hour(1), [])
    table = catalog.load_table(QUARANTINE.identifier)
    assert offsets(table) == []
    assert len(table.snapshots()) == 3, "every commit is a snapshot, so that a conflict is noticed"


def test_properties_are_set_in_the_same_commit_and_the_check_can_end_it(catalog: SqlCatalog) -> None:
    table = ensure_table(catalog, QUARANTINE)

    def refuse(_: Table) -> None:
        raise LakeError("no")

    with pytest.raises(LakeError, match="no"):
        replace_interval(
            catalog,
            QUARANTINE.identifier,
            hour(0),
            [],
            branch=MAIN_BRANCH,
            summary={},
            properties={"podium.x": "1"},
            check=refuse,
        )
    assert "podium.x" not in catalog.load_table(QUARANTINE.identifier).properties
    commit(catalog, hour(0), [], properties={"podium.x": "1"})
    table = catalog.load_table(QUARANTINE.identifier)
    assert table.properties["podium.x"] == "1"
    assert "commit.retry.num-retries" not in table.properties


def test_writers_of_different_intervals_do_not_disturb_each_other(
    catalog: SqlCatalog, connections: Connections
) -> None:
    ensure_table(catalog, QUARANTINE)
    writers = 8
    begin = threading.Barrier(writers)

    def run(number: int) -> None:
        mine = open_catalog(connections)
        files = write(mine.load_table(QUARANTINE.identifier), hour(number), [number])
        begin.wait()
        properties = {f"podium.interval.{number}": "closed"}
        commit(mine, hour(number), files, properties=properties)

    with ThreadPoolExecutor(writers) as pool:
        list(pool.map(run, range(writers)))
    table = catalog.load_table(QUARANTINE.identifier)
    assert offsets(table) == list(range(writers))
    assert sum(key.startswith("podium.interval.") for key in table.properties) == writers


def test_the_check_sees_every_state_that_is_built_on(catalog: SqlCatalog) -> None:
    """Another writer commits between the check and the commit: the check is asked again about the new state."""
    ensure_table(catalog, QUARANTINE)
    seen: list[int] = []

    def check(table: Table) -> None:
        seen.append(len(table.snapshots()))
        if len(seen) == 1:
            replace(catalog, hour(5), [50])

    files = write(catalog.load_table(QUARANTINE.identifier), hour(0), [1])
    commit(catalog, hour(0), files, check=check)
    assert seen == [0, 1]
    assert offsets(catalog.load_table(QUARANTINE.identifier)) == [1, 50]


def test_a_commit_that_always_loses_ends_in_a_clear_error(catalog: SqlCatalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commits, "COMMIT_DEADLINE_S", 0.0)
    files = write(ensure_table(catalog, QUARANTINE), hour(0), [1])

    def disturb(_: Table) -> None:
        commit(catalog, hour(5), [])

    with pytest.raises(CommitConflictError, match=r"interval 2017-01-01T00:00:00Z .* lost \d+ commits in a row"):
        commit(catalog, hour(0), files, check=disturb)


@pytest.mark.parametrize("mistakes", [1, 1_000])
def test_a_manifest_that_pyiceberg_overlooks_is_looked_at_again(
    catalog: SqlCatalog, monkeypatch: pytest.MonkeyPatch, mistakes: int
) -> None:
    """Threads share its evaluator, which keeps state; one that answers for another manifest is what that comes to."""
    replace(catalog, hour(0), [1])
    replace(catalog, hour(1), [2])
    real, left = snapshot.manifest_evaluator, iter(range(mistakes))

    def evaluator(*arguments: Any) -> Callable[[ManifestFile], bool]:
        ask = real(*arguments)

        def answer(manifest: ManifestFile) -> bool:
            of_a_pool = threading.current_thread() is not threading.main_thread()
            return False if of_a_pool and ask(manifest) and next(left, None) is not None else ask(manifest)

        return answer

    monkeypatch.setattr(snapshot, "manifest_evaluator", evaluator)
    if mistakes == 1:
        replace(catalog, hour(0), [3])
    else:
        with pytest.raises(ValidationException, match="Missing required files"):
            replace(catalog, hour(0), [3])
    assert next(left, None) is None or mistakes > 1, "the mistake was made"
    assert offsets(catalog.load_table(QUARANTINE.identifier)) == ([2, 3] if mistakes == 1 else [1, 2])


def test_a_failed_writing_leaves_no_file(catalog: SqlCatalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "ROW_GROUP_ROWS", 1)
    table = ensure_table(catalog, QUARANTINE)
    paths: list[str] = []

    def stop_in_the_middle(writer: IntervalWriter) -> None:
        with writer:
            writer.write(rows(hour(0), [1]))
            paths.extend(writer._paths)
            raise RuntimeError("stop")

    writer = IntervalWriter(table, hour(0), QUARANTINE.arrow_schema)
    with pytest.raises(RuntimeError, match="stop"):
        stop_in_the_middle(writer)
    assert len(paths) == 1
    assert not table.io.new_input(paths[0]).exists()
    assert writer.files == []


def test_a_large_interval_becomes_several_files(catalog: SqlCatalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "FILE_BYTES", 10_000)
    monkeypatch.setattr(intervals, "ROW_GROUP_ROWS", 1_000)
    table = ensure_table(catalog, QUARANTINE)
    with IntervalWriter(table, hour(0), QUARANTINE.arrow_schema) as writer:
        for begin in range(0, 20_000, 2_000):
            batch = rows(hour(0), list(range(begin, begin + 2_000)))
            noise = pa.array([f"{value * 7919 % 104729:x}" * 4 for value in range(begin, begin + 2_000)])
            detail = pc.cast(noise, batch.schema.field("detail").type)
            writer.write(batch.set_column(batch.schema.get_field_index("detail"), batch.schema.field("detail"), detail))
    assert len(writer.files) > 1
    commit(catalog, hour(0), writer.files)
    table = catalog.load_table(QUARANTINE.identifier)
    assert offsets(table) == list(range(20_000))
    found = table.scan(row_filter="kafka_offset == 7").to_arrow()
    assert found.num_rows == 1, "column statistics lead to the file"


def test_what_is_staged_is_seen_only_once_it_is_published(catalog: SqlCatalog) -> None:
    replace(catalog, hour(0), [1, 2])
    stage(catalog, hour(0), [3], properties={"podium.staged.x": "1"})
    stage(catalog, hour(1), [4])
    table = catalog.load_table(QUARANTINE.identifier)
    assert (offsets(table), staged(catalog)) == ([1, 2], [3, 4])
    snapshot_id = publish(catalog, hour(0), closing={"podium.interval.x": "1"}, staged="podium.staged.x")
    table = catalog.load_table(QUARANTINE.identifier)
    assert (offsets(table), staged(catalog)) == ([3], [4])
    assert table.current_snapshot().snapshot_id == snapshot_id  # type: ignore[union-attr]
    assert table.properties["podium.interval.x"] == "1"
    assert "podium.staged.x" not in table.properties
    publish(catalog, hour(1))
    assert (offsets(catalog.load_table(QUARANTINE.identifier)), staged(catalog)) == ([3, 4], [])


def test_staging_anew_replaces_and_discarding_forgets(catalog: SqlCatalog) -> None:
    replace(catalog, hour(0), [1])
    stage(catalog, hour(0), [2, 3])
    stage(catalog, hour(0), [4], properties={"podium.staged.x": "1"})
    assert staged(catalog) == [4]
    (file,) = files_of(catalog.load_table(QUARANTINE.identifier), hour(0), STAGING)
    discard_staged(catalog, QUARANTINE.identifier, hour(0), summary={}, staged="podium.staged.x")
    table = catalog.load_table(QUARANTINE.identifier)
    assert (offsets(table), staged(catalog)) == ([1], [])
    assert not table.io.new_input(file.file_path).exists()
    assert "podium.staged.x" not in table.properties


def test_nothing_can_be_staged_and_published(catalog: SqlCatalog) -> None:
    """An empty interval that replaces a full one, on a table that never had a commit before."""
    stage(catalog, hour(0), [])
    publish(catalog, hour(0))
    replace(catalog, hour(0), [1])
    stage(catalog, hour(0), [])
    publish(catalog, hour(0))
    assert offsets(catalog.load_table(QUARANTINE.identifier)) == []


def test_the_staging_branch_keeps_no_past(catalog: SqlCatalog) -> None:
    for number in range(5):
        stage(catalog, hour(number), [number])
        publish(catalog, hour(number))
    table = catalog.load_table(QUARANTINE.identifier)
    assert len(table.snapshots()) == 1 + 5 + 1, "the empty first one, one for each interval, and the branch's head"
    assert files_of(table, hour(3), MAIN_BRANCH)
    assert files_of(table, hour(3), STAGING) == []


def test_intervals_are_staged_and_published_side_by_side(catalog: SqlCatalog, connections: Connections) -> None:
    """On a table that is not there yet."""
    writers = 6
    begin = threading.Barrier(writers)

    def run(number: int) -> None:
        mine = open_catalog(connections)
        begin.wait()
        stage(mine, hour(number), [number, number + 100])
        publish(mine, hour(number))

    with ThreadPoolExecutor(writers) as pool:
        list(pool.map(run, range(writers)))
    table = catalog.load_table(QUARANTINE.identifier)
    assert offsets(table) == [*range(writers), *range(100, 100 + writers)]
    assert staged(catalog) == []


def test_a_staging_in_between_makes_the_check_run_again(catalog: SqlCatalog) -> None:
    """What may be staged depends on what else is: two that stage at once must notice each other."""
    stage(catalog, hour(5), [50])
    seen: list[list[int]] = []

    def check(_: Table) -> None:
        seen.append(staged(catalog))
        if len(seen) == 1:
            stage(catalog, hour(6), [60])

    stage(catalog, hour(0), [1], check=check)
    assert seen == [[50], [50, 60]]
    assert staged(catalog) == [1, 50, 60]


def test_tables_are_made_once_by_many(catalog: SqlCatalog, connections: Connections) -> None:
    with ThreadPoolExecutor(6) as pool:
        tables = list(pool.map(lambda _: ensure_table(open_catalog(connections), QUARANTINE), range(6)))
    assert len({table.metadata.table_uuid for table in tables}) == 1


def test_a_missing_table_and_catalog_are_named(catalog: SqlCatalog, connections: Connections) -> None:
    with pytest.raises(LakeError, match=r"table sales\.transactions is not in the lake"):
        load_table(catalog, "sales.transactions")
    fields = {name: getattr(connections, name) for name in connections.__slots__}
    wrong = Connections(**{**fields, "catalog_password": "wrong"})
    with pytest.raises(CatalogUnavailableError, match=r"cannot be used: .*password authentication failed"):
        open_catalog(wrong)


def test_objects_round_trip(connections: Connections) -> None:
    write_object("s3://lake/results/x/y.json", {"a": 1}, connections)
    assert read_object("s3://lake/results/x/y.json", connections) == {"a": 1}
    with pytest.raises(LakeError, match=r"no result at s3://lake/results/none\.json"):
        read_object("s3://lake/results/none.json", connections)
