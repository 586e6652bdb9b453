"""MPIJobs for tests."""

from __future__ import annotations

from typing import Any

from include.devcluster.controllers.mpi_status import is_finished
from include.devcluster.controllers.objects import Manifest
from tests.devcluster.controllers.cluster import Cluster


def mpi_job(cluster: Cluster, name: str, rank: str, workers: int = 2, **policy: Any) -> Manifest:
    tiny = {"requests": {"cpu": "10m"}}
    launcher = cluster.container("launcher", "launcher.py", args=[rank], resources=tiny)
    worker = {"name": "worker", "image": cluster.image, "resources": tiny}
    return {
        "metadata": {"name": name},
        "spec": {
            "slotsPerWorker": 1,
            "launcherCreationPolicy": "WaitForWorkersReady",
            "runPolicy": {"cleanPodPolicy": "Running", "backoffLimit": 0, **policy},
            "mpiReplicaSpecs": {
                "Launcher": {
                    "replicas": 1,
                    "template": {"spec": {"containers": [launcher], "volumes": [cluster.tools]}},
                },
                "Worker": {"replicas": workers, "template": {"spec": {"containers": [worker]}}},
            },
        },
    }


def finished(job: Manifest) -> bool:
    return is_finished(job.get("status") or {})


def end_of(job: Manifest) -> Manifest:
    ends: list[Manifest] = [c for c in job["status"]["conditions"] if c["type"] in ("Succeeded", "Failed")]
    return ends[0]
