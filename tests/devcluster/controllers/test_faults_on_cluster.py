"""Controllers and dev cluster die and come back: work goes on, nothing is done twice, no request is lost."""

from __future__ import annotations

import pytest

from include.devcluster.controllers.inference_service import INFERENCE_SERVICES
from include.devcluster.controllers.mpi_job import MPI_JOBS
from include.devcluster.controllers.objects import PODS, phase
from tests.devcluster.controllers.jobs import end_of, finished, mpi_job
from tests.devcluster.controllers.processes import Rig
from tests.devcluster.controllers.rollouts import canary, change, load, pods_of, ready, service
from tests.devcluster.controllers.support import wait_for


def test_killed_controllers_take_up_where_they_were(rig: Rig) -> None:
    cluster, process = rig.cluster, rig.controllers
    cluster.create(INFERENCE_SERVICES, service(cluster, "survivor"))
    cluster.create(MPI_JOBS, mpi_job(cluster, "survivor", "sleep 2; echo done"))
    url = cluster.wait(INFERENCE_SERVICES, "survivor", ready)["status"]["url"]
    wait_for(lambda: cluster.exists(PODS, "survivor-launcher"), "the launcher")
    uid = cluster.get(PODS, "survivor-launcher")["metadata"]["uid"]
    with load(f"{url}/v1/models/rec") as clients:
        clients.some(50)
        process.kill()
        cluster.patch(INFERENCE_SERVICES, "survivor", {"spec": {"canary": canary(cluster, "v2", 50)}})
        wait_for(lambda: phase(cluster.get(PODS, "survivor-launcher")) == "Succeeded", "the launcher to end by itself")
        assert set(clients.some(100)) == {"v1"}
        process.start()
        job = cluster.wait(MPI_JOBS, "survivor", finished)
        assert end_of(job)["type"] == "Succeeded"
        assert [p["metadata"]["uid"] for p in cluster.pods(job_name="survivor", job_role="launcher")] == [uid]
        cluster.wait(INFERENCE_SERVICES, "survivor", ready)
        wait_for(lambda: set(clients.some(50)) == {"v1", "v2"}, "the canary's share")
        process.kill()
        cluster.patch(INFERENCE_SERVICES, "survivor", {"spec": {"canary": None}})
        process.start()
        wait_for(lambda: not pods_of(cluster, "survivor", "v2"), "the canary to go")
        assert set(clients.some(100)) == {"v1"}
    assert set(clients.answers) == {"v1", "v2"}, clients.answers


@pytest.mark.dev_only
def test_a_killed_dev_cluster_costs_no_request_and_fails_the_job_with_the_reason(rig: Rig) -> None:
    cluster, server = rig.cluster, rig.dev_cluster
    assert server is not None
    cluster.create(INFERENCE_SERVICES, service(cluster, "outlives"))
    cluster.create(MPI_JOBS, mpi_job(cluster, "outlives", "echo waiting; sleep 600"))
    url = cluster.wait(INFERENCE_SERVICES, "outlives", ready)["status"]["url"]
    wait_for(lambda: cluster.exists(PODS, "outlives-launcher"), "the launcher")
    with load(f"{url}/v1/models/rec") as clients:
        clients.some(50)
        server.kill()
        clients.some(200)
        server.start()
        change(cluster, "outlives", canary=canary(cluster, "v2", 50))
        assert set(clients.some(100)) == {"v1", "v2"}
    assert set(clients.answers) == {"v1", "v2"}, clients.answers
    condition = end_of(cluster.wait(MPI_JOBS, "outlives", finished))
    # The ranks ran by exec through the dev cluster: they end with it, and whoever asked for the job tries again.
    assert condition["type"] == "Failed"
    assert "broke before the command ended" in condition["message"]
