"""The official client for asyncio, which Airflow's triggerer waits with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from kubernetes_asyncio import client, config, watch
from kubernetes_asyncio.client.exceptions import ApiException
from kubernetes_asyncio.stream import WsApiClient

from tests.devcluster.cluster import TERMINAL, Cluster

Work = Callable[[client.CoreV1Api], Awaitable[Any]]
APPLY = "application/apply-patch+yaml"


def call(cluster: Cluster, work: Work, kind: type[client.ApiClient] = client.ApiClient) -> Any:
    """Do something with a connected client, in an event loop of its own."""

    async def inside() -> Any:
        async with _connected(cluster, kind) as core, asyncio.timeout(60):
            return await work(core)

    return asyncio.run(inside())


@asynccontextmanager
async def _connected(cluster: Cluster, kind: type[client.ApiClient]) -> AsyncIterator[client.CoreV1Api]:
    configuration = client.Configuration()
    await config.load_kube_config(str(cluster.kubeconfig), client_configuration=configuration)
    async with kind(configuration) as api:
        yield client.CoreV1Api(api)


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def test_a_pod_is_watched_to_its_end_and_its_log_read(cluster: Cluster, name: str) -> None:
    async def work(core: client.CoreV1Api) -> tuple[list[str], str]:
        await core.create_namespaced_pod(cluster.namespace, cluster.manifest(name, "echo said"))
        seen: list[str] = []
        async with watch.Watch() as watching:
            stream = watching.stream(
                core.list_namespaced_pod, cluster.namespace, field_selector=f"metadata.name={name}", timeout_seconds=50
            )
            async for event in stream:
                seen.append(event["object"].status.phase)
                if seen[-1] in TERMINAL:
                    break
        return seen, await core.read_namespaced_pod_log(name, cluster.namespace)

    phases, log = call(cluster, work)
    assert phases[-1] == "Succeeded"
    assert log == "said\n"


def test_a_watch_goes_on_where_a_list_ended(cluster: Cluster, name: str) -> None:
    async def work(core: client.CoreV1Api) -> list[tuple[str, str]]:
        listed = await core.list_namespaced_config_map(cluster.namespace)
        await core.create_namespaced_config_map(cluster.namespace, config_map(name, a="1"))
        await core.patch_namespaced_config_map(name, cluster.namespace, {"data": {"a": "2"}})
        await core.delete_namespaced_config_map(name, cluster.namespace)
        seen = []
        async with watch.Watch() as watching:
            stream = watching.stream(
                core.list_namespaced_config_map,
                cluster.namespace,
                resource_version=listed.metadata.resource_version,
                field_selector=f"metadata.name={name}",
                timeout_seconds=50,
            )
            async for event in stream:
                seen.append((event["type"], event["object"].data["a"]))
                if event["type"] == "DELETED":
                    break
        return seen

    assert call(cluster, work) == [("ADDED", "1"), ("MODIFIED", "2"), ("DELETED", "2")]


def test_a_watch_ends_when_it_was_told_to(cluster: Cluster) -> None:
    async def work(core: client.CoreV1Api) -> None:
        listed = await core.list_namespaced_config_map(cluster.namespace)
        version = listed.metadata.resource_version
        answer = await core.list_namespaced_config_map(
            cluster.namespace, watch=True, resource_version=version, timeout_seconds=1, _preload_content=False
        )
        assert await answer.content.read() == b""

    call(cluster, work)


def test_a_log_streams_while_the_pod_runs(cluster: Cluster, name: str) -> None:
    cluster.start(name, "echo first; sleep 1; echo last")
    cluster.wait(name, "Running", *TERMINAL)

    async def work(core: client.CoreV1Api) -> list[bytes]:
        answer = await core.read_namespaced_pod_log(name, cluster.namespace, follow=True, _preload_content=False)
        return [line async for line in answer.content]

    assert call(cluster, work) == [b"first\n", b"last\n"]


def test_a_command_runs_in_a_pod(cluster: Cluster, name: str) -> None:
    cluster.start(name, "sleep 60")
    cluster.wait(name, "Running")

    async def work(core: client.CoreV1Api) -> Any:
        return await core.connect_get_namespaced_pod_exec(
            name,
            cluster.namespace,
            command=["sh", "-c", "echo out; echo err >&2"],
            stdin=False,
            stdout=True,
            stderr=True,
            tty=False,
        )

    assert sorted(call(cluster, work, WsApiClient).split()) == ["err", "out"]


def test_a_stale_replacement_is_a_conflict(cluster: Cluster, name: str) -> None:
    async def work(core: client.CoreV1Api) -> None:
        stale = await core.create_namespaced_config_map(cluster.namespace, config_map(name, a="1"))
        await core.patch_namespaced_config_map(name, cluster.namespace, {"data": {"a": "2"}})
        with pytest.raises(ApiException) as refused:
            await core.replace_namespaced_config_map(name, cluster.namespace, stale)
        assert (refused.value.status, '"reason":"Conflict"' in refused.value.body.replace(" ", "")) == (409, True)

    call(cluster, work)


def test_server_side_apply_makes_and_changes(cluster: Cluster, name: str) -> None:
    async def work(core: client.CoreV1Api) -> list[dict[str, str]]:
        seen = []
        for value in ("1", "2"):
            found = await core.patch_namespaced_config_map(
                name, cluster.namespace, config_map(name, a=value), field_manager="tests", _content_type=APPLY
            )
            seen.append(found.data)
        return seen

    assert call(cluster, work) == [{"a": "1"}, {"a": "2"}]


def test_what_is_not_there_is_a_404_with_a_status(cluster: Cluster, name: str) -> None:
    async def work(core: client.CoreV1Api) -> ApiException:
        with pytest.raises(ApiException) as missing:
            await core.read_namespaced_pod(name, cluster.namespace)
        return missing.value

    error = call(cluster, work)
    assert error.status == 404
    assert f'pods \\"{name}\\" not found' in error.body


def test_many_requests_at_once(cluster: Cluster, name: str) -> None:
    async def work(core: client.CoreV1Api) -> int:
        bodies = [config_map(f"{name}-{index}", index=str(index)) for index in range(50)]
        await asyncio.gather(*(core.create_namespaced_config_map(cluster.namespace, body) for body in bodies))
        found = await core.list_namespaced_config_map(cluster.namespace)
        return sum(item.metadata.name.startswith(name) for item in found.items)

    assert call(cluster, work) == 50
