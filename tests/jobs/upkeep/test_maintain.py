"""Maintenance of a real table beside real writers."""

import threading
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyspark.sql import SparkSession

from include.jobs.lake import pages
from include.jobs.lake.commits import STAGING, files_of
from include.jobs.lake.connections import Connections
from include.jobs.lake.intervals import IntervalWriter
from include.jobs.lake.pages import closed_intervals
from include.jobs.upkeep.maintain import MaintenanceError, Policy, maintain, maintain_all
from include.jobs.upkeep.protect import Models, protect
from tests.jobs.contracted import SALES
from tests.jobs.upkeep.lake import content, data_files, fill, hour, objects, record, register, sale

NAME = SALES.identifier
#: Everything but the current snapshot may go, and every file that no snapshot names.
ALL = Policy(keep_s=0, keep_last=1, orphan_age_s=0, min_input_files=2)


def sales(number: int, count: int = 6, first: int = 0) -> list[dict[str, Any]]:
    return [sale(number * 100 + line, hour(number), 900 + line) for line in range(first, first + count)]


def test_small_files_become_few_the_content_stays_and_what_models_need_too(
    spark: SparkSession, catalog: SqlCatalog, connections: Connections, models: Models
) -> None:
    for number in range(3):
        needed = fill(catalog, number, sales(number), files=3, record=record(number, 6))
    register(models.client, "recommender", {NAME: needed})
    seen_by_model = content(catalog.load_table(NAME), needed)
    gone = fill(catalog, 0, sales(0, 5), files=3, record=record(0, 5))
    fill(catalog, 0, sales(0, 4), files=3, record=record(0, 4))
    fill(catalog, 7, sales(7), branch=STAGING)
    before, table = content(catalog.load_table(NAME)), catalog.load_table(NAME)
    ledger = {key: value for key, value in table.properties.items() if key.startswith("podium.")}
    with IntervalWriter(table, hour(9), SALES.arrow_schema) as killed:
        killed.write(pa.RecordBatch.from_pylist(sales(9), schema=SALES.arrow_schema))
    orphan = killed.files[0].file_path

    assert protect(catalog, [NAME], models.snapshots()).set == 1
    done = maintain(spark, NAME, ALL)

    after = catalog.load_table(NAME)
    assert content(after) == before
    assert (done.snapshot_id, done.rows) == (after.metadata.current_snapshot_id, after.scan().count())
    assert (done.compacted_files, done.compacted_into, len(data_files(after))) == (9, 3, 3)
    assert done.orphans > 0
    assert done.statistics
    assert {key: value for key, value in after.properties.items() if key.startswith("podium.")} == ledger
    assert content(after, needed) == seen_by_model
    assert after.snapshot_by_id(gone) is None
    there = objects(connections, after.location())
    assert orphan not in there
    assert data_files(after) <= there
    assert {file.file_path for file in files_of(after, hour(7), STAGING)} <= there
    # Content is there once for main, once for the model, once staged: nothing else is left.
    parquet = {path for path in there if path.endswith(".parquet")}
    kept = {task.file.file_path for task in after.scan(snapshot_id=needed).plan_files()}
    assert parquet == data_files(after) | kept | {file.file_path for file in files_of(after, hour(7), STAGING)}


def test_pages_of_the_ledger_are_no_orphans(
    spark: SparkSession, catalog: SqlCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "FOLD_PAST", 2)
    monkeypatch.setattr(pages, "KEEP", 1)
    for number in range(4):
        fill(catalog, number, sales(number), record=record(number, 6))
    table = catalog.load_table(NAME)
    assert any(key.startswith(pages.PAGE_PREFIX) for key in table.properties)
    with IntervalWriter(table, hour(9), SALES.arrow_schema) as killed:
        killed.write(pa.RecordBatch.from_pylist(sales(9), schema=SALES.arrow_schema))
    assert maintain(spark, NAME, ALL).orphans > 0
    assert list(closed_intervals(catalog.load_table(NAME))) == [record(number, 6) for number in range(4)]


def test_writers_at_work_lose_nothing(spark: SparkSession, catalog: SqlCatalog) -> None:
    for number in range(4):
        fill(catalog, number, sales(number), files=3)
    at_work, rounds, failures = threading.Event(), [0] * 4, list[BaseException]()

    def write(number: int) -> None:
        try:
            for _ in range(4):
                rounds[number] += 1
                fill(catalog, number, sales(number, 6, first=rounds[number]), files=3)
                at_work.set()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    assert at_work.wait(60)
    try:
        maintain(spark, NAME, Policy(keep_s=3600, keep_last=1, orphan_age_s=86_400, min_input_files=2))
    finally:
        for thread in threads:
            thread.join()
    assert failures == []
    table = catalog.load_table(NAME)
    wanted = [row for number in range(4) for row in sales(number, 6, first=rounds[number])]
    found = table.scan(selected_fields=("event_id", "household_id")).to_arrow().to_pylist()
    assert sorted((row["event_id"], row["household_id"]) for row in found) == sorted(
        (row["event_id"], row["household_id"]) for row in wanted
    )


def test_what_is_young_stays_and_a_table_that_fails_is_named_while_the_others_are_done(
    spark: SparkSession, catalog: SqlCatalog, connections: Connections
) -> None:
    fill(catalog, 0, sales(0), files=3)
    damaged = catalog.load_table(NAME)
    damaged.io.delete(min(data_files(damaged)))
    first = fill(catalog, 0, sales(0), spec=replace(SALES, identifier="sales.others"))
    fill(catalog, 0, sales(0, 3), spec=replace(SALES, identifier="sales.others"))
    there = objects(connections, catalog.load_table("sales.others").location())
    with pytest.raises(MaintenanceError, match=rf"(?s)1 of 2 tables.*\n  {NAME}: "):
        maintain_all(
            spark, [NAME, "sales.others"], Policy(keep_s=3600, keep_last=1, orphan_age_s=86_400, min_input_files=2)
        )
    others = catalog.load_table("sales.others")
    assert others.snapshot_by_id(first) is not None
    assert there <= objects(connections, others.location())
    assert [file.snapshot_id for file in others.metadata.statistics] == [others.metadata.current_snapshot_id]
