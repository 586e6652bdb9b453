"""HTTPRoutes on a real Envoy: weights, mirrors, matches and their order, rewriting, draining."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable

import aiohttp
import pytest

from include.devcluster.controllers.gateway import Backend, Endpoint, Service, cluster_name, service_url
from include.devcluster.controllers.gateway_sync import GatewaySync
from include.devcluster.controllers.objects import Manifest
from tests.devcluster.controllers.routes import World, exact, mirror, pod, prefix, rewrite, route, rule, service, to
from tests.devcluster.controllers.support import Gateway
from tests.devcluster.controllers.upstreams import Load, predictors

Scenario = Callable[[GatewaySync, aiohttp.ClientSession], Awaitable[None]]


def run(gateway: Gateway, scenario: Scenario) -> None:
    async def inside() -> None:
        async with aiohttp.ClientSession() as session:
            await scenario(GatewaySync(gateway.directory, gateway.admin_url, gateway.token), session)

    asyncio.run(inside())


async def ask(session: aiohttp.ClientSession, url: str, **headers: str) -> tuple[int, str]:
    """Status, and who answers."""
    async with session.get(url, headers=headers) as response:
        return response.status, (await response.json())["name"] if response.status == 200 else ""


async def count(session: aiohttp.ClientSession, url: str, requests: int) -> Counter[str]:
    """Answers of so many requests, by server or status."""
    seen: Counter[str] = Counter()
    # Envoy's threads take new routes over one after the other.
    await asyncio.gather(*(ask(session, url) for _ in range(40)))
    for _ in range(requests // 20):
        for status, name in await asyncio.gather(*(ask(session, url) for _ in range(20))):
            seen[name or str(status)] += 1
    return seen


def test_requests_are_split_by_weight(gateway: Gateway) -> None:
    async def scenario(sync: GatewaySync, session: aiohttp.ClientSession) -> None:
        async with predictors("v1", "v2") as servers:
            world = World(*servers)
            await world.serve(sync, route(rule(to("v1", 90), to("v2", 10))))
            seen = await count(session, gateway.url, 2000)
            assert set(seen) == {"v1", "v2"}
            assert 133 < seen["v2"] < 267, seen  # five standard deviations
            # Weights are shares of their sum, and 1 by default.
            await world.serve(sync, route(rule(to("v1"), to("v2", 3))))
            seen = await count(session, gateway.url, 1000)
            assert 680 < seen["v2"] < 820, seen
            await world.serve(sync, route(rule(to("v1", 0), to("v2", 1))))
            assert await count(session, gateway.url, 500) == {"v2": 500}

    run(gateway, scenario)


def test_weights_change_under_load_without_a_failed_request(gateway: Gateway) -> None:
    async def scenario(sync: GatewaySync, session: aiohttp.ClientSession) -> None:
        seen: Counter[str] = Counter()
        async with predictors("v1", "v2") as servers:
            world = World(*servers)
            await world.serve(sync, route(rule(to("v1"))))
            async with Load(session, gateway.url) as load:
                for weight in (0, 10, 50, 100, 0):
                    seen += load.answers
                    await world.serve(sync, route(rule(to("v1", 100 - weight), to("v2", weight))))
                    seen += load.answers
                    seen += await load.some(50)
                    answers = await load.some(600)
                    seen += answers
                    assert abs(answers["v2"] / answers.total() * 100 - weight) < 8, (weight, answers)
                for _ in range(20):
                    # A backend that appears and goes for good takes its cluster along.
                    await world.serve(sync, route(rule(to("v1"), to("v2"))))
                    seen += await load.some(50)
                    await world.serve(sync, route(rule(to("v1"))))
                    seen += load.answers
                seen += await load.some(600)
        assert set(seen) == {"v1", "v2"}, seen

    run(gateway, scenario)


def test_a_backend_that_cannot_answer_keeps_its_share(gateway: Gateway) -> None:
    """500 for one that does not resolve, 503 for one without a ready pod, side by side."""

    async def scenario(sync: GatewaySync, session: aiohttp.ClientSession) -> None:
        async with predictors("v1", "v2") as (v1, v2):
            world = World(v1, v2)
            world.pods = [pod(v1), pod(v2, ready=False)]
            await world.serve(sync, route(rule(to("v1", 2), to("v2", 1), to("missing", 1))))
            seen = await count(session, gateway.url, 1000)
            assert set(seen) == {"v1", "503", "500"}
            assert 420 < seen["v1"] < 580, seen
            assert 180 < seen["503"] < 320, seen
            assert 180 < seen["500"] < 320, seen
            for backends, status in (
                ((to("missing"),), "500"),
                ((to("v2"),), "503"),
                ((to("v1", 0),), "500"),
                ((), "500"),
            ):
                await world.serve(sync, route(rule(*backends)))
                assert await count(session, gateway.url, 20) == {status: 20}

    run(gateway, scenario)


def test_a_mirror_gets_its_share_and_answers_nobody(gateway: Gateway) -> None:
    async def scenario(sync: GatewaySync, session: aiohttp.ClientSession) -> None:
        async with predictors("v1", "shadow") as (v1, shadow):
            world = World(v1, shadow)
            for share, low, high in (
                ({"percent": 20}, 130, 270),
                ({"fraction": {"numerator": 1, "denominator": 4}}, 180, 320),
                ({"percent": 0}, 0, 0),
                ({}, 1000, 1000),
            ):
                await world.serve(sync, route(rule(to("v1"), filters=[mirror("shadow", **share)])))
                await asyncio.gather(*(ask(session, gateway.url) for _ in range(40)))
                await asyncio.sleep(0.3)
                before = shadow.asked
                for _ in range(50):
                    for answer in await asyncio.gather(*(ask(session, gateway.url) for _ in range(20))):
                        assert answer == (200, "v1")
                await asyncio.sleep(1)  # a copy may be behind its request
                assert low <= shadow.asked - before <= high, (share, shadow.asked - before)

    run(gateway, scenario)


def test_a_mirror_that_hangs_fails_or_is_not_there_costs_clients_nothing(gateway: Gateway) -> None:
    async def scenario(sync: GatewaySync, session: aiohttp.ClientSession) -> None:
        async with predictors("v1", "shadow", "dead") as (v1, shadow, dead):
            world = World(v1, shadow, dead)
            dead.endpoint = Endpoint("127.0.0.1", 9)  # nobody listens there
            world.pods = [pod(v1), pod(shadow), pod(dead)]
            v1.release.set()
            names = ("shadow", "dead", "missing")
            mirrors = [mirror(name) for name in names]
            await world.serve(sync, route(rule(to("v1"), filters=mirrors)))
            begin = time.monotonic()
            for _ in range(20):
                answers = await asyncio.gather(*(ask(session, f"{gateway.url}/slow") for _ in range(20)))
                assert set(answers) == {(200, "v1")}
            assert time.monotonic() - begin < 10, "the hanging copies are not waited for"
            assert shadow.asked > 0
            shadow.release.set()
            assert world.plan(route(rule(to("v1"), filters=mirrors))).unresolved[0].reason == "BackendNotFound"

    run(gateway, scenario)


def test_the_most_specific_match_wins_whatever_its_place(gateway: Gateway) -> None:
    """Exact path, longest prefix, most headers, oldest route, name, place."""

    async def scenario(sync: GatewaySync, session: aiohttp.ClientSession) -> None:
        names = ("any", "prefix", "longer", "exact", "one", "two", "young", "old", "late")
        async with predictors(*names) as servers:
            world = World(*servers)
            routes = [
                route(rule(to("any")), name="zero"),
                route(
                    rule(to("prefix"), matches=[prefix("/a")]),
                    rule(to("longer"), matches=[prefix("/a/b/")]),
                    rule(to("exact"), matches=[exact("/a/b")]),
                    rule(to("one"), matches=[prefix("/a", ("x", "1"))]),
                    rule(to("two"), matches=[prefix("/a", ("X", "1"), ("y", "2"))]),
                    rule(to("late"), matches=[prefix("/a")]),
                    name="one",
                ),
                route(
                    rule(to("young"), matches=[prefix("/a"), prefix("/c")]), name="a", created="2026-02-01T00:00:00Z"
                ),
                route(rule(to("old"), matches=[prefix("/c")]), name="z", created="2026-01-02T00:00:00Z"),
                route(rule(to("late"), matches=[prefix("/c")]), name="zz", created="2026-01-02T00:00:00Z"),
            ]
            await world.serve(sync, *routes)
            await asyncio.sleep(0.2)
            wanted: list[tuple[str, dict[str, str], str]] = [
                ("/", {}, "any"),
                ("/ab", {}, "any"),
                ("/a", {}, "prefix"),
                ("/a/?q=1", {}, "prefix"),
                ("/a/bb", {}, "prefix"),
                ("/a/b", {}, "exact"),
                ("/a/b?q=1", {}, "exact"),
                ("/a/b/", {}, "longer"),
                ("/a/b/c", {"x": "1"}, "longer"),
                ("/a", {"x": "1"}, "one"),
                ("/a", {"x": "2"}, "prefix"),
                ("/a", {"x": "1", "y": "2"}, "two"),
                ("/c/d", {}, "old"),
            ]
            for path, headers, name in wanted:
                assert await ask(session, gateway.url + path, **headers) == (200, name), (path, headers)
            await world.serve(sync, *reversed(routes))
            await asyncio.sleep(0.2)
            for path, headers, name in wanted:
                assert await ask(session, gateway.url + path, **headers) == (200, name), (path, headers)

    run(gateway, scenario)


def isvc(server: str, endpoint: Endpoint) -> Service:
    return Service("podium", server, (Backend(cluster_name("podium", server, ""), 100, (endpoint,)),))


def test_the_closest_host_name_comes_first_and_the_others_after_it(gateway: Gateway) -> None:
    async def scenario(sync: GatewaySync, session: aiohttp.ClientSession) -> None:
        async with predictors("any", "wild", "host", "rec") as servers:
            world = World(*servers)
            routes = [
                route(rule(to("any"), matches=[prefix("/any")]), name="any"),
                route(rule(to("wild"), matches=[prefix("/")]), name="wild", hostnames=["*.example.com"]),
                route(rule(to("host"), matches=[prefix("/own")]), name="h", hostnames=["a.example.com", "other.test"]),
            ]
            await world.serve(sync, *routes, services=[isvc("rec", servers[3].endpoint)])
            await asyncio.sleep(0.2)
            for host, path, answer in (
                ("a.example.com", "/own", (200, "host")),
                ("a.example.com:8080", "/own", (200, "host")),
                ("other.test", "/own", (200, "host")),
                ("b.example.com", "/own", (200, "wild")),
                ("a.example.com", "/any", (200, "wild")),
                ("a.example.com", "/else", (200, "wild")),
                ("example.com", "/any", (200, "any")),
                ("example.com", "/own", (404, "")),
                ("other.test", "/any", (200, "any")),
                ("other.test", "/serving/podium/rec/x", (200, "rec")),
                ("rec.podium.local", "/any", (200, "any")),
                ("rec.podium.local:80", "/own", (200, "rec")),
            ):
                assert await ask(session, gateway.url + path, Host=host) == answer, (host, path)

    run(gateway, scenario)


def test_a_route_takes_over_the_entry_of_an_inference_service_and_gives_it_back(gateway: Gateway) -> None:
    async def scenario(sync: GatewaySync, session: aiohttp.ClientSession) -> None:
        seen: Counter[str] = Counter()
        async with predictors("v1", "rec", "recommender-two") as servers:
            world = World(servers[0])
            services = [isvc(server.name, server.endpoint) for server in servers[1:]]
            taken = route(rule(to("v1"), matches=[prefix("/serving/podium/rec")], filters=[rewrite("/")]))
            url = service_url(gateway.url, "podium", "rec")
            await world.serve(sync, services=services)
            async with Load(session, f"{url}/v1/models/rec") as load:
                seen += await load.some(100)
                assert set(seen) == {"rec"}
                await world.serve(sync, taken, services=services)
                seen += load.answers + await load.some(50)
                assert set(await load.some(100)) == {"v1"}
                async with session.get(f"{url}/v1/models/rec?a=b") as response:
                    assert (await response.json())["path"] == "/v1/models/rec"
                other = service_url(gateway.url, "podium", "recommender-two")
                assert await ask(session, other) == (200, "recommender-two")
                await world.serve(sync, services=services)
                seen += load.answers + await load.some(50)
                assert set(await load.some(100)) == {"rec"}
        assert set(seen) == {"rec", "v1"}, seen

    run(gateway, scenario)


# From the table of HTTPPathModifier in the specification.
@pytest.mark.parametrize(
    ("path", "match", "replacement", "modified"),
    [
        ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
        ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
        ("/foo/bar", "/foo/", "/xyz", "/xyz/bar"),
        ("/foo/bar", "/foo/", "/xyz/", "/xyz/bar"),
        ("/foo", "/foo", "/xyz", "/xyz"),
        ("/foo/", "/foo", "/xyz", "/xyz/"),
        ("/foo/bar", "/foo", "", "/bar"),
        ("/foo/", "/foo", "", "/"),
        ("/foo", "/foo", "", "/"),
        ("/foo/", "/foo", "/", "/"),
        ("/foo", "/foo", "/", "/"),
        ("/foo/bar", "/foo", "/", "/bar"),
        ("/bar", "/", "/xyz", "/xyz/bar"),
    ],
)
def test_a_prefix_is_replaced(gateway: Gateway, path: str, match: str, replacement: str, modified: str) -> None:
    async def scenario(sync: GatewaySync, session: aiohttp.ClientSession) -> None:
        async with predictors("v1") as servers:
            given = route(rule(to("v1"), matches=[prefix(match)], filters=[rewrite(replacement)]))
            await World(*servers).serve(sync, given)
            await asyncio.sleep(0.2)
            async with session.get(gateway.url + path) as response:
                assert (await response.json())["path"] == modified

    run(gateway, scenario)


def test_headers_of_the_request_are_changed(gateway: Gateway) -> None:
    async def scenario(sync: GatewaySync, session: aiohttp.ClientSession) -> None:
        async with predictors("v1") as servers:
            change = {
                "set": [{"name": "X-Set", "value": '100% "new" %REQ(x)%'}],
                "add": [{"name": "X-Add", "value": "b"}],
                "remove": ["X-Gone"],
            }
            filters = [{"type": "RequestHeaderModifier", "requestHeaderModifier": change}]
            await World(*servers).serve(sync, route(rule(to("v1"), filters=filters)))
            await asyncio.sleep(0.2)
            given = {"X-Set": "old", "X-Add": "a", "X-Gone": "1", "X-Kept": "2"}
            async with session.get(gateway.url, headers=given) as response:
                got = (await response.json())["headers"]
            assert got["x-set"] == '100% "new" %REQ(x)%'
            assert got["x-add"] == "a,b"
            assert got["x-kept"] == "2"
            assert "x-gone" not in got

    run(gateway, scenario)


def test_a_client_waits_no_longer_than_the_timeout(gateway: Gateway) -> None:
    async def scenario(sync: GatewaySync, session: aiohttp.ClientSession) -> None:
        async with predictors("v1") as (v1,):
            await World(v1).serve(sync, route(rule(to("v1"), timeouts={"request": "0s300ms"})))
            await asyncio.sleep(0.2)
            begin = time.monotonic()
            assert (await ask(session, f"{gateway.url}/slow"))[0] == 504
            assert 0.2 < time.monotonic() - begin < 5
            v1.release.set()
            assert await ask(session, gateway.url) == (200, "v1")

    run(gateway, scenario)


@pytest.mark.parametrize("how", ["deleted", "taken away by its owner", "no longer named", "weight 0"])
def test_what_is_in_flight_ends_where_it_began(gateway: Gateway, how: str) -> None:
    async def scenario(sync: GatewaySync, session: aiohttp.ClientSession) -> None:
        async with predictors("v1", "v2") as (v1, v2):
            world = World(v1, v2)
            both = route(rule(to("v1", 0), to("v2", 1)))
            await world.serve(sync, both)
            await asyncio.sleep(0.2)
            slow = asyncio.create_task(ask(session, f"{gateway.url}/slow"))
            await v2.waiting.wait()
            leaving = Endpoint(v2.endpoint.address, v2.endpoint.port, draining=True)
            if how == "deleted":
                world.pods = [pod(v1), pod(v2, deleting=True)]
                await world.serve(sync, both)
            elif how == "taken away by its owner":
                world.leaving = {(v2.endpoint.address, v2.endpoint.port)}
                # Its predictor's own cluster has the same pod, and nothing in flight.
                own = Service("podium", "rec", (Backend("podium_rec_v2", 0, (leaving,)),))
                await world.serve(sync, both, services=[own])
            else:
                refs = (to("v1"),) if how == "no longer named" else (to("v1"), to("v2", 0))
                await world.serve(sync, route(rule(*refs)))
            if how in ("deleted", "taken away by its owner"):
                assert await sync.in_flight() == {leaving: 1}
            asked = v2.asked
            seen = await count(session, gateway.url, 100)
            assert set(seen) == {"503" if "weight" not in how and "named" not in how else "v1"}
            assert v2.asked == asked, "nothing new"
            v2.release.set()
            assert await slow == (200, "v2")

    run(gateway, scenario)


def test_two_ports_of_one_service_are_two_clusters(gateway: Gateway) -> None:
    async def scenario(sync: GatewaySync, session: aiohttp.ClientSession) -> None:
        async with predictors("v1", "metrics") as (v1, metrics):
            world = World(v1)
            second = {"name": "m", "port": 9090, "targetPort": metrics.endpoint.port}
            world.services = {"v1": service("v1", {"name": "h", "port": 80, "targetPort": "http"}, second)}
            rules = rule(to("v1")), rule(to("v1", port=9090), matches=[prefix("/metrics")])
            await world.serve(sync, route(*rules))
            await asyncio.sleep(0.2)
            assert await ask(session, f"{gateway.url}/x") == (200, "v1")
            assert await ask(session, f"{gateway.url}/metrics") == (200, "metrics")
            assert {b.cluster for b in world.plan(route(*rules)).backends} == {"podium_v1", "podium_v1__9090"}

    run(gateway, scenario)


def test_whatever_is_accepted_envoy_takes(gateway: Gateway) -> None:
    """One value that it refuses would hold up everybody's routes."""
    odd = "!\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~ %% %START_TIME% 100% \t x"

    async def scenario(sync: GatewaySync, session: aiohttp.ClientSession) -> None:
        async with predictors("v1") as servers:
            name = "a!#$%&'*+.^_`|~-1"
            header = {"name": name, "value": odd}
            change = {"set": [header], "add": [header], "remove": [name]}
            filters = [{"type": "RequestHeaderModifier", "requestHeaderModifier": change}, rewrite("/a%20b/(c)$&/~@")]
            match = prefix("/x/.*[".replace("[", "") + "()+$&'~%2f", (name, odd))
            given = route(
                rule(to("v1", 1_000_000), matches=[match], filters=filters, timeouts={"request": "99999h"}),
                rule(*(to("v1", 1_000_000) for _ in range(16)), matches=[exact("//")]),
                rule(to("v1"), matches=[prefix("//")]),
                rule(to("v1"), matches=[prefix("/" + "(a" * 500, ("b", "c" * 4096))], filters=[rewrite("/")]),
                rule(to("v1"), filters=[rewrite("/" + "d" * 1023)]),
                hostnames=["by-path", "*.by-path", "a.b", "*.a.b", "rec.podium.local"],
            )
            world = World(*servers)
            assert not world.plan(given).problems
            await world.serve(sync, given, services=[isvc("rec", servers[0].endpoint)])

    run(gateway, scenario)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sessionPersistence": {}}, "spec.rules[0].sessionPersistence: is not served by this gateway"),
        ({"matches": [{"method": "GET"}]}, "spec.rules[0].matches[0].method: is not served"),
        ({"matches": [{"queryParams": []}]}, "matches[0].queryParams: is not served"),
        (
            {"matches": [{"path": {"type": "RegularExpression", "value": "/a"}}]},
            "matches[0].path.type: Input should be",
        ),
        ({"matches": [{"path": {"value": "a"}}]}, "matches[0].path.value: String should match"),
        ({"matches": [{"path": {"value": "/a\n"}}]}, "matches[0].path.value: String should match"),
        ({"matches": [prefix("/", ("a b", "1"))]}, "headers[0].name: String should match"),
        ({"matches": [prefix("/", ("a", "1\r\nb: 2"))]}, "headers[0].value: String should match"),
        ({"filters": [{"type": "RequestRedirect", "requestRedirect": {}}]}, "filters[0]: Input tag 'RequestRedirect'"),
        ({"filters": [mirror("a", percent=1, fraction={"numerator": 1})]}, "set percent or fraction, not both"),
        ({"filters": [mirror("a", fraction={"numerator": 101})]}, "numerator must not exceed denominator"),
        ({"filters": [rewrite("/a"), rewrite("/b")]}, "may stand in a rule once"),
        ({"filters": [rewrite("/a")], "matches": [exact("/b")]}, "exactly one match, whose path is a PathPrefix"),
        ({"filters": [{"type": "URLRewrite", "urlRewrite": {"hostname": "a"}}]}, "urlRewrite.hostname: is not served"),
        (
            {"filters": [{"type": "RequestHeaderModifier", "requestHeaderModifier": {"remove": ["Host"]}}]},
            "filters[0].requestHeaderModifier.remove: the Host header cannot be removed",
        ),
        ({"backendRefs": [to("v1", filters=[])]}, "backendRefs[0].filters: is not served"),
        ({"timeouts": {"backendRequest": "1s"}}, "timeouts.backendRequest: is not served"),
        ({"timeouts": {"request": "1d"}}, "timeouts.request: String should match"),
    ],
)
def test_what_is_not_served_is_named(given: Manifest, message: str) -> None:
    made = World().plan(route(given))
    assert any(message in problem for problem in made.problems), made.problems
    assert not made.attached, "no rule is left"
    assert made.parents[0][1].reason == "UnsupportedValue"
    beside = World().plan(route(given, rule(to("v1"))))
    assert beside.attached, "the other rule is served"
    assert len(beside.entries) == 1
