from typing import Any

import pytest
from podium.errors import NodePoolTooSmallError, UnknownNodePoolError
from podium.node_pools import place

from include.config import Settings, load_settings


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load_settings("local")


def test_gpu_pool_gives_selector_tolerations_resources_and_slots(settings: Settings) -> None:
    placement = place(settings, "gpu-a100", cpu="4", memory="16Gi", gpus=1, replicas=2)
    assert placement.node_selector == dict(settings.node_pools["gpu-a100"].node_selector)
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in placement.tolerations
    assert placement.resources == {
        "requests": {"cpu": "4", "memory": "16Gi", "nvidia.com/gpu": "1"},
        "limits": {"memory": "16Gi", "nvidia.com/gpu": "1"},
    }
    assert placement.airflow_pool == {"pool": "gpu-a100", "pool_slots": 2}


def test_work_without_gpus_takes_no_slot_of_a_gpu_pool(settings: Settings) -> None:
    placement = place(settings, "general")
    assert placement.airflow_pool == {}
    assert "nvidia.com/gpu" not in placement.resources["requests"]


def test_unknown_pool_is_an_error_that_names_those_there_are(settings: Settings) -> None:
    with pytest.raises(UnknownNodePoolError, match=r"'gpu-h100'.*general.*gpu-a100"):
        place(settings, "gpu-h100")


@pytest.mark.parametrize(("gpus", "replicas"), [(5, 1), (4, 3)])
def test_more_gpus_than_the_pool_has_is_an_error_not_an_endless_wait(
    settings: Settings, gpus: int, replicas: int
) -> None:
    with pytest.raises(NodePoolTooSmallError, match=r"would wait for ever"):
        place(settings, "gpu-a100", gpus=gpus, replicas=replicas)


def pool_of(settings: Settings, **changes: Any) -> Settings:
    pool = settings.node_pools["gpu-a100"].model_copy(update=changes)
    return settings.model_copy(update={"node_pools": {**settings.node_pools, "gpu-a100": pool}})


def test_a_gang_stays_in_one_topology_domain(settings: Settings) -> None:
    near = place(pool_of(settings, topology_key="topology.kubernetes.io/zone"), "gpu-a100", gpus=1, replicas=2)
    assert near.gang_affinity({"job": "one"}) == {
        "podAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {"topologyKey": "topology.kubernetes.io/zone", "labelSelector": {"matchLabels": {"job": "one"}}}
            ]
        }
    }
    anywhere = place(pool_of(settings, topology_key=None), "gpu-a100", gpus=1, replicas=2)
    assert anywhere.gang_affinity({"job": "one"}) == {}


def test_kueue_is_told_the_queue_where_the_settings_name_one(settings: Settings) -> None:
    assert place(settings, "gpu-a100", gpus=1).queue_labels == {}
    queued = place(pool_of(settings, kueue_queue="training"), "gpu-a100", gpus=1)
    assert queued.queue_labels == {"kueue.x-k8s.io/queue-name": "training"}
