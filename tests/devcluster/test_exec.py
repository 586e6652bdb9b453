"""Commands in running containers."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.devcluster.cluster import Cluster, eventually, is_missing


@pytest.fixture(scope="module")
def shell(cluster: Cluster) -> Iterator[str]:
    """A running pod with a variable, a volume and something to find in both."""
    name = "shell"
    cluster.start(
        name, "echo content > /data/file; trap 'exit 0' TERM; while true; do sleep 0.2; done",
        volumes=[{"name": "data", "emptyDir": {}}],
        container={
            "volumeMounts": [{"name": "data", "mountPath": "/data"}],
            "env": [{"name": "COLOUR", "value": "green"}],
            "workingDir": "/data",
        },
    )  # fmt: skip
    cluster.wait(name, "Running")
    eventually(lambda: "content" in cluster.exec(name, "sh", "-c", "cat /data/file 2>/dev/null; true"))
    yield name
    cluster.core.delete_namespaced_pod(name, cluster.namespace, grace_period_seconds=0)
    eventually(lambda: is_missing(lambda: cluster.pod(name)))


@pytest.mark.private
def test_a_command_sees_the_containers_files_variables_and_folder(cluster: Cluster, shell: str) -> None:
    assert cluster.exec(shell, "sh", "-c", "cat file; echo $COLOUR; pwd") == "content\ngreen\n/data\n"


@pytest.mark.private
def test_a_command_sees_the_containers_processes_only(cluster: Cluster, shell: str) -> None:
    seen = cluster.exec(shell, "sh", "-c", "cat /proc/1/cmdline | tr '\\0' ' '; ls -d /proc/[0-9]* | wc -l")
    assert int(seen.split()[-1]) < 12


def test_output_errors_and_exit_code_are_told_apart(cluster: Cluster, shell: str) -> None:
    answer = cluster.exec(shell, "sh", "-c", "echo out; echo err >&2; exit 5", _preload_content=False)
    answer.run_forever(timeout=20)
    assert answer.read_stdout() == "out\n"
    assert answer.read_stderr() == "err\n"
    assert answer.returncode == 5


def test_success_is_said(cluster: Cluster, shell: str) -> None:
    answer = cluster.exec(shell, "true", _preload_content=False)
    answer.run_forever(timeout=20)
    assert answer.returncode == 0
    assert json.loads(answer.read_channel(3) or '{"status": "Success"}')["status"] == "Success"


def test_input_reaches_the_command(cluster: Cluster, shell: str) -> None:
    answer = cluster.exec(shell, "sh", "-c", "read line; echo got $line", stdin=True, _preload_content=False)
    answer.write_stdin("hello\n")
    answer.run_forever(timeout=20)
    assert answer.read_stdout() == "got hello\n"


def test_a_terminal(cluster: Cluster, shell: str) -> None:
    answer = cluster.exec(
        shell, "sh", "-c", "test -t 0 && echo terminal; read line; exit 3", stdin=True, tty=True, _preload_content=False
    )
    answer.write_stdin("x\n")
    answer.run_forever(timeout=20)
    assert "terminal" in answer.read_stdout()
    assert answer.returncode == 3


def test_a_command_that_does_not_exist(cluster: Cluster, shell: str) -> None:
    answer = cluster.exec(shell, "no-such-command", _preload_content=False)
    answer.run_forever(timeout=20)
    said = json.loads(answer.read_channel(3)) if answer._returncode is None and answer.peek_channel(3) else None
    assert said is None or "executable file not found" in said["message"]


def test_much_output_is_whole(cluster: Cluster, shell: str) -> None:
    answer = cluster.exec(shell, "sh", "-c", "i=0; while [ $i -lt 20000 ]; do echo $i; i=$((i+1)); done")
    assert answer.split() == [str(i) for i in range(20000)]


def test_a_container_that_does_not_run_cannot_be_entered(cluster: Cluster, name: str) -> None:
    cluster.run(name)
    assert "cannot exec into a container in a completed pod" in cluster.kubectl("exec", name, "--", "true", check=False)


def test_kubectl_exec(cluster: Cluster, shell: str) -> None:
    assert cluster.kubectl("exec", shell, "--", "cat", "/data/file") == "content\n"
    assert cluster.kubectl("exec", "-i", shell, "--", "cat", stdin="piped\nthrough\n") == "piped\nthrough\n"
    assert "exit code 9" in cluster.kubectl("exec", shell, "--", "sh", "-c", "exit 9", check=False)
    assert "executable file not found" in cluster.kubectl("exec", shell, "--", "no-such-command", check=False)


@pytest.mark.private
def test_kubectl_cp(cluster: Cluster, shell: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("cp")
    (folder / "up").write_text("copied")
    cluster.kubectl("cp", str(folder / "up"), f"{shell}:/data/up")
    assert cluster.exec(shell, "cat", "/data/up") == "copied"
    cluster.kubectl("cp", f"{shell}:/data/up", str(folder / "down"))
    assert (folder / "down").read_text() == "copied"
