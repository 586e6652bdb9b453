"""The gateway's configuration on a real Envoy: weights, rewriting, draining, counters, and no lost request."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path

import aiohttp

from include.devcluster.controllers.gateway import (
    LATENCY_BUCKETS_MS,
    Backend,
    Endpoint,
    Service,
    cluster_name,
    prepare,
    routes,
    service_url,
)
from include.devcluster.controllers.gateway_sync import GatewaySync
from tests.devcluster.controllers.support import Gateway, eventually
from tests.devcluster.controllers.upstreams import Load, Predictor, predictors


def split(*parts: tuple[Predictor, int], draining: tuple[Predictor, ...] = ()) -> list[Service]:
    backends = [Backend(cluster_name("podium", "rec", s.name), weight, (s.endpoint,)) for s, weight in parts]
    for server in draining:
        leaving = Endpoint(server.endpoint.address, server.endpoint.port, draining=True)
        backends.append(Backend(cluster_name("podium", "rec", server.name), 0, (leaving,)))
    return [Service("podium", "rec", tuple(backends))]


def test_weights_change_under_load_without_a_failed_request(gateway: Gateway) -> None:
    async def scenario() -> None:
        sync = GatewaySync(gateway.directory, gateway.admin_url, gateway.token)
        seen: Counter[str] = Counter()
        async with predictors("v1", "v2") as (v1, v2), aiohttp.ClientSession() as session:
            await sync.apply(split((v1, 100)))
            async with Load(session, service_url(gateway.url, "podium", "rec") + "/v1/models/rec") as load:
                for old, new in ((100, 0), (90, 10), (50, 50), (0, 100), (100, 0)):
                    seen += load.answers
                    await sync.apply(split((v1, old), (v2, new)))
                    seen += load.answers
                    # Envoy's threads take new routes over one after the other: let them, then count.
                    seen += await load.some(50)
                    answers = await load.some(1000)
                    seen += answers
                    assert abs(answers["v2"] / answers.total() * 100 - new) < 6
                for _ in range(20):
                    # From half of the traffic to draining at once, as a rollback does.
                    await sync.apply(split((v1, 50), (v2, 50)))
                    seen += await load.some(50)
                    await sync.apply(split((v1, 100), draining=(v2,)))
                    seen += load.answers
                await sync.apply(split((v1, 100)))
                seen += await load.some(1000)
        assert set(seen) == {"v1", "v2"}, seen

    asyncio.run(scenario())


def test_a_draining_pod_finishes_what_it_has(gateway: Gateway) -> None:
    async def scenario() -> None:
        sync = GatewaySync(gateway.directory, gateway.admin_url, gateway.token)
        url = service_url(gateway.url, "podium", "rec")
        async with predictors("v1", "v2") as (v1, v2), aiohttp.ClientSession() as session:
            await sync.apply(split((v1, 0), (v2, 100)))
            slow = asyncio.create_task(session.get(f"{url}/slow"))
            await v2.waiting.wait()
            await sync.apply(split((v1, 100), draining=(v2,)))
            leaving = Endpoint("127.0.0.1", v2.endpoint.port, draining=True)
            assert await sync.in_flight() == {leaving: 1}
            v2.release.set()
            response = await slow
            assert (await response.json())["name"] == "v2"

            async def idle() -> bool:
                return await sync.in_flight() == {leaving: 0}

            await eventually(idle)
            await sync.apply(split((v1, 100)))
            assert await sync.in_flight() == {}
            assert not (gateway.directory / "endpoints-podium_rec_v2.json").exists()

    asyncio.run(scenario())


def test_host_name_and_path_lead_to_the_service_and_nothing_else_does(gateway: Gateway) -> None:
    async def scenario() -> None:
        sync = GatewaySync(gateway.directory, gateway.admin_url, gateway.token)
        async with predictors("v1") as (v1,), aiohttp.ClientSession() as session:
            await sync.apply([*split((v1, 100)), Service("podium", "empty", (Backend("podium_empty_v1", 100, ()),))])

            async def get(path: str, host: str = "") -> tuple[int, str]:
                headers = {"Host": host} if host else {}
                async with session.get(gateway.url + path, headers=headers) as response:
                    text = await response.text()
                    return response.status, json.loads(text)["path"] if response.status == 200 else text.strip()

            assert await get("/serving/podium/rec/v1/models/rec") == (200, "/v1/models/rec")
            assert await get("/serving/podium/rec") == (200, "/")
            assert await get("/v1/models/rec", "rec.podium.local") == (200, "/v1/models/rec")
            assert await get("/serving/podium/recommender/v1") == (404, "")
            assert await get("/") == (404, "")
            assert await get("/serving/podium/empty/v1") == (
                503,
                "InferenceService podium/empty has no ready predictor",
            )

    asyncio.run(scenario())


def test_counters_and_latency_are_kept_per_predictor(gateway: Gateway) -> None:
    async def scenario() -> None:
        sync = GatewaySync(gateway.directory, gateway.admin_url, gateway.token)
        url = service_url(gateway.url, "podium", "rec")
        async with predictors("v1") as (v1,), aiohttp.ClientSession() as session:
            await sync.apply(split((v1, 100)))
            for path in ("/", "/", "/bad"):
                async with session.get(url + path):
                    pass
            label = 'envoy_cluster_name="podium_rec_v1"'
            count = f"envoy_cluster_upstream_rq_time_count{{{label}}} 3"

            async def flushed() -> bool:
                return count in await stats(session, gateway)

            await eventually(flushed)
            text = await stats(session, gateway)
        assert f'envoy_cluster_upstream_rq_xx{{envoy_response_code_class="2",{label}}} 2' in text
        assert f'envoy_cluster_upstream_rq_xx{{envoy_response_code_class="5",{label}}} 1' in text
        assert f"envoy_cluster_upstream_rq_total{{{label}}} 3" in text
        for limit in [*map(str, LATENCY_BUCKETS_MS), "+Inf"]:
            assert f'envoy_cluster_upstream_rq_time_bucket{{{label},le="{limit}"}}' in text

    asyncio.run(scenario())


async def stats(session: aiohttp.ClientSession, gateway: Gateway) -> str:
    shown = {"Authorization": f"Bearer {gateway.token}"}
    async with session.get(f"{gateway.admin_url}/stats?format=prometheus", headers=shown) as response:
        return await response.text()


def test_a_restarted_controller_keeps_the_routes_until_it_knows_better(gateway: Gateway) -> None:
    async def scenario() -> None:
        async with predictors("v1", "v2") as (v1, v2), aiohttp.ClientSession() as session:
            await GatewaySync(gateway.directory, gateway.admin_url, gateway.token).apply(split((v1, 50), (v2, 50)))
            async with Load(session, service_url(gateway.url, "podium", "rec")) as load:
                seen = await load.some(100)
                await GatewaySync(gateway.directory, gateway.admin_url, gateway.token).apply(split((v2, 100)))
                seen += load.answers + await load.some(100)
                assert set(seen) == {"v1", "v2"}, seen

    asyncio.run(scenario())


def test_without_envoy_the_files_are_written_all_the_same(tmp_path: Path) -> None:
    async def scenario() -> None:
        sync = GatewaySync(tmp_path, "http://127.0.0.1:1")
        services = [Service("podium", "rec", (Backend("podium_rec_v1", 100, (Endpoint("127.64.0.2", 8080),)),))]
        await sync.apply(services)
        assert await sync.in_flight() is None
        assert json.loads((tmp_path / "routes.json").read_text()) == routes(services)

    asyncio.run(scenario())


def test_a_second_start_keeps_what_is_there(tmp_path: Path) -> None:
    prepare(tmp_path)
    (tmp_path / "routes.json").write_text("{}")
    prepare(tmp_path)
    assert (tmp_path / "routes.json").read_text() == "{}"
