"""What only a real Airflow can show: pools, kills, the GPU-hours ledger, logs across processes."""

import datetime as dt
import json
import logging
import time
import uuid
from functools import partial
from typing import Any

import boto3
import pytest
from podium.identity import TASK_LABEL, Identity
from podium.kinds import MPI_JOB, SPARK_APPLICATION

from tests.plugins.cluster import Platform, wait_for
from tests.plugins.live.airflow import Airflow
from tests.plugins.test_pod_operator import numbers
from tests.services import Services

log = logging.getLogger(__name__)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
# As the DAGs `naps_…` have it.
BRIEF = dt.timedelta(seconds=30)
MODES = pytest.mark.parametrize("mode", ["deferred", "sync"])


def records(services: Services, prefix: str, dag_id: str, run_id: str) -> list[dict[str, Any]]:
    """The records below a prefix of the bucket, of one run."""
    client = boto3.client(
        "s3",
        endpoint_url=services.platform_environment["S3_ENDPOINT_URL"],
        region_name="us-east-1",
        aws_access_key_id=services.credentials["s3_access_key"],
        aws_secret_access_key=services.credentials["s3_secret_key"],
    )
    keys = [item["Key"] for item in client.list_objects_v2(Bucket="lake", Prefix=prefix).get("Contents", [])]
    read = [json.loads(client.get_object(Bucket="lake", Key=key)["Body"].read()) for key in keys]
    found = [record for record in read if (record["dag_id"], record["run_id"]) == (dag_id, run_id)]
    return sorted(found, key=lambda record: (record["task_id"], record["try_number"]))


def usages(services: Services, dag_id: str, run_id: str) -> list[dict[str, Any]]:
    """The records of GPU-hours of one run."""
    return records(services, "gpu-hours/", dag_id, run_id)


def events(services: Services, dag_id: str) -> list[dict[str, Any]]:
    """The OpenLineage events of a DAG's task, as they came."""
    file = services.home / "logs" / "lineage" / "events.jsonl"
    found = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    return [event for event in found if event["job"]["name"] == f"{dag_id}.work"]


def pods_of(platform: Platform, dag_id: str, run_id: str) -> list[dict[str, Any]]:
    """The pods of the run's task, also of one that was cleared."""
    key = Identity(dag_id, run_id, "work").task_key
    return [pod for pod in platform.pods().values() if pod["metadata"].get("labels", {}).get(TASK_LABEL) == key]


def work_of(platform: Platform, dag_id: str, run_id: str) -> list[str]:
    """All that the run's task has in the cluster, with what that owns, by name."""
    name = Identity(dag_id, run_id, "work").name
    found = [pod for pod in platform.pods() if pod.startswith(name)]
    for kind in (SPARK_APPLICATION, MPI_JOB):
        found += [kind.name for obj in platform.objects(kind.group, kind.version, kind.plural) if obj == name]
    return found


def test_two_tasks_that_together_exceed_the_pool_wait_for_each_other_also_deferred(
    airflow: Airflow, services: Services
) -> None:
    run = airflow.run("too_many_gpus")
    seen: set[tuple[str | None, ...]] = set()

    def over() -> bool:
        states = tuple(airflow.state("too_many_gpus", run, task) for task in ("first", "second"))
        seen.add(states)
        return set(states) <= {"success", "failed"}

    wait_for(over, "both tasks", 120)
    assert {airflow.state("too_many_gpus", run, task) for task in ("first", "second")} == {"success"}
    at_work = {"queued", "running", "deferred"}
    assert not [states for states in seen if set(states) <= at_work], seen
    assert any("deferred" in states and "scheduled" in states for states in seen), seen
    wait_for(lambda: len(usages(services, "too_many_gpus", run)) == 2, "the GPU-hours of both")
    for record in usages(services, "too_many_gpus", run):
        assert (record["gpus"], record["pool"], record["owner"]) == (6, "gpu-a100", "somebody")
        assert record["cost"] == pytest.approx(record["seconds"] / 3600 * 6 * 3.67)
        assert record["seconds"] > 0


@MODES
def test_a_task_returns_its_result_and_its_whole_log(airflow: Airflow, services: Services, mode: str) -> None:
    dag_id = f"works_{mode}"
    run = airflow.run(dag_id)
    wait_for(lambda: airflow.state(dag_id, run) in ("success", "failed"), "the task", 120)
    lines = airflow.log(dag_id, run, 1)
    assert airflow.state(dag_id, run) == "success", "\n".join(lines)
    assert airflow.result(dag_id, run)["ran"] == 1
    assert numbers("\n".join(lines)) == list(range(60))
    links = airflow.call("GET", f"/dags/{dag_id}/dagRuns/{run}/taskInstances/work/links")["extra_links"]
    assert links["Pod log"].endswith("/tasks/work?try_number=1"), links
    wait_for(lambda: [record["state"] for record in usages(services, dag_id, run)] == ["success"], "its GPU-hours")
    wait_for(lambda: records(services, "audit/", dag_id, run), "its line in the audit trail")
    (audited,) = records(services, "audit/", dag_id, run)
    assert (audited["task_id"], audited["try_number"], audited["state"]) == ("work", 1, "success")
    assert audited["started_by"].startswith("user:")
    assert "admin" not in json.dumps(audited)
    assert audited["image_digest"].startswith("sha256:")
    assert json.loads(audited["outputs"]) == [{"kind": "table", "name": "t", "rows": 3, "snapshot_id": "42"}]
    wait_for(lambda: [e for e in events(services, dag_id) if e["eventType"] == "COMPLETE"], "its lineage")
    assert {event["eventType"] for event in events(services, dag_id)} == {"START", "COMPLETE"}
    (complete,) = [event for event in events(services, dag_id) if event["eventType"] == "COMPLETE"]
    (output,) = complete["outputs"]
    assert output["name"] == "t"
    assert output["facets"]["version"]["datasetVersion"] == "42"
    assert output["outputFacets"]["outputStatistics"]["rowCount"] == 3


def requests_of(services: Services, dag_id: str, run_id: str) -> list[tuple[str, Any]]:
    """What people have asked for about a run, or about what is no run's (both empty)."""
    found = [each for each in records(services, "audit/", dag_id, run_id) if each["state"] == "requested"]
    assert all(each["started_by"].startswith("user:") for each in found)
    assert "admin" not in json.dumps(found)
    asked = sorted((each["started"], json.loads(each["outputs"])[0]) for each in found)
    return [(what["name"], what["about"]) for _, what in asked]


def test_what_people_ask_for_is_in_the_audit_trail_once(airflow: Airflow, services: Services) -> None:
    dag_id = "works_sync"
    run = airflow.run(dag_id, f"asked-{uuid.uuid4().hex}", {"secret": "900900"})
    wait_for(lambda: airflow.state(dag_id, run) in ("success", "failed"), "the task", 120)
    airflow.call("POST", f"/dags/{dag_id}/dagRuns/{run}/clear", json={"dry_run": True})
    airflow.call("POST", f"/dags/{dag_id}/dagRuns/{run}/clear", json={"dry_run": False})
    airflow.call("PATCH", f"/dags/{dag_id}/dagRuns/{run}/taskInstances/work", json={"new_state": "failed"})
    key = f"asked_{uuid.uuid4().hex}"
    airflow.call("POST", "/variables", json={"key": key, "value": "900900"})
    airflow.call("DELETE", f"/variables/{key}")
    wait_for(lambda: ("delete_variable", {"variable_key": key}) in requests_of(services, "", ""), "the last request")
    # Its triggerer looks every second; whatever it has left it leaves again.
    assert [name for name, _ in requests_of(services, dag_id, run)] == [
        *("trigger_dag_run", "clear_dag_run", "patch_task_instance")
    ]
    assert requests_of(services, dag_id, run)[2][1] == {"new_state": "failed"}
    assert [what for what in requests_of(services, "", "") if key in str(what)] == [
        ("post_variable", {"key": key}),
        ("delete_variable", {"variable_key": key}),
    ]
    assert "900900" not in json.dumps([*records(services, "audit/", dag_id, run), *records(services, "audit/", "", "")])


def mark_failed(airflow: Airflow, dag_id: str, run: str) -> float:
    """Each of these ends a task, and returns since when (seconds since the epoch) its work is to go."""
    since = time.time()
    airflow.call("PATCH", f"/dags/{dag_id}/dagRuns/{run}/taskInstances/work", json={"new_state": "failed"})
    return since


def delete_run(airflow: Airflow, dag_id: str, run: str) -> float:
    since = time.time()
    # Airflow deletes no run that is still at work.
    airflow.call("PATCH", f"/dags/{dag_id}/dagRuns/{run}", json={"state": "failed"})
    airflow.call("DELETE", f"/dags/{dag_id}/dagRuns/{run}")
    return since


def run_out_of_time(airflow: Airflow, dag_id: str, run: str) -> float:
    started = dt.datetime.fromisoformat(airflow.task(dag_id, run)["start_date"])
    return (started + BRIEF).timestamp()


MARKED, OUT_OF_TIME = "task marked failed", "out of time"
# What runs out of time is waited for first.
ENDS = {OUT_OF_TIME: run_out_of_time, MARKED: mark_failed, "run failed and deleted": delete_run}


def is_gone(platform: Platform, dag_id: str, run_id: str) -> bool:
    return not work_of(platform, dag_id, run_id)


def is_asleep(airflow: Airflow, dag_id: str, run_id: str) -> bool:
    return "asleep" in airflow.log(dag_id, run_id, 1)


@MODES
@pytest.mark.parametrize("kind", ["pod", "spark", "mpi"])
def test_work_goes_with_all_it_owns_when_its_task_is_ended(
    airflow: Airflow, platform: Platform, services: Services, mode: str, kind: str
) -> None:
    dags = {how: f"{'naps' if how == OUT_OF_TIME else 'sleeps'}_{kind}_{mode}" for how in ENDS}
    runs = {how: airflow.run(dag_id) for how, dag_id in dags.items()}
    for how, run in runs.items():
        # What is watched has its log copied; before that a deferred task has no trigger yet that could be told.
        wait_for(partial(is_asleep, airflow, dags[how], run), f"the log of {run}", 90)
        assert work_of(platform, dags[how], run)
    for how, run in runs.items():
        since = ENDS[how](airflow, dags[how], run)
        wait_for(partial(is_gone, platform, dags[how], run), f"the work to go: {how}", 90)
        log.info("%s, %s, %s: gone after %.1f s", kind, mode, how, time.time() - since)
    assert airflow.state(dags[MARKED], runs[MARKED]) == "failed"
    wait_for(lambda: airflow.state(dags[OUT_OF_TIME], runs[OUT_OF_TIME]) == "failed", "the task to have failed")
    if kind == "pod":
        found = partial(usages, services, dags[MARKED], runs[MARKED])
        wait_for(lambda: [record["state"] for record in found()] == ["failed"], "its GPU-hours")


def test_a_task_marked_failed_before_its_trigger_has_started_frees_its_gpus(
    airflow: Airflow, platform: Platform
) -> None:
    """Nobody is there to be told: neither a worker, which has deferred, nor a trigger."""
    airflow.kill("triggerer")
    run = airflow.run("sleeps_pod_deferred")
    wait_for(lambda: airflow.state("sleeps_pod_deferred", run) == "deferred", "the task to be deferred", 120)
    path = f"/dags/sleeps_pod_deferred/dagRuns/{run}/taskInstances/work"
    airflow.call("PATCH", path, json={"new_state": "failed"})
    assert pods_of(platform, "sleeps_pod_deferred", run)
    airflow.start("triggerer")
    wait_for(lambda: not pods_of(platform, "sleeps_pod_deferred", run), "the pod to go", 120)


@MODES
def test_a_task_that_is_cleared_at_work_starts_anew_when_its_old_work_has_ended(
    airflow: Airflow, platform: Platform, mode: str
) -> None:
    dag_id = f"sleeps_pod_{mode}"
    run = airflow.run(dag_id)
    wait_for(lambda: "asleep" in airflow.log(dag_id, run, 1), "the pod's log", 90)
    assert not [line for line in airflow.log(dag_id, run, 1) if "served logs" in line], "a false alarm"
    (old,) = pods_of(platform, dag_id, run)
    seen: list[int] = []

    def replaced() -> bool:
        pods = pods_of(platform, dag_id, run)
        seen.append(len(pods))
        return bool(pods) and all(pod["metadata"]["uid"] != old["metadata"]["uid"] for pod in pods)

    body = {"dry_run": False, "dag_run_id": run, "task_ids": ["work"], "only_failed": False}
    airflow.call("POST", f"/dags/{dag_id}/clearTaskInstances", json=body)
    wait_for(replaced, "a new pod in place of the old one", 120)
    assert max(seen) == 1, "two of the same cost twice"
    airflow.call("PATCH", f"/dags/{dag_id}/dagRuns/{run}/taskInstances/work", json={"new_state": "failed"})
    wait_for(lambda: not pods_of(platform, dag_id, run), "the pod to go", 60)
