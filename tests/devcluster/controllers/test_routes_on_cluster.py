"""HTTPRoute, Gateway and the predictors' Services on a cluster: what is in force, what the conditions say of it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from include.devcluster.controllers.gateway_listeners import CONTROLLER_NAME, GATEWAY_CLASSES, GATEWAYS, HTTP_ROUTES
from include.devcluster.controllers.inference_service import INFERENCE_SERVICES
from include.devcluster.controllers.objects import PODS, SERVICES, Manifest
from tests.devcluster.controllers.cluster import Cluster
from tests.devcluster.controllers.processes import Rig
from tests.devcluster.controllers.rollouts import canary, change, load, predictor, ready, service
from tests.devcluster.controllers.routes import mirror, prefix, rewrite, rule, to
from tests.devcluster.controllers.support import wait_for

ENTRY = "routed"


def version(cluster: Cluster, number: str, **environment: str) -> Manifest:
    """A served version: an InferenceService of its own, whose predictor has no name."""
    manifest = service(cluster, f"{ENTRY}-{number}")
    manifest["spec"]["predictor"] = predictor(cluster, number, **environment) | {"name": ""}
    return manifest


@pytest.fixture(scope="module")
def versions(cluster: Cluster) -> Iterator[tuple[str, str]]:
    """The Services of two ready versions, v1 and v2."""
    names = [f"{ENTRY}-v1", f"{ENTRY}-v2"]
    for name in names:
        cluster.create(INFERENCE_SERVICES, version(cluster, name.rpartition("-")[2]))
    for name in names:
        cluster.wait(INFERENCE_SERVICES, name, ready)
    yield f"{ENTRY}-v1-predictor", f"{ENTRY}-v2-predictor"
    for name in names:
        cluster.delete(INFERENCE_SERVICES, name)
    wait_for(lambda: not [p for p in cluster.pods() if p["metadata"]["name"].startswith(ENTRY)], "the pods to go")


def conditions(route: Manifest) -> dict[str, Manifest]:
    """Of the only parent, by type."""
    parents = (route.get("status") or {}).get("parents") or [{"conditions": []}]
    return {condition["type"]: condition for condition in parents[0]["conditions"]}


def in_force(route: Manifest) -> bool:
    found = conditions(route).values()
    return bool(found) and all(each["observedGeneration"] == route["metadata"]["generation"] for each in found)


def accepted(route: Manifest) -> bool:
    return in_force(route) and all(conditions(route)[kind]["status"] == "True" for kind in ("Accepted", "ResolvedRefs"))


class Route:
    """A route below a path of its own, whose rule is changed."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cluster, self.name = cluster, name
        self.path = f"/{name}"
        self.url = f"{cluster.gateway.url}{self.path}/v1/models/rec"
        self._made = False

    def set(self, *backends: Manifest, until: Callable[[Manifest], bool] = accepted, **more: Any) -> Manifest:
        """Create or change it, and wait."""
        self.change(*backends, **more)
        return self.cluster.wait(HTTP_ROUTES, self.name, until)

    def change(self, *backends: Manifest, parents: Any = ({"name": "podium"},), **more: Any) -> None:
        filters = [rewrite("/"), *more.pop("filters", ())]
        spec = {
            "parentRefs": list(parents),
            "rules": [rule(*backends, matches=[prefix(self.path)], filters=filters, **more)],
        }
        if self._made:
            self.cluster.patch(HTTP_ROUTES, self.name, {"spec": spec})
        else:
            self.cluster.create(HTTP_ROUTES, {"metadata": {"name": self.name}, "spec": spec})
            self._made = True


@pytest.fixture
def route(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Route]:
    """A route of the test's own; deleted at the end."""
    name = request.node.name.partition("[")[0].removeprefix("test_").replace("_", "-")[:30].strip("-")
    yield Route(cluster, name)
    if cluster.exists(HTTP_ROUTES, name):
        cluster.delete(HTTP_ROUTES, name)


def get(url: str, **headers: str) -> httpx.Response:
    return httpx.get(url, headers=headers, trust_env=False, timeout=30)


def settle(url: str) -> None:
    """Envoy's threads take new routes over one after the other."""
    for _ in range(20):
        get(url)


def test_the_gateway_says_where_it_is(cluster: Cluster, versions: tuple[str, str], route: Route) -> None:
    def programmed(gateway: Manifest) -> bool:
        found = {c["type"]: c["status"] for c in (gateway.get("status") or {}).get("conditions") or []}
        return found == {"Accepted": "True", "Programmed": "True"}

    status = cluster.wait(GATEWAYS, "podium", programmed)["status"]
    assert status["addresses"] == [{"type": "IPAddress", "value": "127.0.0.1"}]
    (listener,) = status["listeners"]
    assert {c["type"]: c["status"] for c in listener["conditions"]} == dict.fromkeys(
        ("Accepted", "Programmed", "ResolvedRefs"), "True"
    )
    before = listener["attachedRoutes"]
    route.set(to(versions[0]))
    wait_for(lambda: cluster.get(GATEWAYS, "podium")["status"]["listeners"][0]["attachedRoutes"] == before + 1)
    kind = cluster.call("GET", GATEWAY_CLASSES.path("", "podium"))
    assert [c["reason"] for c in kind["status"]["conditions"]] == ["Accepted"]
    assert kind["spec"]["controllerName"] == CONTROLLER_NAME


def test_a_gateway_that_cannot_be_served_says_why(cluster: Cluster, versions: tuple[str, str], route: Route) -> None:
    listeners = [
        {"name": "other-port", "port": 1, "protocol": "HTTP"},
        {"name": "tls", "port": cluster.gateway.port, "protocol": "HTTPS", "tls": {"mode": "Terminate"}},
        {"name": "udp", "port": cluster.gateway.port, "protocol": "UDP"},
    ]
    spec = {"gatewayClassName": "podium", "listeners": listeners}
    cluster.create(GATEWAYS, {"metadata": {"name": "elsewhere"}, "spec": spec})
    found = cluster.wait(GATEWAYS, "elsewhere", lambda g: bool(g.get("status")))
    told = {each["name"]: each["conditions"][0] for each in found["status"]["listeners"]}
    assert {name: each["reason"] for name, each in told.items()} == {
        "other-port": "PortUnavailable",
        "tls": "UnsupportedValue",
        "udp": "UnsupportedProtocol",
    }
    assert str(cluster.gateway.port) in told["other-port"]["message"]
    assert found["status"]["conditions"][0]["reason"] == "ListenersNotValid"
    made = route.set(to(versions[0]), parents=[{"name": "elsewhere"}], until=in_force)
    assert conditions(made)["Accepted"]["reason"] == "NoMatchingParent"
    assert get(route.url).status_code == 404
    cluster.delete(GATEWAYS, "elsewhere")


def test_a_predictor_has_the_service_of_kserve(cluster: Cluster, versions: tuple[str, str]) -> None:
    owner = cluster.get(INFERENCE_SERVICES, f"{ENTRY}-v1")
    found = cluster.get(SERVICES, versions[0])
    (port,) = found["spec"]["ports"]
    assert (port["port"], port["targetPort"]) == (80, 8080)
    (pod,) = [p for p in cluster.pods() if p["metadata"]["name"].startswith(f"{ENTRY}-v1")]
    assert found["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    assert [o["uid"] for o in found["metadata"]["ownerReferences"]] == [owner["metadata"]["uid"]]
    cluster.delete(SERVICES, versions[0])
    wait_for(lambda: cluster.exists(SERVICES, versions[0]), "the Service to be made again")


def test_services_come_and_go_with_their_predictors(cluster: Cluster) -> None:
    cluster.create(INFERENCE_SERVICES, service(cluster, "exposed"))
    cluster.wait(INFERENCE_SERVICES, "exposed", ready)
    assert cluster.exists(SERVICES, "exposed-v1-predictor"), "a predictor's name is in its Service's"
    change(cluster, "exposed", canary=canary(cluster, "v2", 50))
    assert cluster.exists(SERVICES, "exposed-v2-predictor")
    change(cluster, "exposed", canary=None)
    wait_for(lambda: not cluster.exists(SERVICES, "exposed-v2-predictor"), "the canary's Service to go")
    moved = predictor(cluster, "v1")
    moved["containers"][0]["ports"] = [{"containerPort": 8080, "name": "http1"}, {"containerPort": 9090}]
    change(cluster, "exposed", predictor=moved)
    wait_for(lambda: len(cluster.get(SERVICES, "exposed-v1-predictor")["spec"]["ports"]) == 2, "the new port")
    ports = cluster.get(SERVICES, "exposed-v1-predictor")["spec"]["ports"]
    assert [(p["name"], p["port"], p["targetPort"]) for p in ports] == [("http1", 80, 8080), ("port-9090", 9090, 9090)]
    change(cluster, "exposed", predictor=predictor(cluster, "v1"))
    wait_for(lambda: len(cluster.get(SERVICES, "exposed-v1-predictor")["spec"]["ports"]) == 1, "the port to go")
    cluster.delete(INFERENCE_SERVICES, "exposed")
    wait_for(lambda: not cluster.exists(SERVICES, "exposed-v1-predictor"), "the Service to go")


def test_a_predictor_serves_without_its_service(cluster: Cluster) -> None:
    """Its name is taken, or is none for a Service; once it is free, the Service is made."""
    spec = {"ports": [{"port": 1}], "selector": {"app": "somebody"}}
    cluster.create(SERVICES, {"metadata": {"name": "taken-v1-predictor"}, "spec": spec})
    cluster.create(INFERENCE_SERVICES, service(cluster, "taken"))
    cluster.create(INFERENCE_SERVICES, service(cluster, "dotted", "v1.2"))
    for name, reason in (("taken", "ErrResourceExists"), ("dotted", "ServiceRefused")):
        url = cluster.wait(INFERENCE_SERVICES, name, ready)["status"]["url"]
        settle(url)
        assert get(f"{url}/x").status_code == 200
        cluster.wait_for_events(name, reason)
    assert cluster.get(SERVICES, "taken-v1-predictor")["spec"]["selector"] == {"app": "somebody"}
    cluster.delete(SERVICES, "taken-v1-predictor")
    wait_for(lambda: cluster.exists(SERVICES, "taken-v1-predictor"), "the Service, now that its name is free")
    owners = cluster.get(SERVICES, "taken-v1-predictor")["metadata"]["ownerReferences"]
    assert [owner["name"] for owner in owners] == ["taken"]
    for name in ("taken", "dotted"):
        cluster.delete(INFERENCE_SERVICES, name)


def test_weights_change_under_load(cluster: Cluster, versions: tuple[str, str], route: Route) -> None:
    """What the conditions call observed is in force, and no request fails."""
    first, second = versions
    route.set(to(first, 100), to(second, 0))
    settle(route.url)
    with load(route.url) as clients:
        assert set(clients.some(100)) == {"v1"}
        for weight in (10, 50, 100, 0, 100):
            route.set(to(first, 100 - weight), to(second, weight))
            clients.some(20)  # what was on its way
            answers = clients.some(500)
            assert abs(answers["v2"] / answers.total() * 100 - weight) < 9, (weight, answers)
        route.set(to(second))
        assert set(clients.some(200)) == {"v2"}
    assert set(clients.answers) == {"v1", "v2"}, clients.answers


def test_nothing_is_said_before_envoy_has_taken_it_over(
    cluster: Cluster, versions: tuple[str, str], route: Route
) -> None:
    route.set(to(versions[0]))
    settle(route.url)
    os.kill(cluster.gateway.pid, signal.SIGSTOP)
    try:
        route.change(to(versions[1]))
        end = time.monotonic() + 10  # longer than the controllers wait for Envoy in one try
        while time.monotonic() < end:
            assert not in_force(cluster.get(HTTP_ROUTES, route.name))
            time.sleep(0.1)
    finally:
        os.kill(cluster.gateway.pid, signal.SIGCONT)
    cluster.wait(HTTP_ROUTES, route.name, accepted)
    settle(route.url)
    assert {get(route.url).json()["version"] for _ in range(50)} == {"v2"}


@pytest.mark.parametrize(
    ("backend", "reason", "words", "status"),
    [
        (to("missing"), "BackendNotFound", "missing does not exist", 500),
        (to("routed-v1-predictor", port=81), "BackendNotFound", "has no port 81: [80]", 500),
        (to("kubernetes", namespace="default", port=443), "RefNotPermitted", "another namespace", 500),
        (to("bucket", kind="Bucket", group="storage.test"), "InvalidKind", "Bucket", 500),
    ],
)
def test_a_reference_that_leads_nowhere(
    cluster: Cluster,
    versions: tuple[str, str],
    route: Route,
    backend: Manifest,
    reason: str,
    words: str,
    status: int,
) -> None:
    found = conditions(route.set(backend, until=in_force))
    assert (found["Accepted"]["status"], found["ResolvedRefs"]["status"]) == ("True", "False")
    assert found["ResolvedRefs"]["reason"] == reason
    assert words in found["ResolvedRefs"]["message"]
    settle(route.url)
    assert get(route.url).status_code == status
    found = conditions(route.set(to(versions[0]), filters=[mirror("missing")], until=in_force))
    assert found["ResolvedRefs"]["reason"] == "BackendNotFound"
    settle(route.url)
    assert get(route.url).json()["version"] == "v1", "a mirror that is missing is left out"


def test_a_backend_that_appears_later_is_served(cluster: Cluster, route: Route) -> None:
    route.set(to("later"), until=in_force)
    settle(route.url)
    assert get(route.url).status_code == 500
    app = "later-app"
    ports = [{"port": 80, "targetPort": 8080}]
    cluster.create(SERVICES, {"metadata": {"name": "later"}, "spec": {"selector": {"app": app}, "ports": ports}})
    cluster.wait(HTTP_ROUTES, route.name, accepted)
    settle(route.url)
    assert get(route.url).status_code == 503, "it has no pod"
    spec = predictor(cluster, "v9")
    spec.pop("name")
    cluster.create(PODS, {"metadata": {"name": "later", "labels": {"app": app}}, "spec": spec})
    wait_for(lambda: get(route.url).status_code == 200, "the pod to answer")
    cluster.delete(PODS, "later")
    cluster.delete(SERVICES, "later")
    wait_for(lambda: get(route.url).status_code == 500, "the Service to be missed")


def test_parents_that_are_not_ours(cluster: Cluster, versions: tuple[str, str], route: Route) -> None:
    listeners = [{"name": "http", "port": 80, "protocol": "HTTP"}]
    foreign = {"gatewayClassName": "foreign", "listeners": listeners}
    cluster.create(GATEWAYS, {"metadata": {"name": "foreign"}, "spec": foreign})
    parents = [
        {"name": "foreign"},
        {"name": "missing"},
        {"name": "podium", "sectionName": "tls"},
        {"name": "podium", "port": 1},
        {"name": "podium", "namespace": "default"},
        {"kind": "Service", "group": "", "name": versions[0]},
    ]
    made = route.set(to(versions[0]), parents=parents, until=lambda r: bool(r.get("status")))
    told = [(p["parentRef"]["name"], p["conditions"][0]["reason"]) for p in made["status"]["parents"]]
    assert told == [("missing", "NoMatchingParent"), ("podium", "NoMatchingParent"), ("podium", "NoMatchingParent")]
    assert {p["controllerName"] for p in made["status"]["parents"]} == {CONTROLLER_NAME}
    assert get(route.url).status_code == 404
    # What another controller has said of its parent stays.
    other = {"parentRef": {"name": "foreign"}, "controllerName": "foreign.test/c", "conditions": []}
    made["status"]["parents"].append(other)
    cluster.call("PUT", HTTP_ROUTES.path(cluster.namespace, route.name, "status"), made)
    made = route.set(to(versions[0]), parents=[{"name": "podium"}], until=lambda r: len(r["status"]["parents"]) == 2)
    assert made["status"]["parents"][0] == other
    assert made["status"]["parents"][1]["conditions"][0]["status"] == "True"
    settle(route.url)
    assert get(route.url).status_code == 200
    assert "status" not in cluster.get(GATEWAYS, "foreign")
    cluster.delete(GATEWAYS, "foreign")


def test_a_rule_that_cannot_be_served_is_dropped_and_named(
    cluster: Cluster, versions: tuple[str, str], route: Route
) -> None:
    found = conditions(route.set(to(versions[0]), until=in_force, sessionPersistence={"sessionName": "s"}))
    assert found["Accepted"]["reason"] == "UnsupportedValue"
    assert "spec.rules[0].sessionPersistence: is not served by this gateway" in found["Accepted"]["message"]
    assert get(route.url).status_code == 404
    matches = [prefix(f"{route.path}/v1")]
    good, bad = rule(to(versions[0]), matches=matches, filters=[rewrite("/")]), rule(to(versions[0]), retry={})
    cluster.patch(HTTP_ROUTES, route.name, {"spec": {"rules": [bad, good]}})
    made = cluster.wait(HTTP_ROUTES, route.name, lambda r: in_force(r) and "PartiallyInvalid" in conditions(r))
    assert conditions(made)["Accepted"]["status"] == "True"
    assert conditions(made)["PartiallyInvalid"]["message"].startswith("Dropped Rule(s): spec.rules[0].retry")
    settle(route.url)
    assert get(route.url).status_code == 200


def test_what_the_schema_refuses(cluster: Cluster) -> None:
    for bad, field in (
        (rule(to("a", -1)), "weight"),
        (rule(to("a", 1_000_001)), "weight"),
        (rule({"port": 80}), "name"),
        (rule(to("a"), timeouts={"request": "soon"}), "request"),
        (rule(to("a"), filters=[mirror("a", percent=101)]), "percent"),
        (rule(to("a"), matches=[{"path": {"type": "Fuzzy", "value": "/"}}]), "type"),
    ):
        body = {"apiVersion": HTTP_ROUTES.api_version, "kind": "HTTPRoute", "metadata": {"name": "bad"}}
        body |= {"spec": {"parentRefs": [{"name": "podium"}], "rules": [bad]}}
        answer = cluster.api.post(HTTP_ROUTES.path(cluster.namespace), json=body)
        assert answer.status_code == 422, (bad, answer.text)
        assert field in answer.json()["details"]["causes"][0]["field"], answer.text


def counted(cluster: Cluster, name: str) -> int:
    """Requests that Envoy has sent to a Service of the namespace, copies among them."""
    shown = {"Authorization": f"Bearer {cluster.gateway.token}"}
    text = httpx.get(f"{cluster.gateway.admin_url}/stats?format=prometheus", headers=shown, trust_env=False).text
    line = f'envoy_cluster_upstream_rq_total{{envoy_cluster_name="{cluster.namespace}_{name}"}} '
    return sum(int(each.removeprefix(line)) for each in text.splitlines() if each.startswith(line))


def test_a_mirror_counts_under_the_name_of_its_service(
    cluster: Cluster, versions: tuple[str, str], route: Route
) -> None:
    first, second = versions
    route.set(to(first), filters=[mirror(second, percent=50)])
    settle(route.url)
    time.sleep(0.5)
    before = counted(cluster, first), counted(cluster, second)
    with httpx.Client(trust_env=False) as client:
        assert {client.get(route.url).json()["version"] for _ in range(400)} == {"v1"}
    time.sleep(0.5)
    sent, copied = counted(cluster, first) - before[0], counted(cluster, second) - before[1]
    assert sent == 400
    assert 150 < copied < 250, copied


def test_headers_choose(cluster: Cluster, versions: tuple[str, str], route: Route) -> None:
    first, second = versions
    route.set(to(first))
    arm = rule(to(second), matches=[prefix(route.path, ("X-Arm", "b"))], filters=[rewrite("/")])
    spec = cluster.get(HTTP_ROUTES, route.name)["spec"]
    cluster.patch(HTTP_ROUTES, route.name, {"spec": {"rules": [*spec["rules"], arm]}})
    cluster.wait(HTTP_ROUTES, route.name, lambda r: accepted(r) and len(r["spec"]["rules"]) == 2)
    settle(route.url)
    for headers, answer in (({"X-Arm": "b"}, "v2"), ({"X-Arm": "c"}, "v1"), ({}, "v1"), ({"x-arm": "b"}, "v2")):
        assert get(route.url, **headers).json()["version"] == answer, headers


def test_a_route_takes_over_an_inference_service_and_gives_it_back(
    cluster: Cluster, versions: tuple[str, str], route: Route
) -> None:
    """The way from an InferenceService's own entry to a route, and back, under load."""
    cluster.create(INFERENCE_SERVICES, service(cluster, ENTRY, "v0"))
    url = cluster.wait(INFERENCE_SERVICES, ENTRY, ready)["status"]["url"]
    route.path = f"/serving/{cluster.namespace}/{ENTRY}"
    with load(f"{url}/v1/models/rec") as clients:
        assert set(clients.some(100)) == {"v0"}
        route.set(to(versions[0], 1), to(versions[1], 1))
        clients.some(20)
        assert set(clients.some(200)) == {"v1", "v2"}
        assert get(f"{url}/v1/models/rec?a=b").json()["path"] == "/v1/models/rec?a=b"
        cluster.delete(HTTP_ROUTES, route.name)
        wait_for(lambda: set(clients.some(50)) == {"v0"}, "the service's own entry")
    assert set(clients.answers) == {"v0", "v1", "v2"}, clients.answers
    cluster.delete(INFERENCE_SERVICES, ENTRY)


def test_new_pods_behind_a_route(cluster: Cluster, route: Route) -> None:
    """A Service's pods are replaced: the old ones get nothing new before they are told to end."""
    manifest = version(cluster, "v5")
    cluster.create(INFERENCE_SERVICES, manifest)
    cluster.wait(INFERENCE_SERVICES, f"{ENTRY}-v5", ready)
    route.set(to(f"{ENTRY}-v5-predictor"))
    settle(route.url)
    with load(route.url) as clients, load(f"{cluster.gateway.url}{route.path}/slow") as slow:
        clients.some(50)
        changed = predictor(cluster, "v5b") | {"name": ""}
        cluster.patch(INFERENCE_SERVICES, f"{ENTRY}-v5", {"spec": {"predictor": changed}})
        wait_for(lambda: set(clients.some(50)) == {"v5b"}, "the new pod alone", 90)
        clients.some(500)
        wait_for(lambda: "v5b" in slow.answers, "a slow answer of the new pod")
    assert set(clients.answers) == {"v5", "v5b"}, clients.answers
    assert set(slow.answers) == {"v5", "v5b"}, slow.answers
    cluster.delete(INFERENCE_SERVICES, f"{ENTRY}-v5")


def test_killed_controllers_leave_routes_as_they_are(rig: Rig, versions: tuple[str, str], route: Route) -> None:
    first, second = versions
    route.set(to(first))
    settle(route.url)
    with load(route.url) as clients:
        clients.some(50)
        rig.controllers.kill()
        route.change(to(second))
        assert set(clients.some(100)) == {"v1"}
        rig.controllers.start()
        rig.cluster.wait(HTTP_ROUTES, route.name, accepted)
        clients.some(20)
        assert set(clients.some(100)) == {"v2"}
    assert set(clients.answers) == {"v1", "v2"}, clients.answers
