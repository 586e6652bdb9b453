"""What pods wait for: from their status, and in the log of a task that has to wait."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred
from podium import waiting
from podium.identity import Identity

from tests.plugins.cluster import Platform, wait_for
from tests.plugins.harness import Ti, begin, defer_soon, finish

Make = Callable[..., Any]


def pod(name: str, phase: str = "Pending", **status: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "status": {"phase": phase, **status}}


UNSCHEDULABLE = {
    "conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available"}
    ]
}


def waits(reason: str) -> dict[str, Any]:
    return {"containerStatuses": [{"name": "base", "state": {"waiting": {"reason": reason, "message": "why"}}}]}


def test_pods_with_the_same_reason_share_a_line() -> None:
    pods = [pod(f"w-{index}", **UNSCHEDULABLE) for index in range(5)] + [pod("x", **waits("ErrImagePull"))]
    assert waiting.reasons(pods) == [
        "Waiting: 1 pod (x) is pending: ErrImagePull: why",
        "Waiting: 5 pods (w-0, w-1, w-2, …) are pending: Unschedulable: 0/3 nodes are available",
    ]


@pytest.mark.parametrize(
    "quiet",
    [
        pod("runs", "Running"),
        pod("new"),
        pod("starts", **waits("ContainerCreating")),
        {**pod("going", **UNSCHEDULABLE), "metadata": {"name": "going", "deletionTimestamp": "2026-01-01T00:00:00Z"}},
    ],
)
def test_what_runs_or_is_about_to_waits_for_nothing(quiet: dict[str, Any]) -> None:
    assert waiting.reasons([quiet]) == []


@pytest.fixture(scope="module")
def empty(platform: Platform) -> Platform:
    """The cluster without what other tests have left on it: a pool that somebody uses cannot be filled."""
    platform.clear()
    return platform


@contextmanager
def busy(platform: Platform, name: str, pool: str, nodes: int, resources: dict[str, str]) -> Iterator[None]:
    """All of these resources of a pool are taken."""
    base = f"/api/v1/namespaces/{platform.namespace}/pods"
    names = [f"busy-{name.rpartition('-')[2]}-{index}" for index in range(nodes)]
    for each in names:
        container = {
            "name": "base",
            "image": "podium/ingest:dev",
            "command": ["sleep", "600"],
            "resources": {"requests": resources, "limits": resources},
        }
        spec = {
            "containers": [container],
            "nodeSelector": {"podium.dev/pool": pool},
            "tolerations": [{"operator": "Exists"}],
        }
        platform.call("POST", base, {"metadata": {"name": each}, "spec": spec})
    wait_for(lambda: all(platform.pods()[each]["spec"].get("nodeName") for each in names), "the pool to be full")
    try:
        yield
    finally:
        for each in names:
            platform.call("DELETE", f"{base}/{each}?gracePeriodSeconds=0")


def gpu_pod(**arguments: Any) -> Any:
    from podium.operators.pod import PodiumPodOperator

    code = f"import os; open(os.environ['PODIUM_XCOM_PATH'], 'w').write('{json.dumps({'ran': 1})}')"
    return PodiumPodOperator(
        task_id="work",
        image="ingest",
        arguments=["python", "-c", code],
        node_pool="gpu-a100",
        gpus=1,
        retries=1,
        **arguments,
    )


def gang(**arguments: Any) -> Any:
    from podium.operators.mpi import MPIJobOperator

    return MPIJobOperator(
        task_id="work",
        image="recommender",
        command=["train"],
        workers=2,
        node_pool="gpu-a100",
        cpu="1",
        memory="512Mi",
        retries=1,
        **arguments,
    )


def driver(**arguments: Any) -> Any:
    from podium.operators.spark import PodiumSparkOperator

    return PodiumSparkOperator(
        task_id="work", image="features", main="local:///app/main.py", arguments=["ran"], retries=1, **arguments
    )


GPUS = ("gpu-a100", 2, {"nvidia.com/gpu": "4"})
CORES = ("spark", 1, {"cpu": "16"})


@pytest.mark.parametrize("deferrable", [True, False], ids=["deferred", "sync"])
@pytest.mark.parametrize(
    ("make", "taken"), [(gpu_pod, GPUS), (gang, GPUS), (driver, CORES)], ids=["pod", "mpi", "spark"]
)
def test_a_task_that_has_to_wait_says_what_for_and_goes_on(
    empty: Platform,
    name: str,
    make: Make,
    taken: tuple[str, int, dict[str, str]],
    deferrable: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    defer_soon(monkeypatch)
    ti, said = Ti("work", run_id=name), ""

    def work() -> Any:
        deferred = begin(lambda: make(deferrable=deferrable), ti)
        assert isinstance(deferred, TaskDeferred) is deferrable
        return finish(lambda: make(deferrable=deferrable), ti, deferred)

    def told() -> bool:
        nonlocal said
        said += capsys.readouterr().out
        return "Waiting: " in said

    with ThreadPoolExecutor(1) as thread:
        with busy(empty, name, *taken):
            result = thread.submit(work)
            wait_for(lambda: told() or result.done(), "the task to say what it waits for", 30)
        assert result.result(60) in ({"ran": 1}, {"hosts": 2}, {"did": "ran"})
    line = next(line for line in said.splitlines() if "Waiting: " in line)
    assert Identity.of(ti, 1).name in line
    assert f"Insufficient {next(iter(taken[2]))}" in line
