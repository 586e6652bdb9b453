"""What a container sees of this machine, with namespaces and with mapped paths. Promises of the dev cluster alone."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from include.devcluster.runtime.shim import Log
from tests.devcluster.cluster import Cluster, eventually
from tests.devcluster.server import PYTHON, DevCluster

pytestmark = pytest.mark.dev_only


@pytest.fixture(scope="module", params=["namespaces", "mapped"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevCluster]:
    folder = tmp_path_factory.mktemp(request.param)
    tools = folder / "image"
    (tools / "bin").mkdir(parents=True)
    (tools / "app" / "code").mkdir(parents=True)
    (tools / "app" / "code" / "main.sh").write_text("echo from the image; pwd; echo $COLOUR")
    program = tools / "bin" / "greet"
    program.write_text("#!/bin/sh\necho hello $1\n")
    program.chmod(0o755)
    image = {
        "path": [str(tools / "bin")], "env": {"COLOUR": "blue"}, "mounts": {"/app/code": str(tools / "app" / "code")},
        "workdir": "/app", "entrypoint": ["greet"], "cmd": ["image"],
    }  # fmt: skip
    images = {"busybox": {}, "team/tool": image, "team/later": image | {"marker": str(folder / "complete")}}
    with DevCluster(folder, isolation=request.param, images=images).running() as running:
        yield running


@pytest.fixture(scope="module")
def own(server: DevCluster) -> Cluster:
    return Cluster(server.kubeconfig, "podium")


def test_an_image_that_is_not_built_yet_is_waited_for(server: DevCluster, own: Cluster, name: str) -> None:
    own.start(name, container={"image": "team/later:1", "command": ["greet", "late"]})
    assert "its content is not built yet" in own.waiting_reason(name, "ErrImagePull", "ImagePullBackOff").message
    (server.folder / "complete").touch()
    # The longest that a kubelet backs off is five minutes.
    own.wait(name, "Succeeded", timeout=400)
    assert own.log(name) == "hello late\n"


def test_mount_paths_that_this_machine_lacks(own: Cluster, name: str) -> None:
    script = 'echo \'{"a": 1}\' > /airflow-test/xcom/return.json; cat "$RESULT"; ls /airflow-test/xcom'
    text = own.output(
        name, script, volumes=[{"name": "x", "emptyDir": {}}],
        container={
            "volumeMounts": [{"name": "x", "mountPath": "/airflow-test/xcom"}],
            "env": [{"name": "RESULT", "value": "/airflow-test/xcom/return.json"}],
        },
    )  # fmt: skip
    assert text == '{"a": 1}\nreturn.json\n'
    assert not Path("/airflow-test").exists()


def test_configuration_below_a_folder_of_this_machine(own: Cluster, name: str) -> None:
    own.config_map(name, {"key": "value\n"})
    text = own.output(
        name, "cat /etc/podium-test/config/key; test -e /etc/passwd && echo and the rest",
        volumes=[{"name": "c", "configMap": {"name": name}}],
        container={"volumeMounts": [{"name": "c", "mountPath": "/etc/podium-test/config"}]},
    )  # fmt: skip
    assert text == "value\nand the rest\n"
    assert not Path("/etc/podium-test").exists()


def test_an_image_brings_programs_files_variables_and_a_command(own: Cluster, name: str) -> None:
    image = {"name": "main", "image": "team/tool:v1"}
    own.core.create_namespaced_pod(
        "podium", {"metadata": {"name": f"{name}-a"}, "spec": {"restartPolicy": "Never", "containers": [image]}}
    )
    own.wait(f"{name}-a", "Succeeded")
    assert own.log(f"{name}-a") == "hello image\n"
    body = {
        "metadata": {"name": f"{name}-b"},
        "spec": {"restartPolicy": "Never", "containers": [{**image, "args": ["you"]}]},
    }
    own.core.create_namespaced_pod("podium", body)
    own.wait(f"{name}-b", "Succeeded")
    assert own.log(f"{name}-b") == "hello you\n"
    text = own.output(f"{name}-c", container={"image": "team/tool@sha256:00", "command": ["sh", "/app/code/main.sh"]})
    first, folder, colour = text.splitlines()
    assert (first, colour) == ("from the image", "blue")
    assert folder.endswith("/app")


def test_the_servers_environment_stays_the_servers(own: Cluster, name: str) -> None:
    text = own.output(name, "env")
    assert "SERVER_SECRET" not in text
    assert "not-for-pods" not in text
    names = {line.partition("=")[0] for line in text.splitlines()}
    assert names <= {"PATH", "HOME", "LANG", "HOSTNAME", "POD_IP", "PWD", "SHLVL", "_", "OLDPWD"}


def test_home_is_private_and_writable(own: Cluster, name: str) -> None:
    text = own.output(name, "echo x > $HOME/file && cat $HOME/file && ls -A $HOME")
    assert text == "x\nfile\n"


def test_output_keeps_its_time_and_order_when_the_container_is_killed(own: Cluster, name: str) -> None:
    own.start(name, "echo begun; sleep 300", terminationGracePeriodSeconds=60)
    eventually(lambda: own.pod(name).status.phase == "Running" and own.log(name) == "begun\n")
    own.core.delete_namespaced_pod(name, "podium")
    eventually(lambda: own.gone(name), 30)  # SIGTERM ends even what does not handle it


def test_what_a_container_leaves_behind_ends_with_it(own: Cluster, name: str, tmp_path: Path) -> None:
    mark = f"podium-test-{name}"
    script = f"(exec -a {mark} sleep 300) & setsid sleep 299.{os.getpid()} & sleep 0.3"
    own.run(name, container={"command": ["bash", "-c", script]})
    eventually(lambda: mark not in processes() and f"299.{os.getpid()}" not in processes())


def test_a_client_that_goes_away_takes_its_command_along(own: Cluster, name: str) -> None:
    own.start(name, "sleep 300")
    own.wait(name, "Running")
    connection = own.exec(name, "sleep", f"298.{os.getpid()}", _preload_content=False)
    eventually(lambda: f"298.{os.getpid()}" in processes())
    connection.close()
    eventually(lambda: f"298.{os.getpid()}" not in processes())


def test_a_full_disk_costs_output_and_nothing_else() -> None:
    Log("/dev/full").add("stdout", b"a line\n")


def processes() -> str:
    return subprocess.run(["ps", "-wweo", "args"], capture_output=True, text=True, check=True).stdout


def test_exec_sees_what_the_container_sees(own: Cluster, name: str) -> None:
    own.start(
        name, "echo inside > /private/place/file; sleep 300",
        volumes=[{"name": "x", "emptyDir": {}}],
        container={
            "volumeMounts": [{"name": "x", "mountPath": "/private/place"}],
            "env": [{"name": "A", "value": "b"}],
        },
    )  # fmt: skip
    own.wait(name, "Running")
    assert eventually(lambda: own.exec(name, "sh", "-c", "cat /private/place/file; echo $A")) == "inside\nb\n"


def test_the_state_of_the_server_is_hidden(server: DevCluster, own: Cluster, name: str) -> None:
    if "isolation: mapped" in (server.folder / "config.yaml").read_text():
        pytest.skip("mapped containers share this machine's files: README.md says so")
    state = server.folder / "state"
    text = own.output(
        name,
        f"ls {state} | wc -l; cat {server.kubeconfig} {server.folder}/config.yaml | wc -c; ls -d /proc/[0-9]* | wc -l",
    )
    files, configuration, seen = map(int, text.split())
    assert (files, configuration) == (0, 0)
    assert seen < 10


def test_the_state_is_the_owners_alone(server: DevCluster, own: Cluster) -> None:
    for path in (server.folder / "state", server.folder / "state" / "objects.db", server.kubeconfig):
        assert path.stat().st_mode & 0o077 == 0, path


NOBODY = 65534


def runs_as_nobody() -> bool:
    """Whether another user could run the server's Python (a home folder is often closed)."""
    try:
        return (
            os.getuid() == 0
            and subprocess.run([PYTHON, "-c", ""], user=NOBODY, group=NOBODY, check=False).returncode == 0
        )
    except PermissionError:
        return False


@pytest.mark.skipif(not runs_as_nobody(), reason="needs root, and a Python that another user may run")
def test_without_privileges(tmp_path_factory: pytest.TempPathFactory) -> None:
    """As a user: the same pods, by user namespaces."""
    folder = tmp_path_factory.mktemp("user")
    for path in (folder, *folder.parents):
        if path.stat().st_uid == os.getuid() and not path.stat().st_mode & 0o001 and path.is_relative_to("/tmp"):
            path.chmod(0o711)
    os.chown(folder, NOBODY, NOBODY)
    server = DevCluster(folder, isolation="auto", user=NOBODY)
    with server.running():
        own = Cluster(server.kubeconfig, "podium")
        items = [{"path": "key", "fieldRef": {"fieldPath": "metadata.name"}}]
        text = own.output(
            "pod", "id -u; cat /etc/podium-test/key; touch /etc/podium-test-file",
            volumes=[{"name": "c", "downwardAPI": {"items": items}}],
            container={"volumeMounts": [{"name": "c", "mountPath": "/etc/podium-test"}]},
        )  # fmt: skip
        assert text == f"{NOBODY}\npod"
        assert not Path("/etc/podium-test-file").exists()
        assert "isolation namespaces" in server.log.read_text()
        own.start("deleted", "sleep 300", terminationGracePeriodSeconds=60)
        own.wait("deleted", "Running")
        assert own.exec("deleted", "sh", "-c", "echo user $(id -u)") == f"user {NOBODY}\n"
        own.core.delete_namespaced_pod("deleted", "podium")
        eventually(lambda: own.gone("deleted"), 30)
