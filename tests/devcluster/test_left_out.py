"""What the dev cluster leaves out says so: the list in include/devcluster/README.md."""

from __future__ import annotations

import pytest

from tests.devcluster.cluster import Cluster, eventually, refused

pytestmark = pytest.mark.dev_only


def test_kinds_that_are_not_served(cluster: Cluster) -> None:
    refused(404, lambda: cluster.raw("GET", f"/apis/apps/v1/namespaces/{cluster.namespace}/deployments"))
    assert "doesn't have a resource type" in cluster.kubectl("get", "deployments", check=False)


@pytest.mark.parametrize("verb", ["port-forward", "attach"])
def test_commands_that_are_not_served_say_what_to_do_instead(cluster: Cluster, name: str, verb: str) -> None:
    cluster.start(name, "sleep 60")
    cluster.wait(name, "Running")
    path = f"/api/v1/namespaces/{cluster.namespace}/pods/{name}/{verb.replace('-', '')}"
    refused(
        501, lambda: cluster.raw("POST", path), reason="NotImplemented", message="not served by the dev cluster: pods/"
    )
    arguments = [verb, name, "8080:80"] if verb == "port-forward" else [verb, name]
    assert "not served by the dev cluster" in cluster.kubectl(*arguments, check=False)


def test_volumes_that_are_not_served(cluster: Cluster, name: str) -> None:
    cluster.start(name, volumes=[{"name": "nfs", "nfs": {"server": "x", "path": "/"}}])
    assert "nfs volumes are not served by the dev cluster" in cluster.event(name, "FailedMount").message


def test_probes_that_are_not_served(cluster: Cluster, name: str) -> None:
    cluster.start(name, "sleep 60", container={"readinessProbe": {"grpc": {"port": 1}, "periodSeconds": 1}})
    assert "not served by the dev cluster" in cluster.event(name, "Unhealthy").message


def test_exec_without_websocket(cluster: Cluster, name: str) -> None:
    cluster.start(name, "sleep 60")
    cluster.wait(name, "Running")
    path = f"/api/v1/namespaces/{cluster.namespace}/pods/{name}/exec?command=true"
    spdy = {"Connection": "Upgrade", "Upgrade": "SPDY/3.1"}
    refused(400, lambda: cluster.raw("POST", path, **spdy), message="the dev cluster speaks exec over WebSocket only")


def test_a_job_made_by_kubectl_is_refused(cluster: Cluster, name: str) -> None:
    said = cluster.kubectl("create", "job", name, "--image=busybox:1", check=False)
    assert "could not find the requested resource" in said


def test_a_pod_of_another_scheduler_waits(cluster: Cluster, name: str) -> None:
    cluster.start(name, schedulerName="mine")
    cluster.run(f"{name}-witness")
    assert eventually(lambda: cluster.pod(name).status.phase) == "Pending"
