"""The audit trail on a real lake: appended once, and whatever is done to it afterwards shows."""

import datetime as dt
import json
import threading
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.expressions import EqualTo

from include.jobs.lake.connections import Connections
from include.jobs.lake.errors import LakeError
from include.jobs.lake.inbox import MalformedRecordError
from include.jobs.lake.tables import AUDIT
from include.jobs.upkeep.audit import PREFIX, Head, HeadError, TamperedError, chained, hash_of, record, verify


@pytest.fixture(autouse=True)
def empty(connections: Connections, catalog: SqlCatalog) -> None:
    files = connections.filesystem()
    files.create_dir(folder(connections))
    files.delete_dir_contents(folder(connections))


def folder(connections: Connections) -> str:
    return f"{urlsplit(connections.warehouse).netloc}/{PREFIX}"


def said(number: int, **changes: Any) -> dict[str, Any]:
    """A record as Airflow leaves it; a later number ended later."""
    return {
        "try_id": f"{number:032x}",
        "dag_id": "ingest_transactions",
        "run_id": "scheduled__1",
        "task_id": "ingest",
        "map_index": -1,
        "try_number": 1,
        "owner": "ml-platform",
        "started_by": "scheduled",
        "started": "2026-01-01T00:00:00+00:00",
        "ended": f"2026-01-01T00:{number:02d}:00.000001+00:00",
        "code_version": "abc",
        "image": "podium/ingest:dev",
        "image_digest": "sha256:1",
        "inputs": "[]",
        "outputs": '[{"kind": "table", "name": "sales.transactions", "rows": 5, "snapshot_id": "7"}]',
        "state": "success",
        "error": "",
        **changes,
    }


def leave(connections: Connections, *records: Any) -> None:
    for number, left in enumerate(records):
        name, text = (left["try_id"], json.dumps(left)) if isinstance(left, dict) else (f"odd-{number}", left)
        with connections.filesystem().open_output_stream(f"{folder(connections)}/{name}.json") as stream:
            stream.write(text.encode())


def rows(catalog: SqlCatalog) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = catalog.load_table(AUDIT.identifier).scan().to_arrow().sort_by("number").to_pylist()
    return found


def rewrite(catalog: SqlCatalog, changed: list[dict[str, Any]]) -> None:
    """What somebody with the right to write the table can do."""
    catalog.load_table(AUDIT.identifier).overwrite(pa.Table.from_pylist(changed, schema=AUDIT.arrow_schema))


def test_what_people_asked_for_is_in_the_chain(connections: Connections, catalog: SqlCatalog) -> None:
    nothing = {"task_id": "", "try_number": 0, "code_version": "", "image": "", "image_digest": ""}
    about = [{"kind": "request", "name": "clear_dag_run", "about": {}}]
    asked = said(2, state="requested", started_by="user:0123", outputs=json.dumps(about), **nothing)
    leave(connections, said(1), asked)
    before = record(connections, catalog)
    # A triggerer that was started again leaves it again.
    leave(connections, asked)
    assert record(connections, catalog) | {"datasets": None} == before | {"added": 0, "known": 1, "datasets": None}
    (row,) = [row for row in rows(catalog) if row["state"] == "requested"]
    assert (row["started_by"], json.loads(row["outputs"])) == ("user:0123", about)
    verify(catalog, Head.parse(before["head"]))


def test_records_become_a_chain_in_the_order_in_which_tries_ended(
    connections: Connections, catalog: SqlCatalog
) -> None:
    leave(connections, said(3), said(1, started_by="user:0123"))
    first = record(connections, catalog)
    leave(connections, said(2, state="failed", error="WorkFailedError"), said(3, state="failed"))
    second = record(connections, catalog)
    assert (first["added"], second["added"], second["known"]) == (2, 1, 1)
    found = rows(catalog)
    assert [(row["number"], int(row["try_id"], 16), row["state"]) for row in found] == [
        (1, 1, "success"),
        (2, 3, "success"),
        (3, 2, "failed"),
    ]
    trail = catalog.load_table(AUDIT.identifier)
    written = {"kind": "table", "name": AUDIT.identifier, "snapshot_id": str(trail.metadata.current_snapshot_id)}
    assert second["datasets"] == {"inputs": [], "outputs": [written | {"rows": 1}]}
    read = {"inputs": [written | {"rows": 3}], "outputs": []}
    assert verify(catalog) == {"rows": 3, "head": second["head"], "datasets": read}
    assert verify(catalog, Head.parse(first["head"]))["rows"] == 3
    third = record(connections, catalog)
    assert (third["added"], third["known"], third["head"]) == (0, 0, second["head"])


def test_a_hash_is_of_what_a_row_says_in_utc() -> None:
    row = chained(Head(), [said(1) | {"ended": dt.datetime(2026, 1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1)))}])[
        0
    ]
    assert row["hash"] == hash_of(row | {"ended": dt.datetime(2026, 1, 1, tzinfo=dt.UTC)})
    assert row["hash"] != hash_of(row | {"ended": dt.datetime(2026, 1, 1, 0, 0, 0, 1, tzinfo=dt.UTC)})


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("change", r"row 2 .*was changed: its hash does not fit"),
        ("change and hash anew", r"row 3 .*does not follow row 2"),
        ("drop one", r"rows 2 to 2 are missing"),
        ("drop the last", r"the trail ends with 3:.* the table states 4:"),
        ("swap", r"row 2 .*does not follow row 1"),
        ("add", r"row 4 .*is there twice"),
    ],
)
def test_tampering_shows(connections: Connections, catalog: SqlCatalog, what: str, told: str) -> None:
    leave(connections, *(said(number) for number in range(1, 5)))
    record(connections, catalog)
    found = rows(catalog)
    match what:
        case "change":
            found[1]["outputs"] = "[]"
        case "change and hash anew":
            found[1]["outputs"] = "[]"
            found[1]["hash"] = hash_of(found[1])
        case "drop one":
            del found[1]
        case "drop the last":
            del found[3]
        case "swap":
            found[1]["number"], found[2]["number"] = 3, 2
        case "add":
            found.append(found[3])
    rewrite(catalog, found)
    with pytest.raises(TamperedError, match=told):
        verify(catalog)


def test_a_whole_new_chain_does_not_hold_to_a_noted_head(connections: Connections, catalog: SqlCatalog) -> None:
    leave(connections, *(said(number) for number in range(1, 4)))
    noted = Head.parse(record(connections, catalog)["head"])
    forged = chained(Head(), [row | {"owner": "nobody"} for row in rows(catalog)][:2])
    rewrite(catalog, forged)
    with catalog.load_table(AUDIT.identifier).transaction() as transaction:
        transaction.set_properties({"podium.audit.head": f"2:{forged[-1]['hash']}"})
    assert verify(catalog)["rows"] == 2
    with pytest.raises(TamperedError, match="row 3 was noted: rows were dropped"):
        verify(catalog, noted)
    with pytest.raises(TamperedError, match="is not the row that was noted"):
        verify(catalog, Head(2, rows(catalog)[1]["previous_hash"]))


def test_two_who_record_at_once_make_one_chain(connections: Connections, catalog: SqlCatalog) -> None:
    leave(connections, said(1))
    record(connections, catalog)
    leave(connections, *(said(number) for number in range(2, 12)))
    failures: list[BaseException] = []

    def work() -> None:
        try:
            record(connections, catalog)
        except FileNotFoundError:
            # The other one has recorded and removed it.
            return
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert verify(catalog)["rows"] == 11


@pytest.mark.parametrize("text", ["no JSON", "[]", '{"try_id": "x"}', json.dumps(said(1, ended="yesterday"))])
def test_an_object_that_is_no_record_is_named_and_loses_nothing(
    connections: Connections, catalog: SqlCatalog, text: str
) -> None:
    leave(connections, text, said(1))
    with pytest.raises(MalformedRecordError, match=r"s3://lake/audit/odd-0\.json is no record .*correct it or remove"):
        record(connections, catalog)
    assert catalog.load_table(AUDIT.identifier).scan(row_filter=EqualTo("number", 1)).to_arrow().num_rows == 0


@pytest.mark.parametrize("text", ["", "1", "x:" + "0" * 64, "1:abc", "1:" + "g" * 64])
def test_what_is_no_head_says_so(text: str) -> None:
    with pytest.raises(HeadError, match="is no head of the audit trail"):
        Head.parse(text)


def test_without_a_trail_there_is_nothing_to_verify(catalog: SqlCatalog) -> None:
    with pytest.raises(LakeError, match=r"platform\.audit is made by the first run of the DAG record_audit"):
        verify(catalog)
