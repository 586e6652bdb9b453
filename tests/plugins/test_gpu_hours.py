"""What the ledger's listener records of a try; that it lands in the bucket is shown with a real Airflow (live/)."""

import datetime as dt
import json
import logging
from types import SimpleNamespace
from typing import Any

import pytest
from podium.listeners.gpu_hours import GpuHoursListener, Usage

from include.config import load_settings

BEGAN = dt.datetime(2026, 1, 1, 12, 0, tzinfo=dt.UTC)


def runtime(**changes: Any) -> Any:
    """As the task's own process has it: the pool is the task's."""
    task = SimpleNamespace(pool="gpu-a100", pool_slots=4, owner="ann")
    return instance(task=task, **changes)


def stored(**changes: Any) -> Any:
    """As the database has it: no task, no owner."""
    return instance(pool="gpu-a100", pool_slots=4, **changes)


def instance(**fields: Any) -> Any:
    known = {"dag_id": "train", "run_id": "r1", "task_id": "fit", "map_index": -1, "try_number": 2}
    times = {"start_date": BEGAN, "end_date": BEGAN + dt.timedelta(minutes=90)}
    return SimpleNamespace(**(known | times | fields))


def usage(task_instance: Any) -> Usage | None:
    return Usage.of(task_instance, "success", load_settings("local"))


def test_gpus_seconds_and_cost_of_a_try() -> None:
    found = usage(runtime())
    assert found is not None
    assert (found.pool, found.gpus, found.owner, found.seconds) == ("gpu-a100", 4, "ann", 5400.0)
    assert found.gpu_product == "NVIDIA-A100-SXM4-80GB"
    assert found.cost == pytest.approx(1.5 * 4 * 3.67)
    assert json.loads(found.to_json())["started"] == "2026-01-01T12:00:00+00:00"


def test_whoever_reports_the_end_it_is_the_same_try_and_another_one_is_not() -> None:
    own, other = usage(runtime()), usage(stored())
    assert own is not None
    assert other is not None
    assert own.try_id == other.try_id
    assert other.owner == load_settings("local").airflow.owner
    changes = [{"try_number": 3}, {"map_index": 0}, {"run_id": "r2"}, {"task_id": "fi", "map_index": 1}]
    found = [usage(runtime(**change)) for change in changes]
    assert len({own.try_id, *(each.try_id for each in found if each)}) == 5


@pytest.mark.parametrize(
    "task_instance",
    [
        runtime(start_date=None),
        instance(pool="default_pool", pool_slots=1),
        instance(pool="general", pool_slots=1),
        instance(task=SimpleNamespace(pool="default_pool", pool_slots=1, owner="ann")),
    ],
)
def test_a_task_without_gpus_or_that_never_began_has_no_line(task_instance: Any) -> None:
    assert usage(task_instance) is None


def test_a_ledger_out_of_reach_fails_no_task_and_says_what_to_write_where(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lake = {"conn_type": "aws", "login": "key", "password": "s3cret", "extra": {"endpoint_url": "http://127.0.0.1:9"}}
    monkeypatch.setenv("AIRFLOW_CONN_PODIUM_LAKE", json.dumps(lake))
    with caplog.at_level(logging.ERROR):
        GpuHoursListener().on_task_instance_failed(runtime())
    assert "EndpointConnectionError" in caplog.text
    assert "put this as gpu-hours/" in caplog.text
    assert '"cost": 22.02' in caplog.text
    assert "s3cret" not in caplog.text
