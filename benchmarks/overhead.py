"""What a task costs beside its work: a pod that does nothing, on stock Airflow and on Podium's, one after the other.

Both Airflows have the same machine, Postgres, executor and cluster to themselves. What of it is Airflow's own shows
`no_pod`, a task of one empty function: no operator can be faster. Measured by a run's own timestamps,
from the moment its only task is scheduled to the end of the task, and by how long the task's process occupied a worker.
"""

import contextlib
import math
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks import airflows
from benchmarks.airflows import Kind, RunningAirflow
from include.config import Settings
from include.demo.airflow_api import FINISHED, AirflowApi, DagRun, TaskInstance
from include.demo.cluster import Cluster
from include.stack.service import Platform
from include.stack.services import devcluster

POLL_SECONDS = 0.2
WARM_UPS = 3
WAIT_S = 40
"""How long the pod of `waits_deferred` runs. Podium's operator looks on in the worker for `airflow.defer_after_s`
(20 s in `local`), since most pods are done by then and to defer costs a second process; then it defers."""

IMAGE_ON_A_CLUSTER = "busybox:1.36"
"""Has `true` and `sleep`, and every cluster can pull it."""


@dataclass(frozen=True)
class Measured:
    """Seconds from scheduled to finished, and seconds that a worker was occupied, run by run; and how many failed.

    On a busy machine some runs of stock Airflow fail: it gives its own API server 5 s to answer.
    """

    seconds: list[float]
    worker_seconds: list[float]
    failed: int


def measure(platform: Platform, runs: int = 10, kubeconfig: Path | None = None) -> dict[str, float]:
    """Both Airflows on the dev cluster, and on a real one where there is one.

    :param runs: of each kind of task, beside a first one to warm up.
    :param kubeconfig: of a real cluster that `k8s/overlays/laptop` is applied to, with a token (see `k8s/README.md`).
    :returns: seconds, and how many times longer stock Airflow takes.
    """
    with airflows.platform_paused(platform):
        figures = _compare(platform, platform.settings, platform.kubeconfig, "dev cluster", runs)
        if kubeconfig is not None:
            kubernetes = platform.settings.kubernetes.model_copy(update={"kubeconfig": kubeconfig.absolute()})
            images = platform.settings.images | {"ingest": IMAGE_ON_A_CLUSTER}
            real = platform.settings.model_copy(update={"kubernetes": kubernetes, "images": images})
            devcluster.create_objects(Platform(real, platform.paths, platform.credentials))
            figures |= _compare(platform, real, kubeconfig, "real cluster", runs)
    return figures


def _compare(platform: Platform, settings: Settings, kubeconfig: Path, where: str, runs: int) -> dict[str, float]:
    with Cluster(kubeconfig, settings) as cluster:
        figures = {f"{where}, pod alone: median s": statistics.median(_bare(cluster, runs))}
    kinds: tuple[Kind, ...] = ("stock", "podium")
    variables = {
        "BENCH_IMAGE": settings.images["ingest"],
        # The same for Podium's operator, which goes by the settings.
        "PODIUM_IMAGES__INGEST": settings.images["ingest"],
        "BENCH_NAMESPACE": settings.kubernetes.namespace,
        "BENCH_WAIT_S": str(WAIT_S),
    }
    for kind in kinds:
        counts = {"no_pod": runs, "noop_sync": runs, "noop_deferred": runs, "waits_deferred": 2}
        with airflows.running(platform, kind, settings, variables, counts) as airflow:
            _warm_up(airflow, "noop_sync")
            for dag_id, count in counts.items():
                title = f"{where}, {kind}, {dag_id}"
                measured = _through(airflow, dag_id, count)
                figures |= {
                    f"{title}: median s": statistics.median(measured.seconds),
                    f"{title}: worker s": statistics.median(measured.worker_seconds),
                }
                if measured.failed:
                    figures[f"{title}: failed runs"] = measured.failed
                if count > 2:
                    figures[f"{title}: p95 s"] = percentile(measured.seconds, 0.95)
    for dag_id in ("no_pod", "noop_sync", "noop_deferred"):
        stock, podium = (figures[f"{where}, {kind}, {dag_id}: median s"] for kind in kinds)
        figures[f"{where}, {dag_id}: stock / podium"] = stock / podium
    return figures


def percentile(values: list[float], share: float) -> float:
    """The smallest value that at least this share of all values does not exceed (nearest rank)."""
    return sorted(values)[max(0, math.ceil(len(values) * share) - 1)]


def _bare(cluster: Cluster, runs: int) -> list[float]:
    """Seconds from the request for a pod to its end, asked by nobody but us."""
    seconds = []
    for _ in range(runs):
        cluster.delete("bench-noop")
        began = time.monotonic()
        cluster.start_command("bench-noop", "ingest", ["true"])
        while cluster.phase("bench-noop") != "Succeeded":
            time.sleep(0.02)
        seconds.append(time.monotonic() - began)
    cluster.delete("bench-noop")
    return seconds


def _warm_up(airflow: RunningAirflow, dag_id: str) -> None:
    """The API server loads much with the first task that reports to it, which stock settings may not wait for."""
    airflow.api.unpause(dag_id)
    for _ in range(WARM_UPS):
        if _run(airflow.api, dag_id)[0].state == "success":
            break


def _through(airflow: RunningAirflow, dag_id: str, runs: int) -> Measured:
    airflow.api.unpause(dag_id)
    seconds: list[float] = []
    tasks: list[str] = []
    failed = 0
    while len(tasks) < runs:
        run, task = _run(airflow.api, dag_id)
        if run.state == "success" and run.start and task.end:
            # A run's task is scheduled in the moment the run starts; its own mark is renewed whenever it comes back.
            seconds.append((task.end - run.start).total_seconds())
            tasks.append(task.id)
        elif (failed := failed + 1) > runs:
            raise RuntimeError("\n".join([f"{dag_id} ends as {run.state}:", *airflow.api.log_tail(task)]))
    held = airflow.worker_seconds(tasks)
    return Measured(seconds, [held[task] for task in tasks], failed)


def _run(api: AirflowApi, dag_id: str) -> tuple[DagRun, TaskInstance]:
    run = _wait(api, dag_id, api.trigger(dag_id))
    [task] = api.tasks(run)
    return run, task


def _wait(api: AirflowApi, dag_id: str, run_id: str) -> DagRun:
    while True:
        # Its own timestamps are what counts: a machine that is too busy to answer is asked again.
        with contextlib.suppress(httpx.TimeoutException):
            run = next(run for run in api.runs(dag_id) if run.run_id == run_id)
            if run.state in FINISHED:
                return run
        time.sleep(POLL_SECONDS)
