"""Named node pools: from a name to selector, tolerations and resources, and to slots in an Airflow pool."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from podium.capacity import Demand, refusals
from podium.errors import NodePoolTooSmallError, UnknownNodePoolError

if TYPE_CHECKING:
    from include.config.platform import NodePool
    from include.config.settings import Settings

GPU = "nvidia.com/gpu"

# https://kueue.sigs.k8s.io/docs/tasks/run/: which queue admits the object.
KUEUE_QUEUE: Final = "kueue.x-k8s.io/queue-name"


@dataclass(frozen=True)
class Placement:
    """Where work runs and what it may use.

    :param pool: name of the node pool.
    :param settings: the pool's settings.
    :param cpu: CPU request, a Kubernetes quantity.
    :param memory: memory request and limit, a Kubernetes quantity.
    :param gpus: GPUs of one pod.
    :param replicas: pods that run at once.
    """

    pool: str
    settings: "NodePool"
    cpu: str
    memory: str
    gpus: int = 0
    replicas: int = 1

    @cached_property
    def node_selector(self) -> dict[str, str]:
        """The labels a node must carry."""
        return dict(self.settings.node_selector)

    @cached_property
    def tolerations(self) -> list[dict[str, Any]]:
        """Tolerations as Kubernetes has them; unset fields are left out."""
        return [toleration.model_dump(exclude_none=True) for toleration in self.settings.tolerations]

    @cached_property
    def resources(self) -> dict[str, dict[str, str]]:
        """Requests and limits of one container.

        Memory is limited to what is requested, so that a greedy pod fails instead of its neighbours. CPU has no
        limit: throttling helps nobody. GPUs need both, and equal.
        """
        gpu = {GPU: str(self.gpus)} if self.gpus else {}
        return {
            "requests": {"cpu": self.cpu, "memory": self.memory, **gpu},
            "limits": {"memory": self.memory, **gpu},
        }

    @property
    def pod_fields(self) -> dict[str, Any]:
        """Selector and tolerations, as fields of a pod's specification."""
        return {"nodeSelector": self.node_selector, "tolerations": self.tolerations}

    @property
    def queue_labels(self) -> dict[str, str]:
        """Labels of the object that Kueue admits as a whole; none where the pool has no queue."""
        return {KUEUE_QUEUE: self.settings.kueue_queue} if self.settings.kueue_queue else {}

    def gang_affinity(self, labels: Mapping[str, str]) -> dict[str, Any]:
        """The affinity that keeps pods of one gang together: all in the topology domain where the first one runs.

        Ranks wait for each other at every step: one that sits behind a slow link slows all of them.

        :param labels: those that the pods of this gang have, and no others.
        :returns: an affinity of Kubernetes; empty where the pool names no topology key.
        """
        if not self.settings.topology_key:
            return {}
        term = {"topologyKey": self.settings.topology_key, "labelSelector": {"matchLabels": dict(labels)}}
        return {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}

    @property
    def airflow_pool(self) -> dict[str, Any]:
        """The operator arguments `pool` and `pool_slots`: slots are GPUs. Empty for work without GPUs."""
        total = self.gpus * self.replicas
        return {"pool": self.pool, "pool_slots": total} if total else {}


def place(
    settings: "Settings",
    pool: str,
    *,
    cpu: str = "500m",
    memory: str = "1Gi",
    gpus: int = 0,
    replicas: int = 1,
    beside: Sequence[Demand] = (),
) -> Placement:
    """Look a pool up and check that the work can ever fit.

    :param settings: those of the environment.
    :param pool: its name under `node_pools`.
    :param cpu: CPU request of one pod.
    :param memory: memory request of one pod.
    :param gpus: GPUs of one pod.
    :param replicas: pods that run at once.
    :param beside: pods of another size that run at the same time in the same pool.
    :raises UnknownNodePoolError: there is no such pool.
    :raises NodePoolTooSmallError: one pod asks for more than a node has, or all for more than the pool has.
    """
    pools: Mapping[str, NodePool] = settings.node_pools
    if pool not in pools:
        raise UnknownNodePoolError(pool, sorted(pools))
    found = pools[pool]
    if reasons := refusals(found, [Demand(replicas, cpu, memory, gpus), *beside]):
        raise NodePoolTooSmallError(pool, reasons)
    return Placement(pool, found, cpu, memory, gpus, replicas)
