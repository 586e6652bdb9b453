"""What of Airflow's event log becomes a record of the audit trail, and how often. That it does, live/ shows."""

import datetime as dt
import json
from collections.abc import Iterator
from typing import Any

import pytest
from airflow.models.log import Log
from podium import pseudonyms, user_requests
from podium.listeners.audit import PREFIX
from podium.user_requests import MARK, OVERLAP, is_request, record_of, take
from sqlalchemy import func, select
from sqlalchemy.orm import Session

NOON = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    connection = {"conn_type": "generic", "password": "a key that nobody else has"}
    monkeypatch.setenv("AIRFLOW_CONN_PODIUM_PSEUDONYMS", json.dumps(connection))
    pseudonyms._key.cache_clear()
    yield
    pseudonyms._key.cache_clear()


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """What lies in the bucket."""
    held: dict[str, dict[str, Any]] = {}

    def store(prefix: str, name: str, text: str, _: Any) -> bool:
        assert prefix == PREFIX
        return held.setdefault(name, found := json.loads(text)) is found

    monkeypatch.setattr(user_requests.bucket, "store", store)
    return held


def entry(event: str, method: str | None = "POST", moment: dt.datetime = NOON, **said: Any) -> Log:
    own = {name: said.pop(name) for name in ("dag_id", "run_id", "task_id") if name in said}
    found = Log(event, owner="ann@example.com", extra=json.dumps(said | ({"method": method} if method else {})), **own)
    found.dttm = moment
    return found


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (entry("post_clear_task_instances", dry_run=False), True),
        (entry("clear_dag_runs", dry_run=False), True),
        (entry("clear_dag_runs"), False),
        (entry("patch_dag", "PATCH", is_paused=True), True),
        (entry("delete_dag_run", "DELETE"), True),
        (entry("an_endpoint_of_tomorrow", "PUT"), True),
        (entry("get_task_instances_batch"), False),
        (entry("cli_dag_trigger", None), True),
        (entry("cli_scheduler", None), False),
        (entry("cli_dag_state", None), False),
        # What Airflow itself notes.
        (entry("success", None), False),
        (entry("podium_slow", None), False),
    ],
)
def test_what_changes_something_is_recorded(found: Log, expected: bool) -> None:
    assert is_request(found) is expected


def asked(found: Log) -> tuple[dict[str, Any], dict[str, Any], str]:
    _, text = record_of(found)
    record = json.loads(text)
    (what,) = json.loads(record["outputs"])
    return record, what, text


def test_a_record_says_who_asked_for_what_and_when() -> None:
    record, what, text = asked(
        entry("patch_task_instance", "PATCH", dag_id="d", run_id="r", task_id="t", new_state="failed", map_index="3")
    )
    assert (record["dag_id"], record["run_id"], record["task_id"], record["map_index"]) == ("d", "r", "t", 3)
    assert (record["state"], record["started"]) == ("requested", "2026-01-01T12:00:00+00:00")
    assert what == {"kind": "request", "name": "patch_task_instance", "about": {"new_state": "failed"}}
    assert record["started_by"].startswith("user:")
    assert "ann" not in text


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (entry("trigger_dag_run", conf={"household": 900}, note="for 900"), {}),
        (entry("post_variable", key="limit", value="900"), {"key": "limit"}),
        (
            entry("post_connection", connection_id="lake", password="900", host="h900", extra={"a": "900"}),
            {"connection_id": "lake"},
        ),
        (entry("patch_pool", "PATCH", pool_name="gpu", slots=900), {"pool_name": "gpu"}),
        (
            entry(
                "bulk_variables", "PATCH", actions=[{"action": "create", "entities": [{"key": "a", "value": "900"}]}]
            ),
            {"actions": [{"action": "create", "entities": [{"key": "a"}]}]},
        ),
        (
            entry("bulk_pools", "PATCH", actions=[{"action": "delete", "entities": ["gpu"]}]),
            {"actions": [{"action": "delete", "entities": ["gpu"]}]},
        ),
    ],
)
def test_names_are_kept_and_values_are_not(found: Log, expected: dict[str, Any]) -> None:
    _, what, text = asked(found)
    assert what["about"] == expected
    assert "900" not in text


def test_each_entry_is_recorded_once_by_whoever_looks(tables: Session, bucket: dict[str, Any]) -> None:
    mine: set[int] = set()
    tables.add_all([entry("patch_dag", "PATCH", is_paused=True), entry("success", None), entry("cli_dag_pause", None)])
    tables.commit()
    assert take(tables, NOON, mine) == 2
    assert take(tables, NOON, mine) == 0
    assert take(tables, NOON, set()) == 0, "another triggerer"
    # Committed late: its time is before the mark.
    tables.add(entry("delete_dag", "DELETE", NOON - OVERLAP / 2))
    tables.commit()
    assert take(tables, NOON + dt.timedelta(seconds=10), mine) == 1
    assert {what["name"] for record in bucket.values() for what in json.loads(record["outputs"])} == {
        *("patch_dag", "cli_dag_pause", "delete_dag")
    }
    assert tables.scalar(select(func.count()).where(Log.event == MARK)) == 1


def test_what_could_not_be_left_is_left_the_next_time(
    tables: Session, bucket: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    tables.add(entry("patch_dag", "PATCH", is_paused=True))
    tables.commit()
    mine: set[int] = set()

    def refuse(*_: Any) -> bool:
        raise OSError("no bucket")

    with monkeypatch.context() as patch:
        patch.setattr(user_requests.bucket, "store", refuse)
        with pytest.raises(OSError, match="no bucket"):
            take(tables, NOON, mine)
    tables.rollback()
    assert take(tables, NOON + dt.timedelta(days=1), mine) == 1
