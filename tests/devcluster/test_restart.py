"""Pods outlive the server: kill -9, restart, drain. Only the dev cluster promises this in one process."""

from __future__ import annotations

import copy
import os
import random
import signal
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import MaxRetryError, ProtocolError

from tests.devcluster.cluster import Cluster, eventually
from tests.devcluster.server import CHECKOUT, PYTHON, DevCluster

pytestmark = pytest.mark.dev_only


@pytest.fixture
def server(tmp_path: Path) -> Iterator[DevCluster]:
    with DevCluster(tmp_path, restart_backoff_s=0.5).running() as running:
        yield running


@pytest.fixture
def own(server: DevCluster) -> Cluster:
    return Cluster(server.kubeconfig, "podium")


def shims(server: DevCluster) -> list[int]:
    """Processes that look after a container of this server."""
    found = subprocess.run(["ps", "-wweo", "pid,args"], capture_output=True, text=True, check=True).stdout
    return [
        int(line.split()[0]) for line in found.splitlines() if "runtime.shim" in line and str(server.folder) in line
    ]


def test_a_pod_runs_on_while_the_server_is_dead(server: DevCluster, own: Cluster) -> None:
    own.start(
        "pod",
        "i=0; while [ $i -lt 30 ]; do echo $i; i=$((i+1)); sleep 0.1; done; exit 5",
        terminationGracePeriodSeconds=5,
    )
    before = own.wait("pod", "Running")
    server.kill()
    server.start()
    after = own.pod("pod")
    assert after.metadata.uid == before.metadata.uid
    assert after.status.start_time == before.status.start_time
    pod = own.wait("pod", "Failed")
    assert pod.status.container_statuses[0].state.terminated.exit_code == 5
    assert pod.status.container_statuses[0].restart_count == 0
    assert own.log("pod").split() == [str(i) for i in range(30)]


def test_a_pod_that_ended_meanwhile_has_its_record(server: DevCluster, own: Cluster) -> None:
    own.start("pod", "sleep 1; echo said; exit 7")
    own.wait("pod", "Running")
    server.kill()
    eventually(lambda: not shims(server))
    server.start()
    done = own.wait("pod", "Failed").status.container_statuses[0].state.terminated
    assert (done.exit_code, done.reason) == (7, "Error")
    assert own.log("pod") == "said\n"


def test_a_pod_without_a_record_has_failed_and_says_so(server: DevCluster, own: Cluster) -> None:
    own.start("pod", "sleep 300")
    own.wait("pod", "Running")
    server.kill()
    for pid in shims(server):
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: not shims(server))
    server.start()
    done = own.wait("pod", "Failed").status.container_statuses[0].state.terminated
    assert (done.exit_code, done.reason) == (137, "ContainerStatusUnknown")
    assert "could not be located" in done.message


def test_a_killed_shim_takes_its_container_along(server: DevCluster, own: Cluster) -> None:
    own.start("pod", "echo $$ > /data/pid; sleep 300", volumes=[{"name": "data", "emptyDir": {}}],
              container={"volumeMounts": [{"name": "data", "mountPath": "/data"}]})  # fmt: skip
    own.wait("pod", "Running")
    (pid,) = [p for p in shims(server) if parent(p) not in shims(server)]
    os.kill(pid, signal.SIGKILL)
    own.wait("pod", "Failed")
    eventually(lambda: not shims(server))


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_a_pod_that_always_runs_is_started_again(server: DevCluster, own: Cluster) -> None:
    own.start("pod", "echo up; sleep 300", restartPolicy="Always")
    own.wait("pod", "Running")
    server.stop()
    assert server.drain().strip() == "ended 1 containers"
    assert not shims(server)
    server.start()
    eventually(lambda: own.status("pod").restart_count == 1 and own.state("pod").running)


def test_drain_ends_every_pod_and_the_next_start_says_so(server: DevCluster, own: Cluster) -> None:
    own.start("polite", "trap 'exit 0' TERM; while true; do sleep 0.1; done")
    own.start("stubborn", "trap '' TERM; while true; do sleep 0.1; done")
    own.wait("polite", "Running")
    own.wait("stubborn", "Running")
    server.kill()
    assert server.drain().strip() == "ended 2 containers"
    assert not shims(server)
    server.start()
    for name in ("polite", "stubborn"):
        pod = own.wait(name, "Failed")
        assert pod.status.reason == "Terminated"
        assert "node shutdown" in pod.status.message
    codes = {name: own.state(name).terminated.exit_code for name in ("polite", "stubborn")}
    assert codes == {"polite": 0, "stubborn": 137}


def test_a_deletion_goes_on_after_a_restart(server: DevCluster, own: Cluster) -> None:
    own.start("pod", "trap '' TERM; while true; do sleep 0.1; done", terminationGracePeriodSeconds=3)
    own.wait("pod", "Running")
    own.core.delete_namespaced_pod("pod", "podium")
    server.kill()
    server.start()
    eventually(lambda: own.gone("pod"), 20)
    eventually(lambda: not shims(server))


def test_a_pod_that_was_forced_out_is_ended_after_a_restart(server: DevCluster, own: Cluster) -> None:
    own.start("pod", "sleep 300")
    own.wait("pod", "Running")
    own.core.delete_namespaced_pod("pod", "podium", grace_period_seconds=0)
    server.kill()
    server.start()
    eventually(lambda: not shims(server))
    assert own.gone("pod")


def test_objects_and_history_survive(server: DevCluster, own: Cluster) -> None:
    start = own.core.list_namespaced_config_map("podium").metadata.resource_version
    own.config_map("one", {"a": "1"})
    server.kill()
    server.start()
    own.config_map("two")
    seen = [(kind, name) for kind, name, _ in own.watch(timeout=1, resource_version=start)]
    assert seen == [("ADDED", "one"), ("ADDED", "two")]


def test_what_a_client_has_seen_is_never_lost(server: DevCluster, own: Cluster) -> None:
    """Writers go on until the server is killed in the middle of it."""
    written: list[str] = []

    def write() -> None:
        index = 0
        while True:
            try:
                own.config_map(f"map-{index}")
            except Exception:
                return
            written.append(f"map-{index}")
            index += 1

    writer = threading.Thread(target=write)
    writer.start()
    eventually(lambda: len(written) > 50)
    server.kill()
    writer.join(60)
    server.start()
    found = {i.metadata.name for i in own.core.list_namespaced_config_map("podium").items}
    assert set(written) <= found
    assert len(found) <= len(written) + 1


def test_a_server_killed_at_any_moment_runs_every_pod_once(server: DevCluster, own: Cluster, tmp_path: Path) -> None:
    """Pods are asked for without pause while the server is killed again and again, wherever it is at that moment."""
    moments, count = random.Random(7), 12
    ran = tmp_path / "ran"
    ran.mkdir()
    volume = {
        "volumes": [{"name": "ran", "hostPath": {"path": str(ran)}}],
        "container": {"volumeMounts": [{"name": "ran", "mountPath": "/ran"}]},
    }
    accepted = 0

    def ask() -> None:
        nonlocal accepted
        while accepted < count:
            work = f"echo run >> /ran/{accepted}; for i in 1 2 3 4 5; do echo $i; sleep 0.1; done; exit {accepted % 3}"
            try:
                own.start(f"pod-{accepted}", work, **copy.deepcopy(volume))
            except ApiException as error:
                if error.status != 409:  # else it was accepted, and the answer was lost
                    raise
            except (MaxRetryError, ProtocolError):
                continue  # the server is dead: ask again
            accepted += 1

    asking = threading.Thread(target=ask)
    asking.start()
    for reached in (1, 4, 6, 9):
        eventually(partial(lambda least: accepted >= least, reached))
        asking.join(moments.uniform(0, 0.5))
        server.kill()
        server.start()
    asking.join(60)
    for index in range(count):
        pod = own.wait(f"pod-{index}", "Succeeded", "Failed")
        done = pod.status.container_statuses[0].state.terminated
        assert (done.exit_code, pod.status.container_statuses[0].restart_count) == (index % 3, 0), done
        assert own.log(f"pod-{index}").split() == ["1", "2", "3", "4", "5"]
        assert (ran / str(index)).read_text() == "run\n"


def test_a_second_server_on_the_same_folder_is_refused(server: DevCluster) -> None:
    command = [PYTHON, "-m", "include.devcluster", "--config", server.folder / "config.yaml"]
    second = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode == 1
    assert "another dev cluster runs on this folder" in second.stderr


def test_a_taken_port_is_said_so(server: DevCluster, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    config = DevCluster(folder, port=server.port).folder / "config.yaml"
    command = [PYTHON, "-m", "include.devcluster", "--config", config]
    second = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode == 1
    assert f"127.0.0.1:{server.port} cannot be listened on" in second.stderr


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"nodes": []}, "nodes: List should have at least 1 item"),
        ({"colour": "red"}, "colour: Extra inputs are not permitted"),
        ({"pod_network": "everything"}, "pod_network"),
        ({"token": "short"}, "token: String should have at least 8 characters"),
    ],
)
def test_a_wrong_configuration_is_named(tmp_path: Path, change: dict[str, object], complaint: str) -> None:
    config = DevCluster(tmp_path, **change).folder / "config.yaml"
    command = [PYTHON, "-m", "include.devcluster", "--config", config]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert complaint in done.stderr
    assert str(config) in done.stderr
    assert "Traceback" not in done.stderr
