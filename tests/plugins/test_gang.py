"""Which pods of a gang are lost, and what a task does when its controller does not look after that."""

from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred
from podium.errors import WorkFailedError
from podium.gang import Gang, Loss
from podium.identity import Identity
from podium.kinds import MPI_JOB
from podium.operators.mpi import MPIJobOperator
from podium.triggers import custom_resource

from tests.plugins.cluster import Platform, wait_for
from tests.plugins.harness import Ti, begin, finish

GANG = Gang("role", member="worker", lead="launcher")
EARLY, MIDDLE, LATE = (f"2026-01-01T00:0{minute}:00Z" for minute in range(3))


def pod(role: str, phase: str, created: str = EARLY, **metadata: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": role, "labels": {"role": role}, "creationTimestamp": created} | metadata,
        "status": {"phase": phase, "startTime": MIDDLE},
    }


@pytest.mark.parametrize(
    ("pods", "expected"),
    [
        ([], None),
        ([pod("worker", "Running"), pod("launcher", "Running")], None),
        ([pod("worker", "Pending")], None),
        ([pod("worker", "Failed")], Loss(("worker",), is_led=False)),
        ([pod("worker", "Succeeded")], Loss(("worker",), is_led=False)),
        ([pod("worker", "Failed"), pod("launcher", "Running")], Loss(("worker",), is_led=True)),
        ([pod("worker", "Failed"), pod("launcher", "Failed")], Loss(("worker",), is_led=True)),
        # What ends after the work has ended well is no loss, nor is what is being taken away.
        ([pod("worker", "Failed"), pod("launcher", "Succeeded")], None),
        ([pod("worker", "Failed", deletionTimestamp=LATE), pod("launcher", "Running")], None),
        # A pod that takes the place of one that was deleted has no rank.
        ([pod("worker", "Running", LATE), pod("launcher", "Running")], Loss(("worker",), is_led=True)),
        ([pod("worker", "Running", LATE), pod("launcher", "Pending")], None),
        ([pod("other", "Failed"), pod("launcher", "Running")], None),
    ],
)
def test_what_is_lost(pods: list[dict[str, Any]], expected: Loss | None) -> None:
    assert GANG.lost(pods) == expected


def mpi(**arguments: Any) -> MPIJobOperator:
    command = ["python", "-m", "train", "wait"]
    small: dict[str, Any] = {"workers": 2, "cpu": "1", "memory": "512Mi"}
    return MPIJobOperator(
        task_id="work", image="recommender", command=command, node_pool="gpu-a100", retries=0, **(small | arguments)
    )


def end_worker(platform: Platform, worker: str, **status: Any) -> None:
    """Have the cluster say that a worker has failed, as it does of one on a node that is lost."""
    path = f"/api/v1/namespaces/{platform.namespace}/pods/{worker}/status"
    answer = platform.api.patch(
        path, json={"status": {"phase": "Failed"} | status}, headers={"Content-Type": "application/merge-patch+json"}
    )
    answer.raise_for_status()


def pods_of(platform: Platform, job: str) -> list[str]:
    return [name for name in platform.pods() if name.startswith(job)]


def jobs(platform: Platform) -> dict[str, Any]:
    return platform.objects(MPI_JOB.group, MPI_JOB.version, MPI_JOB.plural)


def test_an_evicted_worker_fails_the_task_which_frees_what_the_job_holds(platform: Platform, name: str) -> None:
    ti = Ti("work", run_id=name, max_tries=0)
    job = Identity.of(ti, 0).name
    deferred = begin(mpi, ti)
    assert isinstance(deferred, TaskDeferred)
    wait_for(lambda: f"{job}-launcher" in platform.pods(), "the launcher")
    end_worker(platform, f"{job}-worker-1", reason="Evicted", message="The node was low on resource: memory.")
    with pytest.raises(WorkFailedError, match="1/2 workers are evicted"):
        finish(mpi, ti, deferred)
    wait_for(lambda: job not in jobs(platform) and not pods_of(platform, job), "the job and all its pods to go")


def test_a_worker_that_is_lost_before_the_launcher_fails_the_task(
    platform: Platform, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(custom_resource, "NOTICED_S", 0.5)
    # Room is counted below: what other tests have left must hold none.
    platform.clear()
    ti = Ti("work", run_id=name, max_tries=0)
    job = Identity.of(ti, 0).name

    def large() -> MPIJobOperator:
        return mpi(gpus_per_worker=4)

    blocker = {
        "metadata": {"name": "blocker"},
        "spec": {
            "nodeSelector": {"podium.dev/pool": "gpu-a100"},
            "tolerations": [{"operator": "Exists"}],
            "terminationGracePeriodSeconds": 0,
            "containers": [
                {
                    "name": "main",
                    "image": "alpine",
                    "command": ["sleep", "600"],
                    "resources": {"limits": {"nvidia.com/gpu": "1"}},
                }
            ],
        },
    }
    platform.call("POST", f"/api/v1/namespaces/{platform.namespace}/pods", blocker)
    deferred = begin(large, ti)

    def running() -> list[str]:
        workers = [pod for pod_name, pod in platform.pods().items() if pod_name.startswith(f"{job}-worker-")]
        return [pod["metadata"]["name"] for pod in workers if pod["status"]["phase"] == "Running"]

    wait_for(lambda: len(running()) == 1, "the worker that there is room for")
    (worker,) = running()
    end_worker(platform, worker)
    with pytest.raises(WorkFailedError, match=f"pod {worker} of MPIJob .* ended before the work did"):
        finish(large, ti, deferred)
    wait_for(lambda: not pods_of(platform, job), "the other worker to go")


def test_a_job_that_the_controller_refuses_fails_with_its_words(platform: Platform, name: str) -> None:
    class Wrong(MPIJobOperator):
        def manifest(self, identity: Identity) -> dict[str, Any]:
            manifest = super().manifest(identity)
            manifest["spec"]["mpiReplicaSpecs"]["Worker"]["restartPolicy"] = "ExitCode"
            return manifest

    def wrong() -> Wrong:
        return Wrong(
            task_id="work",
            image="recommender",
            command=["true"],
            node_pool="gpu-a100",
            workers=2,
            cpu="1",
            memory="512Mi",
            retries=0,
        )

    ti = Ti("work", run_id=name, max_tries=0)
    with pytest.raises(WorkFailedError, match=r"spec.mpiReplicaSpecs\[Worker\].restartPolicy: Unsupported value"):
        finish(wrong, ti, begin(wrong, ti))
