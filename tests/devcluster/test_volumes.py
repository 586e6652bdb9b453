"""Volumes, and configuration from config maps and secrets."""

from __future__ import annotations

from typing import Any

import pytest

from tests.devcluster.cluster import Cluster, eventually


def mounted(kind: dict[str, Any], path: str = "/mnt/it", **mount: Any) -> dict[str, Any]:
    """What a pod needs to have one volume at a path."""
    return {
        "volumes": [{"name": "it", **kind}],
        "container": {"volumeMounts": [{"name": "it", "mountPath": path, **mount}]},
    }


def test_a_config_map_as_files(cluster: Cluster, name: str) -> None:
    cluster.core.create_namespaced_config_map(
        cluster.namespace,
        {"metadata": {"name": name}, "data": {"a": "text", "b": "more"}, "binaryData": {"raw": "AAEC"}},
    )
    text = cluster.output(
        name, "cd /etc/shop; ls; cat a; wc -c < raw", **mounted({"configMap": {"name": name}}, "/etc/shop")
    )
    assert text.split() == ["a", "b", "raw", "text3"]


def test_chosen_keys_under_chosen_names_and_modes(cluster: Cluster, name: str) -> None:
    cluster.config_map(name, {"a": "#!/bin/sh\necho ran", "b": "x"})
    items = [{"key": "a", "path": "bin/run", "mode": 0o755}]
    text = cluster.output(name, "ls /mnt/it; /mnt/it/bin/run", **mounted({"configMap": {"name": name, "items": items}}))
    assert text == "bin\nran\n"


@pytest.mark.private
def test_a_secret_as_files_is_read_only(cluster: Cluster, name: str) -> None:
    cluster.secret(name, {"password": "s3cret"})
    script = (
        "cd /mnt/it; cat password; echo; (echo x > password) 2>/dev/null || echo refused; ls -lL password | cut -c1-10"
    )
    volume = {"secret": {"secretName": name, "defaultMode": 0o400}}
    assert cluster.output(name, script, **mounted(volume)).split() == ["s3cret", "refused", "-r--------"]


def test_configuration_as_environment(cluster: Cluster, name: str) -> None:
    cluster.config_map(name, {"ONE": "1", "TWO": "2"})
    cluster.secret(name, {"PASSWORD": "s3cret"})
    container = {
        "envFrom": [{"configMapRef": {"name": name}}, {"prefix": "S_", "secretRef": {"name": name}}],
        "env": [
            {"name": "TWO", "value": "mine"},
            {"name": "KEY", "valueFrom": {"configMapKeyRef": {"name": name, "key": "ONE"}}},
            {"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": name, "key": "PASSWORD"}}},
            {"name": "MAYBE", "valueFrom": {"configMapKeyRef": {"name": name, "key": "NONE", "optional": True}}},
        ],
    }
    script = 'echo "$ONE|$TWO|$S_PASSWORD|$KEY|$SECRET|${MAYBE-unset}"'
    assert cluster.output(name, script, container=container) == "1|mine|s3cret|1|s3cret|unset\n"


def test_a_missing_config_map_holds_a_container_until_it_comes(cluster: Cluster, name: str) -> None:
    env = [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": name, "key": "a"}}}]
    cluster.start(name, "echo $A", container={"env": env})
    waiting = cluster.waiting_reason(name, "CreateContainerConfigError")
    assert f'configmap "{name}" not found' in waiting.message
    assert cluster.event(name, "Failed").type == "Warning"
    cluster.config_map(name, {"a": "here"})
    cluster.wait(name, "Succeeded")
    assert cluster.log(name) == "here\n"


def test_a_missing_secret_holds_a_pod_until_it_comes(cluster: Cluster, name: str) -> None:
    cluster.start(name, "cat /mnt/it/key", **mounted({"secret": {"secretName": name}}))
    assert f'secret "{name}" not found' in cluster.event(name, "FailedMount").message
    assert cluster.state(name).waiting.reason == "ContainerCreating"
    cluster.secret(name, {"key": "value"})
    cluster.wait(name, "Succeeded", timeout=150)
    assert cluster.log(name) == "value"


def test_an_optional_volume_may_be_empty(cluster: Cluster, name: str) -> None:
    volume = {"configMap": {"name": "never-made", "optional": True}}
    assert cluster.output(name, "ls /mnt/it | wc -l", **mounted(volume)).strip() == "0"


def test_containers_of_a_pod_share_an_empty_folder(cluster: Cluster, name: str) -> None:
    spec = mounted({"emptyDir": {}})
    body = cluster.manifest(name, "while [ ! -e /mnt/it/done ]; do sleep 0.1; done; cat /mnt/it/done", **spec)
    writer = {
        **body["spec"]["containers"][0],
        "name": "writer",
        "command": ["sh", "-c", "echo shared > /mnt/it/new; mv /mnt/it/new /mnt/it/done"],
    }
    body["spec"]["containers"].append(writer)
    cluster.core.create_namespaced_pod(cluster.namespace, body)
    cluster.wait(name, "Succeeded")
    assert cluster.log(name, container="main") == "shared\n"


def test_pods_do_not_share_an_empty_folder(cluster: Cluster, name: str) -> None:
    for suffix in "ab":
        text = cluster.output(f"{name}-{suffix}", "ls /mnt/it | wc -l; touch /mnt/it/x", **mounted({"emptyDir": {}}))
        assert text.strip() == "0"


def test_part_of_a_volume(cluster: Cluster, name: str) -> None:
    cluster.config_map(name, {"app.yaml": "a: 1", "other": "x"})
    text = cluster.output(
        name,
        "cat /etc/app.yaml; ls /etc | wc -l",
        **mounted({"configMap": {"name": name}}, "/etc/app.yaml", subPath="app.yaml"),
    )
    assert text.startswith("a: 1")
    assert int(text.split()[-1]) > 1


@pytest.mark.private
def test_a_read_only_mount(cluster: Cluster, name: str) -> None:
    spec = mounted({"emptyDir": {}}, readOnly=True)
    assert cluster.output(name, "touch /mnt/it/x 2>/dev/null || echo refused", **spec) == "refused\n"


def test_projected_and_downward_volumes(cluster: Cluster, name: str) -> None:
    cluster.config_map(name, {"a": "from-map"})
    cluster.secret(name, {"b": "from-secret"})
    sources = [
        {"configMap": {"name": name}},
        {"secret": {"name": name}},
        {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
    ]
    text = cluster.output(
        name, "cd /mnt/it; cat a; echo; cat b; echo; cat labels", metadata={"labels": {"app": "x"}},
        **mounted({"projected": {"sources": sources}}),
    )  # fmt: skip
    assert text.split() == ["from-map", "from-secret", 'app="x"']


@pytest.mark.dev_only
def test_a_claim_keeps_its_data(cluster: Cluster, name: str) -> None:
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    body = {"metadata": {"name": name}, "spec": claim}
    made = cluster.core.create_namespaced_persistent_volume_claim(cluster.namespace, body)
    assert made.status.phase == "Pending"
    assert cluster.core.read_namespaced_persistent_volume_claim(name, cluster.namespace).status.phase == "Bound"
    spec = mounted({"persistentVolumeClaim": {"claimName": name}})
    cluster.run(f"{name}-a", "echo kept > /mnt/it/file", **spec)
    cluster.core.delete_namespaced_pod(f"{name}-a", cluster.namespace)
    assert cluster.output(f"{name}-b", "cat /mnt/it/file", **spec) == "kept\n"


@pytest.mark.dev_only
def test_files_follow_their_config_map(cluster: Cluster, name: str) -> None:
    """A kubelet does so too, within a minute or two."""
    cluster.config_map(name, {"a": "old"})
    script = "while ! grep -q new /mnt/it/a; do sleep 0.1; done; cat /mnt/it/a; echo; ls /mnt/it"
    cluster.start(name, script, **mounted({"configMap": {"name": name}}))
    cluster.wait(name, "Running")
    cluster.core.patch_namespaced_config_map(name, cluster.namespace, {"data": {"a": "new", "b": "x"}})
    cluster.wait(name, "Succeeded")
    eventually(lambda: cluster.log(name).split() == ["new", "a", "b"])


def test_a_claim_that_is_missing_is_said_so(cluster: Cluster, name: str) -> None:
    cluster.start(name, **mounted({"persistentVolumeClaim": {"claimName": "none"}}))
    found = eventually(
        lambda: [e for e in cluster.events(name) if 'persistentvolumeclaim "none" not found' in e.message]
    )
    assert found[0].type == "Warning"
    assert cluster.pod(name).status.phase == "Pending"
