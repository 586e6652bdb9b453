"""What people type."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.devcluster.cluster import Cluster, eventually


def write(tmp_path: Path, *objects: dict[str, object]) -> str:
    path = tmp_path / "objects.yaml"
    path.write_text(yaml.safe_dump_all(objects))
    return str(path)


def test_apply_creates_changes_and_leaves_alone(cluster: Cluster, name: str, tmp_path: Path) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "1", "b": "2"}}
    file = write(tmp_path, body)
    assert cluster.kubectl("apply", "-f", file).strip() == f"configmap/{name} created"
    assert cluster.kubectl("apply", "-f", file).strip() == f"configmap/{name} unchanged"
    cluster.core.patch_namespaced_config_map(name, cluster.namespace, {"data": {"c": "other's"}})
    file = write(tmp_path, {**body, "data": {"a": "9"}})
    assert cluster.kubectl("apply", "-f", file).strip() == f"configmap/{name} configured"
    assert cluster.core.read_namespaced_config_map(name, cluster.namespace).data == {"a": "9", "c": "other's"}


def test_apply_of_a_pod(cluster: Cluster, name: str, tmp_path: Path) -> None:
    file = write(tmp_path, cluster.manifest(name, "sleep 60"))
    assert cluster.kubectl("apply", "-f", file).strip() == f"pod/{name} created"
    assert cluster.kubectl("apply", "-f", file).strip() == f"pod/{name} unchanged"
    body = cluster.manifest(name, "sleep 60", metadata={"labels": {"new": "label"}})
    assert cluster.kubectl("apply", "-f", write(tmp_path, body)).strip() == f"pod/{name} configured"
    assert cluster.pod(name).metadata.labels == {"new": "label"}


def test_server_side_apply(cluster: Cluster, name: str, tmp_path: Path) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "1"}}
    file = write(tmp_path, body)
    assert "serverside-applied" in cluster.kubectl("apply", "--server-side", "-f", file)
    changed = write(tmp_path, {**body, "data": {"a": "2"}})
    said = cluster.kubectl("apply", "--server-side", "--field-manager=else", "-f", changed, check=False)
    assert "conflict" in said
    assert "serverside-applied" in cluster.kubectl(
        "apply", "--server-side", "--field-manager=else", "--force-conflicts", "-f", changed
    )


def test_configuration_is_made_from_literals(cluster: Cluster, name: str, tmp_path: Path) -> None:
    (tmp_path / "raw").write_bytes(b"\x00\xff")
    cluster.kubectl("create", "configmap", name, "--from-literal=a=1", f"--from-file={tmp_path / 'raw'}")
    found = cluster.core.read_namespaced_config_map(name, cluster.namespace)
    assert (found.data, found.binary_data) == ({"a": "1"}, {"raw": "AP8="})
    cluster.kubectl("create", "secret", "generic", name, "--from-literal=key=value")
    assert cluster.core.read_namespaced_secret(name, cluster.namespace).data == {"key": "dmFsdWU="}
    cluster.kubectl("create", "serviceaccount", name)
    assert cluster.core.read_namespaced_service_account(name, cluster.namespace).metadata.name == name


def test_pods_are_listed_as_people_know_it(cluster: Cluster, name: str) -> None:
    cluster.start(name, "sleep 60", metadata={"labels": {"row": name}})
    eventually(lambda: cluster.is_ready(name))
    header, row = cluster.kubectl("get", "pods", "-l", f"row={name}", "-o", "wide").splitlines()
    assert header.split()[:6] == ["NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP"]
    cells = row.split()
    assert cells[:4] == [name, "1/1", "Running", "0"]
    assert cells[5] == cluster.pod(name).status.pod_ip
    assert cluster.kubectl("get", "pod", name, "-o", "name").strip() == f"pod/{name}"
    assert json.loads(cluster.kubectl("get", "pod", name, "-o", "json"))["status"]["phase"] == "Running"
    assert cluster.kubectl("get", "pod", name, "-o", "jsonpath={.status.phase}") == "Running"


@pytest.mark.parametrize(
    ("script", "status"), [("exit 0", "Completed"), ("exit 1", "Error")], ids=["completed", "error"]
)
def test_the_status_column_of_an_ended_pod(cluster: Cluster, name: str, script: str, status: str) -> None:
    cluster.run(name, script)
    assert cluster.kubectl("get", "pod", name).splitlines()[1].split()[1:3] == ["0/1", status]


def test_describe_tells_the_story(cluster: Cluster, name: str) -> None:
    cluster.run(name, "exit 3", metadata={"labels": {"app": "x"}})
    cluster.event(name, "Started")
    text = cluster.kubectl("describe", "pod", name)
    for expected in ("app=x", "Exit Code:    3", "Reason:       Error", "Scheduled", "Pulled", "Created", "Started"):
        assert expected in text


def test_describe_a_node(cluster: Cluster) -> None:
    node = cluster.core.list_node().items[0].metadata.name
    text = cluster.kubectl("describe", "node", node)
    assert "nvidia.com/gpu" in text
    assert "Allocated resources" in text


def test_logs_follow_to_the_end(cluster: Cluster, name: str) -> None:
    cluster.start(name, "echo one; sleep 1; echo two")
    cluster.wait(name, "Running")
    assert cluster.kubectl("logs", "-f", name) == "one\ntwo\n"
    assert cluster.kubectl("logs", name, "--tail=1") == "two\n"


def test_wait(cluster: Cluster, name: str) -> None:
    cluster.start(name, "sleep 2")
    cluster.kubectl("wait", f"pod/{name}", "--for=condition=Ready", "--timeout=30s")
    cluster.kubectl("wait", f"pod/{name}", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=30s")
    cluster.kubectl("delete", "pod", name, "--wait=false")
    cluster.kubectl("wait", f"pod/{name}", "--for=delete", "--timeout=30s")


def test_delete_waits_until_it_is_gone(cluster: Cluster, name: str) -> None:
    cluster.start(name, "trap '' TERM; while true; do sleep 0.1; done")
    cluster.wait(name, "Running")
    assert f'pod "{name}" deleted' in cluster.kubectl("delete", "pod", name)
    assert cluster.gone(name)


def test_delete_by_label(cluster: Cluster, name: str) -> None:
    for index in range(2):
        cluster.config_map(f"{name}-{index}", labels={"set": name})
    assert len(cluster.kubectl("delete", "configmap", "-l", f"set={name}").splitlines()) == 2


def test_label_annotate_and_patch(cluster: Cluster, name: str) -> None:
    cluster.config_map(name, {"a": "1"})
    cluster.kubectl("label", "configmap", name, "x=y")
    cluster.kubectl("annotate", "configmap", name, "note=hi there")
    cluster.kubectl("patch", "configmap", name, "-p", '{"data": {"b": "2"}}')
    cluster.kubectl("patch", "configmap", name, "--type=json", "-p", '[{"op": "remove", "path": "/data/a"}]')
    found = cluster.core.read_namespaced_config_map(name, cluster.namespace)
    assert (found.metadata.labels, found.metadata.annotations["note"], found.data) == (
        {"x": "y"},
        "hi there",
        {"b": "2"},
    )
    cluster.kubectl("label", "configmap", name, "x-")
    assert not cluster.core.read_namespaced_config_map(name, cluster.namespace).metadata.labels


def test_run_replace_and_diff(cluster: Cluster, name: str, tmp_path: Path) -> None:
    cluster.kubectl("run", name, "--image=busybox:1.36", "--restart=Never", "--", "echo", "ran")
    cluster.wait(name, "Succeeded")
    assert cluster.log(name) == "ran\n"
    cluster.config_map(name, {"a": "1"})
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "2"}}
    file = write(tmp_path, body)
    assert '+  a: "2"' in cluster.kubectl("diff", "-f", file, check=False)
    assert "replaced" in cluster.kubectl("replace", "-f", file)


def test_events_are_listed(cluster: Cluster, name: str) -> None:
    cluster.run(name)
    cluster.event(name, "Started")
    text = cluster.kubectl("get", "events", "--field-selector", f"involvedObject.name={name}")
    assert text.splitlines()[0].split() == ["LAST", "SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]
    assert f"pod/{name}" in text
    assert "Started" in cluster.kubectl("events", "--for", f"pod/{name}")


def test_a_typing_error_in_a_manifest_is_caught(cluster: Cluster, name: str, tmp_path: Path) -> None:
    body = {"apiVersion": "v1", "kind": "Wonder", "metadata": {"name": name}}
    assert 'no matches for kind "Wonder"' in cluster.kubectl("apply", "-f", write(tmp_path, body), check=False)


def test_a_misspelt_field_is_refused(cluster: Cluster, name: str, tmp_path: Path) -> None:
    pod = cluster.manifest(name, container={"imagePullPolice": "Always"}, nodeSelecter={"a": "b"})
    said = cluster.kubectl("apply", "-f", write(tmp_path, pod), check=False)
    assert "strict decoding error" in said
    assert 'unknown field "spec.containers[0].imagePullPolice"' in said
    assert 'unknown field "spec.nodeSelecter"' in said
    assert cluster.gone(name)
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "date": {"a": "1"}}
    assert 'unknown field "date"' in cluster.kubectl("create", "-f", write(tmp_path, body), check=False)
    assert f"configmap/{name} created" in cluster.kubectl("create", "--validate=ignore", "-f", write(tmp_path, body))


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("pods", ["KIND:       Pod", "VERSION:    v1", "spec\t<PodSpec>", "status\t<PodStatus>"]),
        (
            "pod.spec.containers",
            ["FIELD: containers", "image\t<string>", "volumeMounts\t<[]VolumeMount>", "-required-"],
        ),
        ("configmap.data", ["FIELD: data <map[string]string>", "Data contains the configuration data"]),
        ("leases.spec", ["GROUP:      coordination.k8s.io", "holderIdentity\t<string>"]),
        ("crd.spec", ["GROUP:      apiextensions.k8s.io", "versions\t<[]CustomResourceDefinitionVersion>"]),
    ],
)
def test_explain(cluster: Cluster, path: str, words: list[str]) -> None:
    said = cluster.kubectl("explain", path)
    assert [word for word in words if word not in said] == [], said


def test_what_there_is(cluster: Cluster) -> None:
    text = cluster.kubectl("api-resources", "-o", "name")
    assert {"pods", "configmaps", "customresourcedefinitions.apiextensions.k8s.io"} <= set(text.split())
    assert "v1" in cluster.kubectl("api-versions").split()
    assert "Server Version: v1." in cluster.kubectl("version")


def test_names_that_do_not_exist(cluster: Cluster, name: str) -> None:
    said = cluster.kubectl("get", "pod", name, check=False)
    assert said.strip() == f'Error from server (NotFound): pods "{name}" not found'
