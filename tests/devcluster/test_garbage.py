"""Garbage collection by owners, and of namespaces."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.devcluster.cluster import Cluster, eventually, is_missing


def owned(cluster: Cluster, name: str, *owners: Any, block: bool = False) -> None:
    references = [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "name": o.metadata.name,
            "uid": o.metadata.uid,
            "blockOwnerDeletion": block,
        }
        for o in owners
    ]
    cluster.config_map(name, ownerReferences=references)


def missing(cluster: Cluster, name: str) -> bool:
    return is_missing(lambda: cluster.core.read_namespaced_config_map(name, cluster.namespace))


def delete(cluster: Cluster, name: str, policy: str | None = None) -> None:
    cluster.core.delete_namespaced_config_map(name, cluster.namespace, propagation_policy=policy)


def test_dependents_go_with_their_owner(cluster: Cluster, name: str) -> None:
    owner = cluster.config_map(name)
    owned(cluster, f"{name}-child", owner)
    child = cluster.core.read_namespaced_config_map(f"{name}-child", cluster.namespace)
    owned(cluster, f"{name}-grandchild", child)
    delete(cluster, name, "Background")
    assert missing(cluster, name)
    eventually(lambda: missing(cluster, f"{name}-child") and missing(cluster, f"{name}-grandchild"))


def test_a_dependent_stays_while_it_has_an_owner(cluster: Cluster, name: str) -> None:
    one, two = cluster.config_map(f"{name}-1"), cluster.config_map(f"{name}-2")
    owned(cluster, f"{name}-child", one, two)
    owned(cluster, f"{name}-witness", one)
    delete(cluster, f"{name}-1")
    eventually(lambda: missing(cluster, f"{name}-witness"))
    assert not missing(cluster, f"{name}-child")
    delete(cluster, f"{name}-2")
    eventually(lambda: missing(cluster, f"{name}-child"))


def test_orphans_are_let_go(cluster: Cluster, name: str) -> None:
    owned(cluster, f"{name}-child", cluster.config_map(name))
    delete(cluster, name, "Orphan")
    eventually(lambda: missing(cluster, name))
    child = cluster.core.read_namespaced_config_map(f"{name}-child", cluster.namespace)
    assert not child.metadata.owner_references


def test_in_the_foreground_the_owner_goes_last(cluster: Cluster, name: str) -> None:
    owner = cluster.config_map(name)
    reference = {
        "apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": owner.metadata.uid, "blockOwnerDeletion": True,
    }  # fmt: skip
    cluster.config_map(f"{name}-child", ownerReferences=[reference], finalizers=["podium.test/hold"])
    delete(cluster, name, "Foreground")
    eventually(
        lambda: cluster.core.read_namespaced_config_map(f"{name}-child", cluster.namespace).metadata.deletion_timestamp
    )
    waiting = cluster.core.read_namespaced_config_map(name, cluster.namespace)
    assert waiting.metadata.finalizers == ["foregroundDeletion"]
    cluster.core.patch_namespaced_config_map(f"{name}-child", cluster.namespace, {"metadata": {"finalizers": None}})
    eventually(lambda: missing(cluster, name))


def test_pods_go_with_their_owner(cluster: Cluster, name: str) -> None:
    owner = cluster.config_map(name)
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": owner.metadata.uid, "controller": True}
    cluster.start(name, "sleep 60", metadata={"ownerReferences": [reference]})
    cluster.wait(name, "Running")
    delete(cluster, name)
    eventually(lambda: cluster.gone(name))


def test_who_names_an_owner_that_does_not_exist_is_collected(cluster: Cluster, name: str) -> None:
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "never-was", "uid": str(uuid.uuid4())}
    cluster.config_map(name, ownerReferences=[reference])
    eventually(lambda: missing(cluster, name))


@pytest.mark.timeout(120)
def test_a_namespace_takes_its_contents_along(cluster: Cluster, kubeconfig: Any) -> None:
    other = Cluster(kubeconfig, f"test-{uuid.uuid4().hex[:8]}")
    other.make_namespace()
    other.config_map("inside")
    other.start("pod", "sleep 60")
    other.wait("pod", "Running")
    other.core.delete_namespace(other.namespace)
    assert other.core.read_namespace(other.namespace).status.phase == "Terminating"
    eventually(lambda: is_missing(lambda: other.core.read_namespace(other.namespace)), 90)
    assert is_missing(lambda: other.core.read_namespaced_config_map("inside", other.namespace))


def test_nothing_is_made_in_a_namespace_that_goes(cluster: Cluster, kubeconfig: Any) -> None:
    from tests.devcluster.cluster import refused

    other = Cluster(kubeconfig, f"test-{uuid.uuid4().hex[:8]}")
    other.make_namespace()
    other.config_map("held", finalizers=["podium.test/hold"])
    other.core.delete_namespace(other.namespace)
    refused(403, lambda: other.config_map("new"), reason="Forbidden", message="because it is being terminated")
    other.core.patch_namespaced_config_map("held", other.namespace, {"metadata": {"finalizers": None}})
    eventually(lambda: is_missing(lambda: other.core.read_namespace(other.namespace)), 90)
