"""What the audit trail's listener records of a try. That it lands in the bucket a real Airflow shows (live/)."""

import datetime as dt
import json
import logging
from types import SimpleNamespace
from typing import Any

import pytest
from podium import pseudonyms
from podium.lineage import Reported, image_id, openlineage, reported
from podium.listeners.audit import Audited, AuditListener, started_by

BEGAN = dt.datetime(2026, 1, 1, 12, 0, tzinfo=dt.UTC)
RESULT = {
    "household": "a secret",
    "datasets": {
        "inputs": [{"kind": "topic", "name": "shop.transactions", "rows": 7}],
        "outputs": [{"kind": "table", "name": "sales.transactions", "snapshot_id": "42", "rows": 6}],
    },
}
WORK = Reported(RESULT, "podium/ingest@sha256:0123")


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = {"conn_type": "generic", "password": "a key that nobody else has"}
    monkeypatch.setenv("AIRFLOW_CONN_PODIUM_PSEUDONYMS", json.dumps(connection))
    pseudonyms._key.cache_clear()


def instance(run: Any = None, **fields: Any) -> Any:
    """As the task's own process has it."""
    known = {"dag_id": "ingest_transactions", "run_id": "r1", "task_id": "ingest", "map_index": None, "try_number": 2}
    times = {"start_date": BEGAN, "end_date": BEGAN + dt.timedelta(minutes=9)}
    context = SimpleNamespace(dag_run=run or SimpleNamespace(run_type="scheduled"))
    task = SimpleNamespace(owner="ann", image="podium/ingest:dev", reported=WORK)
    return SimpleNamespace(**(known | times | {"task": task, "_ti_context_from_server": context} | fields))


def test_who_did_what_with_what_and_how_it_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PODIUM_CODE_VERSION", "abc")
    found = Audited.of(instance(), "failed", ValueError("household 900 is odd"))
    assert (found.started_by, found.code_version, found.owner, found.error) == ("scheduled", "abc", "ann", "ValueError")
    assert (found.image, found.image_digest) == ("podium/ingest:dev", "sha256:0123")
    assert json.loads(found.inputs) == RESULT["datasets"]["inputs"]
    assert json.loads(found.outputs) == RESULT["datasets"]["outputs"]
    assert json.loads(found.to_json())["ended"] == "2026-01-01T12:09:00+00:00"
    assert "900" not in found.to_json()
    assert "secret" not in found.to_json()


def test_a_person_is_a_pseudonym_that_only_the_key_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    run = SimpleNamespace(triggering_user_name="ann@example.com", run_type="manual")
    mine = started_by(run)
    assert mine.startswith("user:")
    assert len(mine) == 37
    assert "ann" not in mine
    assert started_by(run) == mine != started_by(SimpleNamespace(triggering_user_name="bob"))
    monkeypatch.setenv("AIRFLOW_CONN_PODIUM_PSEUDONYMS", json.dumps({"conn_type": "generic", "password": "another"}))
    pseudonyms._key.cache_clear()
    assert started_by(run) != mine


def test_what_started_a_run_without_a_person() -> None:
    event = SimpleNamespace(asset=SimpleNamespace(name="features"))
    assert started_by(SimpleNamespace(consumed_asset_events=[event, event], run_type="asset_triggered")) == (
        "asset:features"
    )
    assert started_by(SimpleNamespace(run_type=SimpleNamespace(value="backfill"))) == "backfill"
    assert started_by(None) == "unknown"


def test_whoever_reports_the_end_it_is_the_same_try() -> None:
    stored = instance(task=None, _ti_context_from_server=None, dag_run=SimpleNamespace(run_type="manual"), map_index=-1)
    assert Audited.of(stored, "failed").try_id == Audited.of(instance(), "success").try_id
    assert Audited.of(instance(try_number=3), "success").try_id != Audited.of(instance(), "success").try_id


def test_a_trail_out_of_reach_fails_no_task_and_says_what_to_write_where(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lake = {"conn_type": "aws", "login": "key", "password": "s3cret", "extra": {"endpoint_url": "http://127.0.0.1:9"}}
    monkeypatch.setenv("AIRFLOW_CONN_PODIUM_LAKE", json.dumps(lake))
    with caplog.at_level(logging.ERROR):
        AuditListener().on_task_instance_failed(instance(), ValueError("text"))
    assert "EndpointConnectionError" in caplog.text
    assert "put this as audit/" in caplog.text
    assert '"error": "ValueError"' in caplog.text
    assert "s3cret" not in caplog.text


def test_datasets_as_openlineage_has_them() -> None:
    found = openlineage(SimpleNamespace(reported=WORK))
    (topic,), (table,) = found.inputs, found.outputs
    assert (topic.namespace, topic.name) == ("kafka://127.0.0.1:26092", "shop.transactions")
    assert topic.inputFacets["inputStatistics"].rowCount == 7
    assert (table.namespace, table.name) == ("postgresql://127.0.0.1:26432/lake", "sales.transactions")
    assert table.facets["version"].datasetVersion == "42"
    assert table.outputFacets["outputStatistics"].rowCount == 6


@pytest.mark.parametrize("result", [None, "text", {}, {"datasets": None}])
def test_work_that_reports_nothing_has_no_datasets(result: Any) -> None:
    found = openlineage(SimpleNamespace(reported=Reported(result)))
    assert (found.inputs, found.outputs) == ([], [])
    assert reported(SimpleNamespace()).digest == ""


def test_the_image_is_that_of_the_container() -> None:
    statuses = [{"name": "sidecar", "imageID": "x"}, {"name": "base", "imageID": "r/i@sha256:1"}]
    assert image_id({"status": {"containerStatuses": statuses}}, "base") == "r/i@sha256:1"
    assert image_id({"status": {"containerStatuses": None}}, "base") == image_id(None, "base") == ""
