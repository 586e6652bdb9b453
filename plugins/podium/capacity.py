"""Whether work can ever fit its node pool: the arithmetic, before anything is started.

A pod is compared with one node, pods that run at once with the whole pool. What fits today's settings may still have
to wait for others; the cluster's scheduler says so then. What can never fit is an error at once.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from include.config.platform import NodePool

# https://spark.apache.org/docs/latest/running-on-kubernetes.html: spark.kubernetes.memoryOverheadFactor of what is no
# JVM program, and the least overhead.
SPARK_OVERHEAD_FACTOR: Final = Decimal("0.4")
SPARK_LEAST_OVERHEAD: Final = 384 * 2**20
_JVM_UNITS: Final = {"k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


@dataclass(frozen=True)
class Demand:
    """Equal pods that run at once.

    :param pods: how many.
    :param cpu: CPU request of one, a Kubernetes quantity.
    :param memory: memory request of one, a Kubernetes quantity.
    :param gpus: GPUs of one.
    """

    pods: int
    cpu: str
    memory: str
    gpus: int = 0


@dataclass(frozen=True)
class _Resource:
    """One resource: what a pod asks for, what a node has."""

    name: str
    asked: Decimal
    asked_text: str
    has: Decimal
    has_text: str

    @property
    def pods_per_node(self) -> int | None:
        """How many pods one node holds by this resource alone; None when they ask for none of it."""
        return int(self.has // self.asked) if self.asked else None


def refusals(pool: "NodePool", demands: Sequence[Demand]) -> list[str]:
    """Why the pods can never run in the pool, one line of arithmetic a reason; empty when they can.

    :param pool: the pool's settings.
    :param demands: all that runs at once.
    """
    found: list[str] = []
    for demand in demands:
        resources = _resources(pool, demand)
        too_large = [resource for resource in resources if resource.asked > resource.has]
        found += [f"one pod asks {each.asked_text}, one node has {each.has_text}" for each in too_large]
        if not too_large:
            found += _too_many(pool, demand, resources)
    return found or _too_much_together(pool, demands)


def spark_pod_memory(heap: str) -> str:
    """The memory request of a PySpark driver or executor: its heap and the overhead that Spark adds.

    :param heap: as Spark has it (`2g`).
    :raises ValueError: it is no size.
    """
    match = re.fullmatch(r"(\d+)([kmgt])b?", heap.strip().lower())
    if match is None:
        raise ValueError(f"memory {heap!r} is no size of Spark: write it like 512m or 2g")
    size = int(match[1]) * _JVM_UNITS[match[2]]
    overhead = max(Decimal(SPARK_LEAST_OVERHEAD), size * SPARK_OVERHEAD_FACTOR)
    return f"{math.ceil((size + overhead) / 2**20)}Mi"


def _resources(pool: "NodePool", demand: Demand) -> list[_Resource]:
    from kubernetes.utils.quantity import parse_quantity

    product = pool.gpu_product or "GPU(s)"
    return [
        _Resource(
            product, Decimal(demand.gpus), f"{demand.gpus} {product}", Decimal(pool.gpus), f"{pool.gpus} {product}"
        ),
        _Resource("CPU", parse_quantity(demand.cpu), f"{demand.cpu} CPU", parse_quantity(pool.cpu), f"{pool.cpu} CPU"),
        _Resource(
            "memory",
            parse_quantity(demand.memory),
            f"{demand.memory} memory",
            parse_quantity(pool.memory),
            f"{pool.memory} memory",
        ),
    ]


def _too_many(pool: "NodePool", demand: Demand, resources: Sequence[_Resource]) -> list[str]:
    """Pods of which each fits a node, but not all at once fit the pool."""
    if demand.gpus * demand.pods > pool.total_gpus:
        return [
            f"asks {demand.gpus * demand.pods} {resources[0].name} ({demand.pods} pods x {demand.gpus}), "
            f"the pool has {pool.total_gpus} ({pool.nodes} nodes x {pool.gpus})"
        ]
    scarce = min((each for each in resources if each.asked), key=lambda each: each.pods_per_node or 0, default=None)
    per_node = scarce.pods_per_node if scarce is not None else None
    if scarce is None or per_node is None or demand.pods <= per_node * pool.nodes:
        return []
    return [
        f"asks for {demand.pods} pods at once, the pool holds {per_node * pool.nodes}: a node with {scarce.has_text} "
        f"holds {per_node} pods of {scarce.asked_text}, there are {pool.nodes} nodes"
    ]


def _too_much_together(pool: "NodePool", demands: Sequence[Demand]) -> list[str]:
    """Unlike pods that fit one by one, but not in sum."""
    found: list[str] = []
    columns: list[tuple[_Resource, ...]] = list(zip(*(_resources(pool, demand) for demand in demands), strict=True))
    for each in columns:
        asked = sum((one.asked * demand.pods for one, demand in zip(each, demands, strict=True)), Decimal(0))
        if asked > each[0].has * pool.nodes:
            asking = [(one, demand) for one, demand in zip(each, demands, strict=True) if one.asked]
            parts = " + ".join(f"{demand.pods} x {one.asked_text}" for one, demand in asking)
            found.append(f"asks {parts}, the pool has {pool.nodes} nodes x {each[0].has_text}")
    return found
