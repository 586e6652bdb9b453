"""The arithmetic of requests that can never fit."""

import pytest
from podium.capacity import Demand, refusals, spark_pod_memory

from include.config.platform import NodePool

A100 = NodePool(
    nodes=2,
    node_selector={"podium.dev/pool": "gpu"},
    cpu="32",
    memory="128Gi",
    gpus=4,
    gpu_product="A100",
    price_per_gpu_hour=3.0,
)


@pytest.mark.parametrize(
    "demands",
    [
        [Demand(2, "16", "64Gi", 4)],
        [Demand(8, "8", "32Gi", 1)],
        [Demand(1, "32", "128Gi")],
        [Demand(1, "2", "4Gi"), Demand(3, "16", "32Gi")],
        [Demand(1, "0", "1Gi")],
    ],
)
def test_what_fits_an_empty_pool_is_let_through(demands: list[Demand]) -> None:
    assert refusals(A100, demands) == []


@pytest.mark.parametrize(
    ("demands", "said"),
    [
        ([Demand(4, "1", "1Gi", 4)], "asks 16 A100 (4 pods x 4), the pool has 8 (2 nodes x 4)"),
        ([Demand(1, "1", "1Gi", 8)], "one pod asks 8 A100, one node has 4 A100"),
        ([Demand(1, "33", "1Gi")], "one pod asks 33 CPU, one node has 32 CPU"),
        ([Demand(1, "32500m", "1Gi")], "one pod asks 32500m CPU, one node has 32 CPU"),
        ([Demand(1, "1", "129Gi")], "one pod asks 129Gi memory, one node has 128Gi memory"),
        # 3 x 50 GiB are less than 256 GiB in all, but no node takes three: two each.
        (
            [Demand(5, "1", "50Gi", 1)],
            "asks for 5 pods at once, the pool holds 4: a node with 128Gi memory holds 2 pods of 50Gi memory, "
            "there are 2 nodes",
        ),
        (
            [Demand(1, "20", "1Gi"), Demand(2, "25", "1Gi")],
            "asks 1 x 20 CPU + 2 x 25 CPU, the pool has 2 nodes x 32 CPU",
        ),
    ],
)
def test_what_can_never_fit_is_refused_with_the_arithmetic(demands: list[Demand], said: str) -> None:
    assert refusals(A100, demands) == [said]


def test_every_resource_that_is_too_small_is_named() -> None:
    assert len(refusals(A100, [Demand(1, "64", "256Gi", 8)])) == 3


@pytest.mark.parametrize(("heap", "memory"), [("512m", "896Mi"), ("2g", "2868Mi"), ("1T", "1468007Mi")])
def test_a_spark_pod_needs_its_heap_and_what_python_takes_beside_it(heap: str, memory: str) -> None:
    assert spark_pod_memory(heap) == memory


def test_a_size_that_spark_does_not_know() -> None:
    with pytest.raises(ValueError, match="write it like 512m or 2g"):
        spark_pod_memory("2 GiB")
