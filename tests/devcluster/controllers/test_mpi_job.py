"""What an MPIJob asks for and what its pods say, without a cluster."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest

from include.devcluster.controllers import mpi_pods
from include.devcluster.controllers.mpi_plan import plan
from include.devcluster.controllers.mpi_status import is_finished
from include.devcluster.controllers.mpi_validation import errors_of

NOW = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)


def mpi_job(workers: int = 2, status: dict[str, Any] | None = None, **policy: Any) -> dict[str, Any]:
    def template(name: str, **container: Any) -> dict[str, Any]:
        return {"template": {"spec": {"containers": [{"name": name, "image": "podium/recommender:dev", **container}]}}}

    return {
        "apiVersion": "kubeflow.org/v2beta1",
        "kind": "MPIJob",
        "metadata": {"name": "train", "namespace": "podium", "uid": "u1"},
        "spec": {
            "slotsPerWorker": 1,
            "runPolicy": {"cleanPodPolicy": "Running", **policy},
            "mpiReplicaSpecs": {
                "Launcher": {
                    "replicas": 1,
                    **template("launcher", command=["horovodrun"], env=[{"name": "A", "value": "1"}]),
                },
                "Worker": {"replicas": workers, **template("worker")},
            },
        },
        "status": status or {},
    }


def pod(job: dict[str, Any], role: str, phase: str, index: int = 0, **status: Any) -> dict[str, Any]:
    made = mpi_pods.worker_pod(job, index) if role == "worker" else mpi_pods.launcher_pod(job, index, True)
    ready = "True" if phase == "Running" else "False"
    body = {
        "phase": phase,
        "podIP": f"127.64.0.{index + 2}",
        "conditions": [{"type": "Ready", "status": ready}],
        **status,
    }
    return {**made, "metadata": {**made["metadata"], "creationTimestamp": "2026-01-02T03:00:00Z"}, "status": body}


def ended(code: int, message: str = "", at: str = "2026-01-02T03:04:00Z") -> list[dict[str, Any]]:
    state = {"terminated": {"exitCode": code, "reason": "Error", "message": message, "finishedAt": at}}
    return [{"name": "main", "state": state}]


def conditions(status: dict[str, Any]) -> dict[str, str]:
    return {c["type"]: c["status"] for c in status["conditions"]}


def test_workers_come_first() -> None:
    job = mpi_job()
    first = plan(job, [], NOW)
    assert (first.create_workers, first.launcher_attempt) == ([0, 1], None)
    assert conditions(first.status) == {"Created": "True"}
    assert first.status["startTime"] == "2026-01-02T03:04:05Z"
    half = plan(job, [pod(job, "worker", "Running", 0), pod(job, "worker", "Pending", 1)], NOW)
    assert (half.create_workers, half.launcher_attempt) == ([], None)


def test_the_launcher_follows_when_all_workers_are_ready() -> None:
    job = mpi_job()
    workers = [pod(job, "worker", "Running", i) for i in range(2)]
    assert plan(job, workers, NOW).launcher_attempt == 0
    running = plan(job, [*workers, pod(job, "launcher", "Running")], NOW)
    assert running.launcher_attempt is None
    assert conditions(running.status) == {"Created": "True", "Running": "True"}
    assert running.status["replicaStatuses"] == {"Launcher": {"active": 1}, "Worker": {"active": 2}}


@pytest.mark.parametrize(("policy", "deleted"), [("None", 0), ("Running", 1), ("All", 2)])
def test_success_cleans_up_by_policy(policy: str, deleted: int) -> None:
    job = mpi_job(cleanPodPolicy=policy)
    workers = [pod(job, "worker", "Running", 0), pod(job, "worker", "Succeeded", 1)]
    done = plan(job, [*workers, pod(job, "launcher", "Succeeded")], NOW)
    assert conditions(done.status)["Succeeded"] == "True"
    assert done.status["completionTime"] == "2026-01-02T03:04:05Z"
    assert is_finished(done.status)
    assert len(done.delete) == deleted


def test_a_finished_job_only_counts_its_workers_down() -> None:
    job = mpi_job()
    pods = [pod(job, "worker", "Running", i) for i in range(2)] + [pod(job, "launcher", "Succeeded")]
    finished = {**job, "status": plan(job, pods, NOW).status}
    later = plan(finished, [], NOW)
    assert (later.create_workers, later.launcher_attempt, later.delete) == ([], None, [])
    assert later.status["replicaStatuses"] == {"Launcher": {"succeeded": 1}, "Worker": {}}


def test_the_launcher_goes_when_its_time_is_over() -> None:
    job = mpi_job(ttlSecondsAfterFinished=60)
    launcher = pod(job, "launcher", "Succeeded")
    finished = {**job, "status": plan(job, [launcher], NOW).status}
    assert plan(finished, [launcher], NOW).again == pytest.approx(60)
    late = NOW + dt.timedelta(seconds=60)
    assert plan(finished, [launcher], late).delete == [launcher]
    assert plan(finished, [], late).again is None


def test_a_failed_launcher_fails_the_job_with_its_last_words() -> None:
    job = mpi_job(backoffLimit=0)
    failed = pod(job, "launcher", "Failed", containerStatuses=ended(1, "rank in pod train-worker-1 exited with code 3"))
    result = plan(job, [*(pod(job, "worker", "Running", i) for i in range(2)), failed], NOW)
    condition = result.status["conditions"][-1]
    assert (condition["type"], condition["reason"]) == ("Failed", "BackoffLimitExceeded")
    assert "train-launcher exited with code 1 (Error): rank in pod train-worker-1" in condition["message"]
    assert len(result.delete) == 2


def test_a_launcher_that_vanished_is_not_started_again() -> None:
    job = mpi_job(backoffLimit=0)
    workers = [pod(job, "worker", "Running", index) for index in range(2)]
    job["status"] = plan(job, [*workers, pod(job, "launcher", "Running")], NOW).status
    vanished = plan(job, workers, NOW)
    assert conditions(vanished.status)["Failed"] == "True"
    assert vanished.launcher_attempt is None


def test_a_launcher_that_vanished_before_its_status_was_counted_is_not_started_again() -> None:
    job = mpi_job(backoffLimit=0)
    workers = [pod(job, "worker", "Running", index) for index in range(2)]
    assert plan(job, workers, NOW).launcher_attempt == 0
    vanished = plan(job, workers, NOW, vanished=True)
    assert conditions(vanished.status)["Failed"] == "True"
    assert vanished.launcher_attempt is None


def test_retries_back_off_and_are_new_pods() -> None:
    job = mpi_job(backoffLimit=2)
    workers = [pod(job, "worker", "Running", i) for i in range(2)]
    failed = pod(job, "launcher", "Failed", containerStatuses=ended(1))
    waiting = plan(job, [*workers, failed], NOW)
    assert waiting.launcher_attempt is None
    assert waiting.again == pytest.approx(5.0)
    assert plan(job, [*workers, failed], NOW + dt.timedelta(seconds=6)).launcher_attempt == 1
    assert mpi_pods.launcher_pod(job, 1, True)["metadata"]["name"] == "train-launcher-1"
    three = [pod(job, "launcher", "Failed", i, containerStatuses=ended(1)) for i in range(3)]
    assert conditions(plan(job, [*workers, *three], NOW).status)["Failed"] == "True"


def test_a_worker_that_is_lost_before_the_launcher_is_waited_for_in_vain() -> None:
    job = mpi_job(backoffLimit=0, activeDeadlineSeconds=1)
    workers = [pod(job, "worker", "Running", 0), pod(job, "worker", "Failed", 1, containerStatuses=ended(137))]
    late = plan(job, workers, NOW + dt.timedelta(days=1))
    assert (late.create_workers, late.launcher_attempt, late.delete, late.again) == ([], None, [], None)
    assert conditions(late.status) == {"Created": "True"}


def test_a_lost_worker_is_the_launchers_to_notice() -> None:
    job = mpi_job(backoffLimit=0)
    workers = [pod(job, "worker", "Running", 0), pod(job, "worker", "Failed", 1, containerStatuses=ended(137))]
    noticing = plan(job, [*workers, pod(job, "launcher", "Running")], NOW)
    assert not is_finished(noticing.status)
    assert noticing.delete == []
    noticed = plan(job, [*workers, pod(job, "launcher", "Failed", containerStatuses=ended(1, "no rank 1"))], NOW)
    assert "no rank 1" in noticed.status["conditions"][-1]["message"]
    assert [p["metadata"]["name"] for p in noticed.delete] == ["train-worker-0"]


def test_a_worker_that_was_deleted_is_made_anew_while_the_launcher_goes_on() -> None:
    job = mpi_job(backoffLimit=0)
    replaced = plan(job, [pod(job, "worker", "Running", 0), pod(job, "launcher", "Running")], NOW)
    assert (replaced.create_workers, replaced.launcher_attempt) == ([1], None)


def test_an_evicted_worker_fails_the_job_by_name_and_everything_goes_on() -> None:
    job = mpi_job(backoffLimit=0)
    workers = [pod(job, "worker", "Running", 0), pod(job, "worker", "Failed", 1, reason="Evicted")]
    evicted = plan(job, [*workers, pod(job, "launcher", "Running")], NOW)
    assert evicted.status["conditions"][-1]["reason"] == "MPIJobEvicted"
    assert "completionTime" not in evicted.status
    assert evicted.delete == []
    job["status"] = evicted.status
    after = plan(job, [workers[0], pod(job, "launcher", "Running")], NOW)
    assert after.create_workers == [1]
    over = plan(job, [*workers, pod(job, "launcher", "Failed", containerStatuses=ended(1))], NOW)
    assert "completionTime" in over.status
    assert [p["metadata"]["name"] for p in over.delete] == ["train-worker-0"]


def test_the_deadline_is_the_launchers() -> None:
    job = mpi_job(activeDeadlineSeconds=300)
    pods = [*(pod(job, "worker", "Running", i) for i in range(2)), pod(job, "launcher", "Running")]
    assert plan(job, pods, NOW).again == pytest.approx(55.0)
    late = plan(job, pods, NOW + dt.timedelta(seconds=60))
    assert late.status["conditions"][-1]["reason"] == "DeadlineExceeded"
    assert len(late.delete) == 3


@pytest.mark.parametrize(
    ("path", "value", "error"),
    [
        ("metadata.name", "1train", 'metadata.name: Invalid value: "1train"'),
        ("metadata.name", "t" * 60, '"' + "t" * 60 + '-worker-1" is no DNS label'),
        ("spec.slotsPerWorker", -1, "spec.slotsPerWorker: Invalid value: -1"),
        ("spec.mpiImplementation", "LAM", 'Unsupported value: "LAM": supported values: "Intel", "MPICH", "OpenMPI"'),
        ("spec.runPolicy.cleanPodPolicy", "Some", 'Unsupported value: "Some"'),
        ("spec.runPolicy.backoffLimit", -1, "spec.runPolicy.backoffLimit: Invalid value: -1"),
        ("spec.mpiReplicaSpecs.Launcher.replicas", 2, "spec.mpiReplicaSpecs[Launcher].replicas: Invalid value: 2"),
        ("spec.mpiReplicaSpecs.Worker.replicas", 0, "spec.mpiReplicaSpecs[Worker].replicas: Invalid value: 0"),
        ("spec.mpiReplicaSpecs.Worker.restartPolicy", "ExitCode", 'Unsupported value: "ExitCode"'),
        ("spec.mpiReplicaSpecs.Launcher", None, "spec.mpiReplicaSpecs[Launcher]: Required value"),
        ("spec.mpiReplicaSpecs.Worker.template.spec.containers", [], "must define at least one container"),
    ],
)
def test_what_the_operator_does_not_work_with_is_named(path: str, value: Any, error: str) -> None:
    job = mpi_job()
    assert errors_of(job) == ""
    *above, last = path.split(".")
    place: Any = job
    for key in above:
        place = place[key]
    place[last] = value
    assert error in errors_of(job)


def test_suspension_removes_the_pods_and_resuming_starts_the_clock_anew() -> None:
    job = mpi_job(suspend=True)
    pods = [pod(job, "worker", "Running", 0), pod(job, "launcher", "Running")]
    held = plan(job, pods, NOW)
    assert len(held.delete) == 2
    assert conditions(held.status)["Suspended"] == "True"
    resumed = plan({**mpi_job(), "status": held.status}, [], NOW)
    assert conditions(resumed.status)["Suspended"] == "False"
    assert resumed.create_workers == [0, 1]


def test_workers_hold_and_have_the_operators_labels() -> None:
    worker = mpi_pods.worker_pod(mpi_job(), 1)
    assert worker["metadata"]["name"] == worker["spec"]["hostname"] == "train-worker-1"
    assert worker["metadata"]["labels"] == {
        "training.kubeflow.org/operator-name": "mpi-operator",
        "training.kubeflow.org/job-name": "train",
        "training.kubeflow.org/job-role": "worker",
        "training.kubeflow.org/replica-index": "1",
    }
    assert worker["spec"]["restartPolicy"] == "Never"
    assert worker["spec"]["containers"][0]["command"] == mpi_pods.HOLD


@pytest.mark.parametrize(
    ("container", "expected"),
    [
        ({"command": ["/usr/sbin/sshd", "-De"]}, mpi_pods.HOLD),
        ({"args": ["/usr/sbin/sshd", "-De"]}, mpi_pods.HOLD),
        ({"command": ["tini", "--"], "args": ["hold"]}, ["tini", "--"]),
    ],
)
def test_only_an_ssh_server_is_replaced(container: dict[str, Any], expected: list[str]) -> None:
    job = mpi_job()
    job["spec"]["mpiReplicaSpecs"]["Worker"]["template"]["spec"]["containers"][0] |= container
    assert mpi_pods.worker_pod(job, 0)["spec"]["containers"][0]["command"] == expected


def test_the_launcher_finds_host_file_remote_shell_and_credentials_as_files() -> None:
    job = mpi_job()
    launcher = mpi_pods.launcher_pod(job, 0, with_credentials=True)
    container = launcher["spec"]["containers"][0]
    environment = {variable["name"]: variable["value"] for variable in container["env"]}
    assert environment["OMPI_MCA_plm_rsh_agent"] == "/etc/mpi/kubexec.sh"
    assert environment["A"] == "1"
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/etc/mpi", "/etc/mpi-credentials"}
    assert "s3cret" not in json.dumps(launcher)
    secret = mpi_pods.credentials_secret(job, "http://127.0.0.1:1", "s3cret", "")
    volume = next(v for v in launcher["spec"]["volumes"] if "secret" in v)
    assert volume["secret"]["secretName"] == secret["metadata"]["name"]


def test_the_host_file_has_lines_that_horovodrun_can_read() -> None:
    job = mpi_job()
    job["spec"]["slotsPerWorker"] = 4
    data = mpi_pods.config_map(job, [pod(job, "worker", "Running", i) for i in range(2)])["data"]
    assert data["hostfile"] == "127.64.0.2 slots=4\n127.64.0.3 slots=4\n"
    hosts = json.loads(data["hosts.json"])
    assert hosts["pods"] == {"127.64.0.2": "train-worker-0", "127.64.0.3": "train-worker-1"}
    assert (hosts["namespace"], hosts["container"]) == ("podium", "worker")
