"""A pod that does nothing: through the Kubernetes API alone, and as an Airflow task through the real scheduler."""

import statistics
import time
from collections.abc import Callable

from include.demo.airflow_api import FINISHED, AirflowApi, DagRun
from include.demo.cluster import Cluster

DAG_ID = "check_platform"
POLL_SECONDS = 0.05


def bare(cluster: Cluster, runs: int) -> list[float]:
    """Seconds from the request for a pod to its end, asked by nobody but us."""
    seconds = []
    for _ in range(runs):
        cluster.delete("bench-noop")
        began = time.monotonic()
        cluster.start_command("bench-noop", "ingest", ["true"])
        _until(lambda: cluster.phase("bench-noop") == "Succeeded")
        seconds.append(time.monotonic() - began)
    cluster.delete("bench-noop")
    return seconds


def through_airflow(airflow: AirflowApi, runs: int) -> list[float]:
    """Seconds of a run with one such task, from queued to finished; the first run, which warms up, is left out."""
    airflow.unpause(DAG_ID)
    seconds = []
    for _ in range(runs + 1):
        run = _wait(airflow, airflow.trigger(DAG_ID))
        if run.state != "success" or not (run.queued_at and run.end):
            raise RuntimeError(f"{DAG_ID} {run.run_id} ended as {run.state}: see its log in Airflow")
        seconds.append((run.end - run.queued_at).total_seconds())
    return seconds[1:]


def measure(cluster: Cluster, airflow: AirflowApi, runs: int = 7) -> dict[str, float]:
    """Median seconds of both, and how many times longer the task takes."""
    alone, task = statistics.median(bare(cluster, runs)), statistics.median(through_airflow(airflow, runs))
    return {"pod_s": alone, "task_s": task, "ratio": task / alone}


def _wait(airflow: AirflowApi, run_id: str) -> DagRun:
    while True:
        run = next(run for run in airflow.runs(DAG_ID) if run.run_id == run_id)
        if run.state in FINISHED:
            return run
        time.sleep(POLL_SECONDS)


def _until(met: Callable[[], bool]) -> None:
    while not met():
        time.sleep(POLL_SECONDS)
