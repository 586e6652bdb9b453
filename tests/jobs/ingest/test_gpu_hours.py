"""Folding the records of GPU-hours into their table, on a real lake."""

import contextlib
import json
from typing import Any
from urllib.parse import urlsplit

import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import NoSuchTableError

from include.jobs.ingest.gpu_hours import PREFIX, fold
from include.jobs.lake.connections import Connections
from include.jobs.lake.inbox import MalformedRecordError
from include.jobs.lake.tables import GPU_HOURS


@pytest.fixture(autouse=True)
def empty(connections: Connections, catalog: SqlCatalog) -> None:
    with contextlib.suppress(NoSuchTableError):
        catalog.drop_table(GPU_HOURS.identifier)
    files = connections.filesystem()
    files.create_dir(folder(connections))
    files.delete_dir_contents(folder(connections))


def folder(connections: Connections) -> str:
    return f"{urlsplit(connections.warehouse).netloc}/{PREFIX}"


def usage(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "try_id": f"{number:032x}",
        "dag_id": "train_recommender",
        "run_id": "manual__1",
        "task_id": "train",
        "map_index": -1,
        "try_number": 1,
        "owner": "ml-platform",
        "state": "success",
        "pool": "gpu-a100",
        "gpu_product": "A100",
        "gpus": 2,
        "started": "2026-01-01T00:00:00+00:00",
        "ended": "2026-01-01T00:30:00+00:00",
        "seconds": 1800.0,
        "cost": 3.5,
        **changes,
    }


def leave(connections: Connections, *records: Any) -> None:
    for number, record in enumerate(records):
        name = record["try_id"] if isinstance(record, dict) else f"odd-{number}"
        text = json.dumps(record) if isinstance(record, dict) else record
        with connections.filesystem().open_output_stream(f"{folder(connections)}/{name}.json") as stream:
            stream.write(text.encode())


def left(connections: Connections) -> list[str]:
    import pyarrow.fs as pafs

    found = connections.filesystem().get_file_info(pafs.FileSelector(folder(connections), allow_not_found=True))
    return [info.base_name for info in found if info.base_name.endswith(".json")]


def rows(catalog: SqlCatalog) -> list[dict[str, Any]]:
    table = catalog.load_table(GPU_HOURS.identifier).scan().to_arrow()
    return sorted(table.to_pylist(), key=lambda row: str(row["try_id"]))


def test_each_try_becomes_one_row_and_its_record_goes(connections: Connections, catalog: SqlCatalog) -> None:
    leave(connections, usage(1), usage(2, state="failed", try_number=2))
    done = fold(connections, catalog)
    assert (done.added, done.known, done.gpu_hours, done.cost) == (2, 0, 2.0, 7.0)
    assert left(connections) == []
    first, second = rows(catalog)
    assert first["started"].isoformat() == "2026-01-01T00:00:00+00:00"
    assert (first["gpus"], first["pool"], first["cost"]) == (2, "gpu-a100", 3.5)
    assert (second["state"], second["try_number"]) == ("failed", 2)


def test_without_records_there_is_an_empty_table(connections: Connections, catalog: SqlCatalog) -> None:
    assert fold(connections, catalog).added == 0
    assert rows(catalog) == []


def test_a_record_that_was_folded_before_a_crash_or_is_reported_again_changes_nothing(
    connections: Connections, catalog: SqlCatalog
) -> None:
    leave(connections, usage(1))
    fold(connections, catalog)
    leave(connections, usage(1, state="failed", seconds=9999.0), usage(2))
    done = fold(connections, catalog)
    assert (done.added, done.known) == (1, 1)
    assert [(row["try_id"][-1], row["seconds"]) for row in rows(catalog)] == [("1", 1800.0), ("2", 1800.0)]
    assert left(connections) == []


@pytest.mark.parametrize("text", ["no JSON", "[]", '{"try_id": "x"}'])
def test_an_object_that_is_no_record_is_named_and_loses_nothing(
    connections: Connections, catalog: SqlCatalog, text: str
) -> None:
    leave(connections, text, usage(1))
    with pytest.raises(MalformedRecordError, match=r"s3://lake/gpu-hours/odd-0\.json .*correct it or remove it"):
        fold(connections, catalog)
    assert len(left(connections)) == 2
