"""InferenceService on a cluster: rollouts under load without a lost request, readiness, draining."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import httpx
import pytest

from include.devcluster.controllers.inference_service import INFERENCE_SERVICES
from include.devcluster.controllers.objects import PODS, Manifest, is_deleting
from tests.devcluster.controllers.cluster import Cluster
from tests.devcluster.controllers.rollouts import (
    canary,
    change,
    condition,
    load,
    observed,
    pods_of,
    predictor,
    ready,
    service,
)
from tests.devcluster.controllers.support import wait_for


@pytest.fixture
def isvc(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """A ready service with one predictor, v1; deleted at the end."""
    name = request.node.name.removeprefix("test_").replace("_", "-")[:20].strip("-")
    cluster.create(INFERENCE_SERVICES, service(cluster, name))
    cluster.wait(INFERENCE_SERVICES, name, ready)
    yield name
    cluster.delete(INFERENCE_SERVICES, name)
    wait_for(lambda: not [p for p in cluster.pods() if p["metadata"]["name"].startswith(name)], f"pods of {name} to go")


def test_rollout_loses_nothing(cluster: Cluster, isvc: str) -> None:
    """Five weights, promotion, another canary and its rollback, all under load."""
    url = cluster.get(INFERENCE_SERVICES, isvc)["status"]["url"]
    assert url == f"{cluster.gateway.url}/serving/{cluster.namespace}/{isvc}"
    with load(f"{url}/v1/models/rec") as clients:
        assert set(clients.some(100)) == {"v1"}
        for share in (0, 10, 50, 90, 100):
            entry = canary(cluster, "v2", share)
            entry[0]["predictor"]["minReplicas"] = 1
            changed = change(cluster, isvc, canary=entry)
            assert changed["status"]["canaryStatuses"][0]["trafficPercent"] == share
            clients.some(20)  # what was on its way
            answers = clients.some(600)
            assert abs(answers["v2"] / answers.total() * 100 - share) < 8, (share, answers)
        before = pods_of(cluster, isvc, "v2")
        change(cluster, isvc, predictor=predictor(cluster, "v2"), canary=None)
        wait_for(lambda: not pods_of(cluster, isvc, "v1"), "the old predictor to drain")
        after = pods_of(cluster, isvc, "v2")
        assert [p["metadata"]["uid"] for p in after] == [p["metadata"]["uid"] for p in before], "promoted in place"
        assert after[0]["status"]["containerStatuses"][0]["restartCount"] == 0
        assert set(clients.some(200)) == {"v2"}
        change(cluster, isvc, canary=canary(cluster, "v3", 50))
        assert set(clients.some(200)) == {"v2", "v3"}
        change(cluster, isvc, canary=None)
        wait_for(lambda: not pods_of(cluster, isvc, "v3"), "the canary to drain")
        assert set(clients.some(200)) == {"v2"}
    assert set(clients.answers) == {"v1", "v2", "v3"}, clients.answers


def test_new_spec_rolls_over(cluster: Cluster, isvc: str) -> None:
    url = cluster.get(INFERENCE_SERVICES, isvc)["status"]["url"]
    with load(f"{url}/v1/models/rec") as clients:
        clients.some(50)
        changed = predictor(cluster, "v1", VERSION="v1b")
        cluster.patch(INFERENCE_SERVICES, isvc, {"spec": {"predictor": changed}})
        wait_for(lambda: "v1b" in clients.answers, "the new pods to answer")
        wait_for(lambda: len(pods_of(cluster, isvc, "v1")) == 1, "the old pod to go")
        assert set(clients.some(200)) == {"v1b"}
    assert set(clients.answers) == {"v1", "v1b"}, clients.answers


def test_another_predictor_at_once(cluster: Cluster, isvc: str) -> None:
    """The way back to a version that no pod serves: the old one answers until the new one can."""
    url = cluster.get(INFERENCE_SERVICES, isvc)["status"]["url"]
    with load(f"{url}/v1/models/rec") as clients:
        clients.some(50)
        change(cluster, isvc, predictor=predictor(cluster, "v0"))
        wait_for(lambda: not pods_of(cluster, isvc, "v1"), "the old pod to go")
        assert set(clients.some(200)) == {"v0"}
    assert set(clients.answers) == {"v1", "v0"}, clients.answers


def test_crash_looping_canary(cluster: Cluster, isvc: str) -> None:
    url = cluster.get(INFERENCE_SERVICES, isvc)["status"]["url"]
    with load(f"{url}/v1/models/rec") as clients:
        cluster.patch(INFERENCE_SERVICES, isvc, {"spec": {"canary": canary(cluster, "bad", 50, CRASH="1")}})

        def looping(state: Manifest) -> bool:
            entries = (state.get("status") or {}).get("canaryStatuses") or [{}]
            info = (entries[0].get("modelStatus") or {}).get("lastFailureInfo") or {}
            return "CrashLoopBackOff" in str(info.get("message"))

        state = cluster.wait(INFERENCE_SERVICES, isvc, looping)
        (entry,) = state["status"]["canaryStatuses"]
        assert (entry["ready"], entry["trafficPercent"]) == (False, 50)
        assert entry["modelStatus"]["lastFailureInfo"]["exitCode"] == 7
        assert condition(state, "Ready")
        assert not condition(state, "CanaryPredictorReady")
        clients.some(300)
        change(cluster, isvc, canary=None)
    assert set(clients.answers) == {"v1"}, clients.answers


def test_drain_waits_for_slow(cluster: Cluster, isvc: str) -> None:
    url = cluster.get(INFERENCE_SERVICES, isvc)["status"]["url"]
    change(cluster, isvc, canary=canary(cluster, "v2", 100))
    answers: list[str] = []

    def call() -> None:
        answers.append(httpx.get(f"{url}/slow", trust_env=False, timeout=30).json()["version"])

    slow = threading.Thread(target=call)
    slow.start()
    stats = f"{cluster.gateway.admin_url}/stats?filter=cluster.{cluster.namespace}_{isvc}_v2.upstream_rq_active"
    shown = {"Authorization": f"Bearer {cluster.gateway.token}"}

    def counted() -> str:
        return httpx.get(stats, headers=shown, trust_env=False).text

    wait_for(lambda: "upstream_rq_active: 1" in counted(), "the slow request")
    change(cluster, isvc, canary=None)
    (pod,) = pods_of(cluster, isvc, "v2")
    assert not is_deleting(pod), "the pod lives while it answers"
    slow.join(30)
    assert answers == ["v2"]
    wait_for(lambda: not pods_of(cluster, isvc, "v2"), "the canary to go")


def test_lost_pod_is_replaced(cluster: Cluster, isvc: str) -> None:
    (pod,) = pods_of(cluster, isvc, "v1")
    cluster.delete(PODS, pod["metadata"]["name"], grace_s=0)

    def replaced() -> bool:
        now = pods_of(cluster, isvc, "v1")
        return len(now) == 1 and now[0]["metadata"]["uid"] != pod["metadata"]["uid"]

    wait_for(replaced, "a new pod")
    cluster.wait(INFERENCE_SERVICES, isvc, ready)
    url = cluster.get(INFERENCE_SERVICES, isvc)["status"]["url"]
    wait_for(lambda: httpx.get(f"{url}/x", trust_env=False).status_code == 200, "answers")


def test_invalid_spec(cluster: Cluster, isvc: str) -> None:
    def refused(state: Manifest) -> bool:
        return observed(state) and not condition(state, "Ready")

    state = change(cluster, isvc, refused, canary=[{"predictor": {"name": "v2"}, "trafficPercent": 120}])
    message = next(c["message"] for c in state["status"]["conditions"] if c["type"] == "Ready")
    assert "at most 100" in message
    url = state["status"]["url"]
    assert httpx.get(f"{url}/x", trust_env=False).json()["version"] == "v1", "it goes on as it was"
    change(cluster, isvc, canary=None)
