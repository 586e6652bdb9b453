"""SparkApplication and MPIJob on a cluster: the dev cluster, or a real one given by its kubeconfig."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from include.devcluster.controllers.mpi_job import MPI_JOBS
from include.devcluster.controllers.objects import PODS, Manifest, phase
from include.devcluster.controllers.spark_application import SPARK_APPLICATIONS
from include.devcluster.controllers.spark_states import state_of
from tests.devcluster.controllers.cluster import Cluster
from tests.devcluster.controllers.jobs import end_of, finished, mpi_job
from tests.devcluster.controllers.support import wait_for


def spark_application(cluster: Cluster, name: str, argument: str, **spec: Any) -> Manifest:
    return {
        "metadata": {"name": name},
        "spec": {
            "type": "Python",
            "sparkVersion": "4.1.1",
            "mode": "cluster",
            "image": cluster.image,
            "mainApplicationFile": "local:///app/main.py",
            "arguments": [argument],
            "restartPolicy": {"type": "Never"},
            "volumes": [cluster.tools],
            "driver": {
                "coreRequest": "10m",
                "memory": "32m",
                "memoryOverhead": "32m",
                "terminationGracePeriodSeconds": 1,
                "env": [{"name": "PATH", "value": "/opt/tools:/usr/local/bin:/usr/bin:/bin"}],
                "volumeMounts": [{"name": "tools", "mountPath": "/opt/tools"}],
            },
            "executor": {"instances": 1},
            **spec,
        },
    }


def spark_state(app: Manifest) -> str:
    return state_of(app.get("status") or {})


def test_an_application_completes(cluster: Cluster) -> None:
    cluster.create(SPARK_APPLICATIONS, spark_application(cluster, "good", "now"))
    app = cluster.wait(SPARK_APPLICATIONS, "good", lambda a: spark_state(a) in ("COMPLETED", "FAILED"))
    assert spark_state(app) == "COMPLETED", app["status"]
    assert app["status"]["driverInfo"]["podName"] == "good-driver"
    cluster.wait_for_events("good", "SparkApplicationSubmitted", "SparkApplicationCompleted")
    log = cluster.log("good-driver")
    assert "--master local[1]" in log
    assert "/app/main.py now\n" in log
    assert "$(SPARK_DRIVER_BIND_ADDRESS)" not in log


def test_a_failing_application_says_why_and_is_tried_again_as_asked(cluster: Cluster) -> None:
    policy = {"type": "OnFailure", "onFailureRetries": 1, "onFailureRetryInterval": 1}
    cluster.create(SPARK_APPLICATIONS, spark_application(cluster, "bad", "fail", restartPolicy=policy))
    app = cluster.wait(SPARK_APPLICATIONS, "bad", lambda a: spark_state(a) == "FAILED")
    assert "ExitCode: 2" in app["status"]["applicationState"]["errorMessage"]
    assert app["status"]["executionAttempts"] == 2
    cluster.wait_for_events("bad", "SparkApplicationPendingRerun", "SparkApplicationFailed")


def test_a_vanished_driver_fails_the_application(cluster: Cluster) -> None:
    cluster.create(SPARK_APPLICATIONS, spark_application(cluster, "lost", "wait"))
    cluster.wait(SPARK_APPLICATIONS, "lost", lambda a: spark_state(a) == "RUNNING")
    cluster.delete(PODS, "lost-driver", grace_s=0)
    app = cluster.wait(SPARK_APPLICATIONS, "lost", lambda a: spark_state(a) == "FAILED")
    assert app["status"]["applicationState"]["errorMessage"] == "driver pod not found"


def test_deleting_an_application_takes_its_driver(cluster: Cluster) -> None:
    cluster.create(SPARK_APPLICATIONS, spark_application(cluster, "gone", "wait"))
    cluster.wait(SPARK_APPLICATIONS, "gone", lambda a: spark_state(a) == "RUNNING")
    cluster.delete(SPARK_APPLICATIONS, "gone")
    wait_for(lambda: not cluster.exists(PODS, "gone-driver"), "the driver to go")


def test_each_rank_runs_inside_its_worker_pod(cluster: Cluster) -> None:
    cluster.create(MPI_JOBS, mpi_job(cluster, "ranks", "echo rank $RANK in $(hostname); echo $RANK >&2"))
    job = cluster.wait(MPI_JOBS, "ranks", finished)
    log = cluster.log("ranks-launcher")
    assert end_of(job)["type"] == "Succeeded", (end_of(job), log)
    if cluster.real:  # the dev cluster's pods share the machine's host name
        assert {"rank 0 in ranks-worker-0", "rank 1 in ranks-worker-1"} <= set(log.splitlines())
    assert "codes [0, 0]" in log
    assert job["status"]["startTime"] <= job["status"]["completionTime"]
    # A launcher as short as this one may end before a real kubelet has said that it runs.
    cluster.wait_for_events("ranks", "MPIJobCreated", "MPIJobSucceeded")
    wait_for(
        lambda: not cluster.pods(job_name="ranks", job_role="worker"), "cleanPodPolicy Running to take the workers"
    )
    assert cluster.exists(PODS, "ranks-launcher"), "the log outlives the job"


def test_a_failing_rank_fails_the_job_and_says_which(cluster: Cluster) -> None:
    rank = "if [ $RANK = 1 ]; then echo ValueError: bad label >&2; exit 3; fi"
    cluster.create(MPI_JOBS, mpi_job(cluster, "bad-rank", rank))
    condition = end_of(cluster.wait(MPI_JOBS, "bad-rank", finished))
    assert (condition["type"], condition["reason"]) == ("Failed", "BackoffLimitExceeded")
    assert "bad-rank-launcher exited with code 1" in condition["message"]
    assert "bad-rank-worker-1 exited with code 3: ValueError: bad label" in condition["message"]


def test_a_killed_worker_fails_the_job_when_the_launcher_notices(cluster: Cluster) -> None:
    rank = "if [ $RANK = 1 ]; then kill -TERM 1; fi; sleep 600"
    job = mpi_job(cluster, "killed", rank)
    # The launcher ends when one rank has: as horovodrun does.
    launcher = job["spec"]["mpiReplicaSpecs"]["Launcher"]["template"]["spec"]["containers"][0]
    launcher["env"] = [{"name": "STOP_AT_FIRST", "value": "1"}]
    cluster.create(MPI_JOBS, job)
    condition = end_of(cluster.wait(MPI_JOBS, "killed", finished))
    assert condition["type"] == "Failed"
    assert "killed-launcher exited with code" in condition["message"]

    def ended() -> bool:
        left = cluster.pods(job_name="killed", job_role="worker")
        # The one that was killed is kept, unless it goes before the kubelet has told of its end.
        return {phase(pod) for pod in left} <= {"Failed", "Succeeded"} and len(left) <= 1

    wait_for(ended, "the worker that still ran to go")


def test_what_the_controller_does_not_work_with_is_told_by_an_event_alone(cluster: Cluster) -> None:
    job = mpi_job(cluster, "refused", "true")
    job["spec"]["mpiReplicaSpecs"]["Worker"]["restartPolicy"] = "ExitCode"
    cluster.create(MPI_JOBS, job)
    cluster.wait_for_events("refused", "ValidationError")
    assert not cluster.get(MPI_JOBS, "refused").get("status")
    assert not cluster.pods(job_name="refused")


def test_a_retry_is_a_new_launcher(cluster: Cluster) -> None:
    cluster.create(MPI_JOBS, mpi_job(cluster, "retried", "exit 1", backoffLimit=1))
    condition = end_of(cluster.wait(MPI_JOBS, "retried", finished))
    assert condition["type"] == "Failed"
    assert [p["metadata"]["name"] for p in cluster.pods(job_name="retried", job_role="launcher")] == [
        "retried-launcher",
        "retried-launcher-1",
    ]


def test_deleting_a_job_kills_its_ranks(cluster: Cluster) -> None:
    cluster.create(MPI_JOBS, mpi_job(cluster, "deleted", "echo pid $$; exec sleep 4242"))
    cluster.wait(MPI_JOBS, "deleted", lambda _: cluster.exists(PODS, "deleted-launcher"))
    wait_for(lambda: cluster.log("deleted-launcher").count("pid ") == 2, "both ranks to start")
    assert len(processes_of("sleep\x004242")) == 2
    cluster.wait_for_events("deleted", "MPIJobRunning")
    cluster.delete(MPI_JOBS, "deleted")
    wait_for(lambda: not cluster.pods(job_name="deleted"), "the pods to go")
    wait_for(lambda: not processes_of("sleep\x004242"), "the ranks to end")


def test_a_deadline_ends_a_job(cluster: Cluster) -> None:
    cluster.create(MPI_JOBS, mpi_job(cluster, "late", "sleep 600", activeDeadlineSeconds=3))
    condition = end_of(cluster.wait(MPI_JOBS, "late", finished))
    assert condition["reason"] == "DeadlineExceeded"
    wait_for(lambda: not cluster.exists(PODS, "late-launcher"), "the launcher to be stopped")


def test_suspending_a_job_frees_its_pods(cluster: Cluster) -> None:
    cluster.create(MPI_JOBS, mpi_job(cluster, "held", "exec sleep 600"))
    cluster.wait(MPI_JOBS, "held", lambda _: cluster.exists(PODS, "held-launcher"))
    cluster.patch(MPI_JOBS, "held", {"spec": {"runPolicy": {"suspend": True}}})
    wait_for(lambda: not cluster.pods(job_name="held"), "the pods to go")
    cluster.patch(MPI_JOBS, "held", {"spec": {"runPolicy": {"suspend": False}}})
    wait_for(lambda: [phase(p) for p in cluster.pods(job_name="held")] == ["Running"] * 3, "the job to run again")
    cluster.delete(MPI_JOBS, "held")


def processes_of(arguments: str) -> list[str]:
    """Processes of this machine with this command line (a real cluster on it is seen too)."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if entry.read_text().strip("\x00") == arguments:
                found.append(entry.parent.name)
        except OSError:
            continue
    return found


@pytest.mark.parametrize("kind", [SPARK_APPLICATIONS, MPI_JOBS])
def test_a_name_that_is_taken_is_reported(cluster: Cluster, kind: Any) -> None:
    mine = "taken-driver" if kind is SPARK_APPLICATIONS else "taken-worker-0"
    pod = cluster.container("main", "launcher.py") | {"command": ["sleep", "600"]}
    spec = {"containers": [pod], "volumes": [cluster.tools], "terminationGracePeriodSeconds": 0}
    cluster.create(PODS, {"metadata": {"name": mine}, "spec": spec})
    manifest = (
        spark_application(cluster, "taken", "now") if kind is SPARK_APPLICATIONS else mpi_job(cluster, "taken", "true")
    )
    cluster.create(kind, manifest)
    cluster.wait_for_events("taken", "ErrResourceExists")
    cluster.delete(kind, "taken")
    cluster.delete(PODS, mine, grace_s=0)
    wait_for(lambda: not cluster.exists(PODS, mine), mine)
