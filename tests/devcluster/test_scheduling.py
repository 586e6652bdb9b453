"""Where pods go, and why they wait.

Nodes are made through the API: without a kubelet their pods stay Pending once they are bound, on every cluster.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.devcluster.cluster import Cluster, eventually

CAPACITY = {"cpu": "4", "memory": "8Gi", "nvidia.com/gpu": "4", "pods": "5"}
NOT_READY = {"key": "node.kubernetes.io", "operator": "Exists"}


class Nodes:
    """Nodes of this module's own, told apart by a label."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster, self.label = cluster, uuid.uuid4().hex[:8]

    def make(
        self, name: str, *, labels: dict[str, str] | None = None, taints: list[dict[str, str]] | None = None
    ) -> str:
        own = f"{name}-{self.label}"
        meta = {"name": own, "labels": {"podium.test/set": self.label, "kubernetes.io/hostname": own, **(labels or {})}}
        self.cluster.core.create_node({"metadata": meta, "spec": {"taints": taints or []}})
        self.heartbeat(own)
        return own

    def heartbeat(self, own: str) -> None:
        """What a kubelet reports: room, and that it is ready."""
        beat = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        ready = {
            "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "", "lastHeartbeatTime": beat,
            "lastTransitionTime": beat,
        }  # fmt: skip
        body = {"status": {"capacity": CAPACITY, "allocatable": CAPACITY, "conditions": [ready]}}
        self.cluster.core.patch_node_status(own, body)


@pytest.fixture(scope="module")
def nodes(cluster: Cluster) -> Iterator[Nodes]:
    made = Nodes(cluster)
    yield made
    for node in cluster.core.list_node(label_selector=f"podium.test/set={made.label}").items:
        cluster.core.delete_node(node.metadata.name)


@pytest.fixture(scope="module")
def pool(nodes: Nodes) -> dict[str, str]:
    """A general node and one of tainted GPUs."""
    taint = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}
    return {
        "general": nodes.make("general", labels={"pool": "general"}),
        "gpu": nodes.make("gpu", labels={"pool": "gpu", "rank": "7"}, taints=[taint]),
    }


@pytest.fixture(autouse=True)
def room(cluster: Cluster) -> Iterator[None]:
    """Every test finds the nodes empty."""
    yield
    for pod in cluster.core.list_namespaced_pod(cluster.namespace).items:
        cluster.core.delete_namespaced_pod(pod.metadata.name, cluster.namespace, grace_period_seconds=0)


def waiting(cluster: Cluster, name: str, nodes: Nodes, **spec: Any) -> None:
    """Create a pod that may only go to this module's nodes and tolerates that they have no kubelet."""
    selector = {"podium.test/set": nodes.label, **spec.pop("nodeSelector", {})}
    tolerations = [
        {"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": "NoSchedule"}
        for key in ("not-ready", "unreachable")
    ]
    spec["tolerations"] = [*tolerations, *spec.get("tolerations", [])]
    for own in [n.metadata.name for n in cluster.core.list_node(label_selector=f"podium.test/set={nodes.label}").items]:
        nodes.heartbeat(own)
    cluster.start(name, nodeSelector=selector, **spec)


def node_of(cluster: Cluster, name: str) -> str:
    return str(eventually(lambda: cluster.pod(name).spec.node_name, what=f"a node for {name}"))


def why(cluster: Cluster, name: str) -> str:
    """Why a pod cannot be scheduled, as its condition and its event agree."""

    def look() -> Any:
        condition = cluster.condition(name, "PodScheduled")
        return condition if condition and condition.status == "False" else None

    condition = eventually(look, what=f"{name} to be unschedulable")
    assert condition.reason == "Unschedulable"
    assert cluster.pod(name).status.phase == "Pending"
    event = cluster.event(name, "FailedScheduling")
    assert (event.type, event.message) == ("Warning", event.message)
    assert "nodes are available" in condition.message
    return str(condition.message)


GPU = {"tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]}


def gpus(count: int) -> dict[str, Any]:
    return {"container": {"resources": {"limits": {"nvidia.com/gpu": str(count)}}}}


def test_a_node_selector(cluster: Cluster, name: str, nodes: Nodes, pool: dict[str, str]) -> None:
    waiting(cluster, name, nodes, nodeSelector={"pool": "general"})
    assert node_of(cluster, name) == pool["general"]
    scheduled = cluster.condition(name, "PodScheduled")
    assert scheduled is not None
    assert scheduled.status == "True"
    assert (
        f"Successfully assigned {cluster.namespace}/{name} to {pool['general']}"
        in cluster.event(name, "Scheduled").message
    )


def test_a_taint_keeps_pods_away(cluster: Cluster, name: str, nodes: Nodes, pool: dict[str, str]) -> None:
    waiting(cluster, name, nodes, nodeSelector={"pool": "gpu"})
    assert "1 node(s) had untolerated taint" in why(cluster, name)


def test_a_toleration_lets_them_in(cluster: Cluster, name: str, nodes: Nodes, pool: dict[str, str]) -> None:
    waiting(cluster, name, nodes, nodeSelector={"pool": "gpu"}, **GPU)
    assert node_of(cluster, name) == pool["gpu"]


def test_a_selector_that_no_node_matches(cluster: Cluster, name: str, nodes: Nodes, pool: dict[str, str]) -> None:
    waiting(cluster, name, nodes, nodeSelector={"pool": "moon"})
    message = why(cluster, name)
    total = len(cluster.core.list_node().items)
    assert message.startswith(f"0/{total} nodes are available: ")
    assert "node(s) didn't match Pod's node affinity/selector" in message
    assert "preemption: " in message


def test_gpus_are_counted(cluster: Cluster, name: str, nodes: Nodes, pool: dict[str, str]) -> None:
    """Three of four are taken; a pod that wants two waits until they are back."""
    waiting(cluster, f"{name}-a", nodes, **GPU, **gpus(3))
    assert node_of(cluster, f"{name}-a") == pool["gpu"] or pool["general"]
    first = node_of(cluster, f"{name}-a")
    waiting(cluster, f"{name}-b", nodes, nodeSelector={"kubernetes.io/hostname": first}, **GPU, **gpus(2))
    assert "1 Insufficient nvidia.com/gpu" in why(cluster, f"{name}-b")
    cluster.core.delete_namespaced_pod(f"{name}-a", cluster.namespace, grace_period_seconds=0)
    assert node_of(cluster, f"{name}-b") == first


def test_more_than_any_node_has(cluster: Cluster, name: str, nodes: Nodes, pool: dict[str, str]) -> None:
    resources = {"requests": {"cpu": "64", "memory": "1Ti"}}
    waiting(cluster, name, nodes, nodeSelector={"pool": "general"}, container={"resources": resources})
    message = why(cluster, name)
    assert "Insufficient cpu" in message
    assert "Insufficient memory" in message


def affinity(*expressions: dict[str, Any]) -> dict[str, Any]:
    terms = [{"matchExpressions": [expression]} for expression in expressions]
    return {
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}
    }


@pytest.mark.parametrize(
    "expression",
    [
        {"key": "pool", "operator": "In", "values": ["gpu", "tpu"]},
        {"key": "pool", "operator": "NotIn", "values": ["general"]},
        {"key": "rank", "operator": "Exists"},
        {"key": "rank", "operator": "Gt", "values": ["6"]},
    ],
)
def test_required_node_affinity(
    cluster: Cluster, name: str, nodes: Nodes, pool: dict[str, str], expression: dict[str, Any]
) -> None:
    waiting(cluster, name, nodes, **affinity(expression), **GPU)
    assert node_of(cluster, name) == pool["gpu"]


@pytest.mark.parametrize("prefix", ["", "beta."])
def test_nodes_say_what_they_run_under_both_names(cluster: Cluster, name: str, prefix: str) -> None:
    """Clients select by the old names, too."""
    system = {"key": f"{prefix}kubernetes.io/os", "operator": "In", "values": ["linux", "darwin"]}
    machine = {"key": f"{prefix}kubernetes.io/arch", "operator": "In", "values": ["amd64", "arm64"]}
    required = {"nodeSelectorTerms": [{"matchExpressions": [system, machine]}]}
    rule = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}
    assert cluster.run(name, affinity=rule).status.phase == "Succeeded"


def test_preferred_node_affinity(cluster: Cluster, name: str, nodes: Nodes, pool: dict[str, str]) -> None:
    for target in ("gpu", "general"):
        preference = {"matchExpressions": [{"key": "pool", "operator": "In", "values": [target]}]}
        wish = {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "preference": preference}]}
        waiting(cluster, f"{name}-{target}", nodes, affinity={"nodeAffinity": wish}, **GPU)
        assert node_of(cluster, f"{name}-{target}") == pool[target]


def test_pods_that_avoid_each_other(cluster: Cluster, name: str, nodes: Nodes, pool: dict[str, str]) -> None:
    rule = {"labelSelector": {"matchLabels": {"app": name}}, "topologyKey": "kubernetes.io/hostname"}
    apart = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [rule]}}
    for index in range(3):
        waiting(cluster, f"{name}-{index}", nodes, metadata={"labels": {"app": name}}, affinity=apart, **GPU)
    assert {node_of(cluster, f"{name}-{i}") for i in range(2)} == set(pool.values())
    assert "didn't match pod anti-affinity rules" in why(cluster, f"{name}-2")


def test_pods_that_seek_each_other(cluster: Cluster, name: str, nodes: Nodes, pool: dict[str, str]) -> None:
    waiting(cluster, f"{name}-0", nodes, nodeSelector={"pool": "gpu"}, metadata={"labels": {"app": name}}, **GPU)
    first = node_of(cluster, f"{name}-0")
    rule = {"labelSelector": {"matchLabels": {"app": name}}, "topologyKey": "kubernetes.io/hostname"}
    near = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [rule]}}
    waiting(cluster, f"{name}-1", nodes, affinity=near, **GPU)
    assert node_of(cluster, f"{name}-1") == first


def test_a_cordoned_node_takes_no_pods(cluster: Cluster, name: str, nodes: Nodes, pool: dict[str, str]) -> None:
    cluster.core.patch_node(pool["general"], {"spec": {"unschedulable": True}})
    waiting(cluster, name, nodes, nodeSelector={"pool": "general"})
    assert "1 node(s) were unschedulable" in why(cluster, name)
    cluster.core.patch_node(pool["general"], {"spec": {"unschedulable": None}})
    assert node_of(cluster, name) == pool["general"]


def test_a_full_node(cluster: Cluster, name: str, nodes: Nodes) -> None:
    nodes.make("small", labels={"pool": name})
    for index in range(6):
        waiting(cluster, f"{name}-{index}", nodes, nodeSelector={"pool": name})
    for index in range(5):
        node_of(cluster, f"{name}-{index}")
    assert "1 Too many pods" in why(cluster, f"{name}-5")


def test_another_scheduler_is_waited_for(cluster: Cluster, name: str, nodes: Nodes, pool: dict[str, str]) -> None:
    waiting(cluster, name, nodes, schedulerName="another")
    waiting(cluster, f"{name}-witness", nodes)
    node_of(cluster, f"{name}-witness")
    assert cluster.pod(name).spec.node_name is None
    target = {"apiVersion": "v1", "kind": "Node", "name": pool["general"]}
    binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target}
    cluster.raw("POST", f"/api/v1/namespaces/{cluster.namespace}/pods/{name}/binding", binding)
    assert node_of(cluster, name) == pool["general"]
