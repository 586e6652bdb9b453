"""The real programs in their images' environments: horovodrun and spark-submit."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from include.devcluster.controllers.mpi_job import MPI_JOBS
from include.devcluster.controllers.mpi_status import is_finished
from include.devcluster.controllers.objects import PODS, Manifest, terminated_state
from include.devcluster.controllers.spark_application import SPARK_APPLICATIONS
from include.devcluster.controllers.spark_states import state_of
from tests.devcluster.controllers.cluster import Cluster
from tests.devcluster.controllers.support import image_environment, wait_for

# Environments of the dev cluster's images; a real cluster has images of its own.
pytestmark = [pytest.mark.dev_only, pytest.mark.slow]
HOROVOD_S = 240


@pytest.fixture
def horovod() -> None:
    if image_environment("recommender") is None:
        pytest.skip("the recommender's environment is not built: make setup")


def horovod_job(cluster: Cluster, name: str, *arguments: str) -> Manifest:
    command = ["horovodrun", "--gloo", "--hostfile", "/etc/mpi/hostfile", "-np", "2"]
    rank = ["python", "/opt/tools/allreduce.py", *arguments]
    mounts = [{"name": "tools", "mountPath": "/opt/tools"}]
    shared = {"image": "podium/recommender:dev", "volumeMounts": mounts}
    launcher = {"name": "launcher", **shared, "command": [*command, *rank]}
    roles = {"Launcher": (1, launcher), "Worker": (2, {"name": "worker", **shared})}
    return {
        "metadata": {"name": name},
        "spec": {
            "slotsPerWorker": 1,
            "launcherCreationPolicy": "WaitForWorkersReady",
            "runPolicy": {"cleanPodPolicy": "Running", "backoffLimit": 0},
            "mpiReplicaSpecs": {
                role: {"replicas": n, "template": {"spec": {"containers": [c], "volumes": [cluster.tools]}}}
                for role, (n, c) in roles.items()
            },
        },
    }


def end_of(cluster: Cluster, name: str) -> Manifest:
    job = cluster.wait(MPI_JOBS, name, lambda j: is_finished(j.get("status") or {}), HOROVOD_S)
    ends: list[Manifest] = [c for c in job["status"]["conditions"] if c["type"] in ("Succeeded", "Failed")]
    return ends[0]


@pytest.mark.usefixtures("horovod")
def test_horovod_reduces_across_worker_pods(cluster: Cluster) -> None:
    cluster.create(MPI_JOBS, horovod_job(cluster, "sum"))
    condition = end_of(cluster, "sum")
    log = cluster.log("sum-launcher")
    assert condition["type"] == "Succeeded", (condition, log)
    assert "rank 0 of 2 has 3.0" in log
    assert "rank 1 of 2 has 3.0" in log


@pytest.mark.usefixtures("horovod")
def test_a_failing_rank_ends_the_others(cluster: Cluster) -> None:
    cluster.create(MPI_JOBS, horovod_job(cluster, "rank-fails", "fail"))
    condition = end_of(cluster, "rank-fails")
    assert condition["type"] == "Failed"
    assert "exited with code" in condition["message"]
    wait_for(lambda: not ranks("fail"), "the other rank to end")


@pytest.mark.usefixtures("horovod")
def test_a_killed_worker_ends_the_job_and_its_other_ranks(cluster: Cluster) -> None:
    cluster.create(MPI_JOBS, horovod_job(cluster, "worker-dies", "forever"))
    wait_for(lambda: cluster.log("worker-dies-launcher").count("has 3.0") == 2, "both ranks to run", HOROVOD_S)
    holder = next(pid for pid in processes() if "worker-dies-worker-1" in environment_of(pid) and is_holder(pid))
    os.kill(int(holder), signal.SIGKILL)
    condition = end_of(cluster, "worker-dies")
    assert "worker-dies-launcher exited with code" in condition["message"]
    assert terminated_state(cluster.get(PODS, "worker-dies-worker-1"))["exitCode"] == 137
    wait_for(lambda: not ranks("forever"), "the other rank to end")


@pytest.mark.skipif(not shutil.which("java"), reason="no Java on the PATH")
def test_spark_submit_runs_in_the_driver(cluster: Cluster) -> None:
    if image_environment("features") is None:
        pytest.skip("the features' environment is not built: make setup")
    java = str(Path(str(shutil.which("java"))).resolve().parent.parent)
    spec = {
        "type": "Python",
        "sparkVersion": "4.1.1",
        "image": "podium/features:dev",
        "mainApplicationFile": "local:///opt/tools/sum.py",
        "arguments": ["1000"],
        "sparkConf": {"spark.ui.enabled": "false"},
        "restartPolicy": {"type": "Never"},
        "volumes": [cluster.tools],
        "driver": {
            "cores": 2,
            "memory": "512m",
            "env": [{"name": "JAVA_HOME", "value": java}],
            "volumeMounts": [{"name": "tools", "mountPath": "/opt/tools"}],
        },
        "executor": {"instances": 1},
    }
    cluster.create(SPARK_APPLICATIONS, {"metadata": {"name": "sum-spark"}, "spec": spec})
    app = cluster.wait(
        SPARK_APPLICATIONS, "sum-spark", lambda a: state_of(a.get("status") or {}) in ("COMPLETED", "FAILED"), 600
    )
    log = cluster.log("sum-spark-driver")
    assert state_of(app["status"]) == "COMPLETED", log
    assert "sum 499500 with 2 threads on 127." in log
    assert "as sum-spark" in log


def processes() -> list[str]:
    return [entry.name for entry in Path("/proc").glob("[0-9]*")]


def command_of(pid: str) -> str:
    try:
        return (Path("/proc") / pid / "cmdline").read_text()
    except OSError:
        return ""


def environment_of(pid: str) -> str:
    try:
        return (Path("/proc") / pid / "environ").read_text(errors="replace")
    except OSError:
        return ""


def is_holder(pid: str) -> bool:
    return command_of(pid).startswith("/bin/sh\x00-c\x00trap")


def ranks(argument: str) -> list[str]:
    return [
        pid for pid in processes() if command_of(pid).startswith(f"python\x00/opt/tools/allreduce.py\x00{argument}")
    ]
