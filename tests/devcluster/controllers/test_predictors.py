"""What an InferenceService asks for and what its pods say, without a cluster."""

from __future__ import annotations

import copy
import datetime as dt
from typing import Any

import pytest

from include.devcluster.controllers.gateway import Endpoint
from include.devcluster.controllers.predictor_pods import sort_pods
from include.devcluster.controllers.predictors import InvalidSpecError, pod_manifest, predictors_of
from include.devcluster.controllers.serving_backends import backends_of
from include.devcluster.controllers.serving_status import invalid_status, status_of

NOW = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
URL = "http://127.0.0.1:1/serving/podium/rec"


def container(version: str) -> list[dict[str, Any]]:
    return [
        {"name": "kserve-container", "image": "podium/serving:dev", "args": ["--model-uri", f"models:/rec/{version}"]}
    ]


def service(stable: dict[str, Any] | None = None, *canaries: tuple[str, int]) -> dict[str, Any]:
    spec: dict[str, Any] = {"predictor": stable or {"name": "v1", "containers": container("1")}}
    if canaries:
        spec["canary"] = [
            {"predictor": {"name": n, "containers": container(n)}, "trafficPercent": share} for n, share in canaries
        ]
    metadata = {"name": "rec", "namespace": "podium", "uid": "u1", "generation": 3}
    return {"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService", "metadata": metadata, "spec": spec}


def pods_for(isvc: dict[str, Any], ready: bool = True, **status: Any) -> list[dict[str, Any]]:
    made = []
    for number, predictor in enumerate(predictors_of(isvc)):
        for index in range(predictor.replicas):
            pod = pod_manifest(isvc, predictor, f"{predictor.workload}-{predictor.hash}-{index}")
            condition = {"type": "Ready", "status": str(ready)}
            address = f"127.64.{number}.{index + 1}"
            pod["status"] = {"phase": "Running", "podIP": address, "conditions": [condition], **status}
            made.append(pod)
    return made


def crash_looping(pod: dict[str, Any]) -> dict[str, Any]:
    waiting = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}}
    last = {"terminated": {"exitCode": 7, "reason": "Error", "message": "OSError: no such model"}}
    statuses = [{"name": "kserve-container", "state": waiting, "lastState": last, "restartCount": 3}]
    status = {**pod["status"], "conditions": [{"type": "Ready", "status": "False"}], "containerStatuses": statuses}
    return {**pod, "status": status}


def status(isvc: dict[str, Any], pods: list[dict[str, Any]]) -> dict[str, Any]:
    predictors = predictors_of(isvc)
    return status_of(isvc, predictors, [sort_pods(p, pods) for p in predictors], URL, NOW)


def condition(state: dict[str, Any], kind: str) -> dict[str, Any]:
    found: dict[str, Any] = next(c for c in state["conditions"] if c["type"] == kind)
    return found


def weights(isvc: dict[str, Any], pods: list[dict[str, Any]]) -> dict[str, int]:
    return {b.cluster: b.weight for b in backends_of(isvc, predictors_of(isvc), pods)}


def test_names_follow_kserve() -> None:
    named, canary = predictors_of(service(None, ("v2", 10)))
    (nameless,) = predictors_of(service({"containers": container("1")}))
    assert (named.workload, canary.workload, nameless.workload) == (
        "rec-v1-predictor",
        "rec-v2-predictor",
        "rec-predictor",
    )
    pod = pod_manifest(service(), named, "x")
    assert pod["metadata"]["labels"]["serving.kserve.io/inferenceservice"] == "rec"
    assert pod["metadata"]["labels"]["component"] == "predictor"
    assert pod["spec"]["restartPolicy"] == "Always"


def test_promotion_keeps_the_canarys_pods() -> None:
    with_canary = service(None, ("v2", 100))
    promoted = service({"name": "v2", "containers": container("v2")})
    before, after = predictors_of(with_canary)[1], predictors_of(promoted)[0]
    assert (before.workload, before.hash) == (after.workload, after.hash)
    pods = pods_for(with_canary)
    sorting = sort_pods(after, pods)
    assert (len(sorting.serving), sorting.missing, sorting.rolled_out) == (1, (), True)
    assert weights(promoted, pods) == {"podium_rec_v2": 100, "podium_rec_v1": 0}


def test_a_canary_inherits_what_it_does_not_set() -> None:
    isvc = service({"name": "v1", "containers": container("1"), "nodeSelector": {"pool": "general"}}, ("v2", 10))
    assert predictors_of(isvc)[1].template["spec"]["nodeSelector"] == {"pool": "general"}


@pytest.mark.parametrize(("replicas", "share", "expected"), [(1, 10, 1), (4, 30, 2), (1, 0, 0)])
def test_a_canary_has_its_share_of_the_replicas(replicas: int, share: int, expected: int) -> None:
    isvc = service({"name": "v1", "containers": container("1"), "minReplicas": replicas}, ("v2", share))
    assert predictors_of(isvc)[1].replicas == expected


def test_replicas_do_not_change_the_template() -> None:
    one, three = (
        predictors_of(service({"name": "v1", "containers": container("1"), "minReplicas": n}))[0] for n in (1, 3)
    )
    assert one.hash == three.hash


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"canary": [{"predictor": {"containers": container("2")}, "trafficPercent": 5}]}, "name is required"),
        ({"canary": [{"predictor": {"name": "v1"}, "trafficPercent": 5}]}, "not unique"),
        ({"canary": [{"predictor": {"name": "v2"}, "trafficPercent": 101}]}, "at most 100"),
        ({"canary": [{"predictor": {"name": f"v{i}"}, "trafficPercent": 60} for i in (2, 3)]}, "at most 100"),
        ({"canary": [{"predictor": {"name": "v2"}}]}, "trafficPercent"),
        ({"predictor": {"name": "v1"}}, "neither containers nor a model"),
        ({"predictor": {"model": {"modelFormat": {"name": "sklearn"}}}}, "set model.image"),
        ({"predictor": None}, "shape"),
        (
            {"predictor": {"model": {"name": "kserve-container", "image": "podium/serving:dev"}}},
            "'name' field is not allowed in standard predictor",
        ),
    ],
)
def test_invalid_specs_are_refused_with_the_mend(change: dict[str, Any], words: str) -> None:
    isvc = service()
    isvc["spec"] |= change
    with pytest.raises(InvalidSpecError, match=words) as error:
        predictors_of(isvc)
    state = invalid_status({**isvc, "status": {"url": URL}}, str(error.value), NOW)
    assert condition(state, "Ready")["reason"] == "InvalidSpec"
    assert (state["url"], state["observedGeneration"]) == (URL, 3)


def test_a_container_without_probe_gets_one() -> None:
    probe = predictors_of(service())[0].template["spec"]["containers"][0]["readinessProbe"]
    assert probe["tcpSocket"] == {"port": 8080}


def test_ready_service() -> None:
    isvc = service(None, ("v2", 10))
    state = status(isvc, pods_for(isvc))
    kinds = ["CanaryPredictorReady", "IngressReady", "PredictorReady", "Ready"]
    assert [c["type"] for c in state["conditions"]] == kinds
    assert all(c["status"] == "True" for c in state["conditions"])
    assert (state["url"], state["observedGeneration"], state["deploymentMode"]) == (URL, 3, "Standard")
    canary = state["canaryStatuses"][0]
    assert (canary["name"], canary["ready"], canary["trafficPercent"]) == ("v2", True, 10)
    assert state["modelStatus"]["states"] == {"activeModelState": "Loaded", "targetModelState": "Loaded"}


def test_only_ready_canaries_get_traffic() -> None:
    isvc = service(None, ("v2", 10), ("v3", 20))
    v1, v2, v3 = pods_for(isvc)
    assert weights(isvc, [v1, v2, v3]) == {"podium_rec_v1": 70, "podium_rec_v2": 10, "podium_rec_v3": 20}
    state = status(isvc, [v1, v2, crash_looping(v3)])
    assert weights(isvc, [v1, v2, crash_looping(v3)]) == {"podium_rec_v1": 90, "podium_rec_v2": 10, "podium_rec_v3": 0}
    assert condition(state, "Ready")["status"] == "True"
    canaries = condition(state, "CanaryPredictorReady")
    assert (canaries["status"], canaries["reason"]) == ("False", "CanariesNotReady")
    failure = state["canaryStatuses"][1]["modelStatus"]["lastFailureInfo"]
    assert failure["exitCode"] == 7
    assert (
        failure["message"] == "CrashLoopBackOff: container kserve-container exited with code 7: OSError: no such model"
    )


def test_a_crash_looping_predictor_is_never_ready() -> None:
    isvc = service()
    state = status(isvc, [crash_looping(pods_for(isvc)[0])])
    assert condition(state, "Ready")["reason"] == "CrashLoopBackOff"
    assert "exited with code 7" in condition(state, "Ready")["message"]
    assert state["modelStatus"]["transitionStatus"] == "BlockedByFailedLoad"
    assert "url" not in state


def test_a_changed_spec_serves_from_the_old_pods_until_the_new_are_ready() -> None:
    old, new = service(), service({"name": "v1", "containers": container("9")})
    old_pods, new_pods = pods_for(old), pods_for(new, ready=False)
    predictor = predictors_of(new)[0]
    rolling = sort_pods(predictor, old_pods + new_pods)
    assert (list(rolling.serving), rolling.draining, rolling.rolled_out) == (old_pods, (), False)
    assert status(new, old_pods + new_pods)["modelStatus"]["transitionStatus"] == "InProgress"
    done = sort_pods(predictor, old_pods + pods_for(new))
    assert list(done.draining) == old_pods
    (backend,) = backends_of(new, [predictor], old_pods + pods_for(new))
    assert {e.draining for e in backend.endpoints} == {True, False}


def test_a_removed_canary_drains_without_share() -> None:
    with_canary, without = service(None, ("v2", 50)), service()
    pods = pods_for(with_canary)
    backends = backends_of(without, predictors_of(without), pods)
    assert [(b.cluster, b.weight) for b in backends] == [("podium_rec_v1", 100), ("podium_rec_v2", 0)]
    assert backends[1].endpoints == (Endpoint("127.64.1.1", 8080, draining=True),)


def test_the_former_predictor_stands_in_until_the_new_one_is_ready() -> None:
    old, new = service(), service({"name": "v9", "containers": container("9")})
    old_pods = pods_for(old)
    new["status"] = status(old, old_pods)
    starting = old_pods + pods_for(new, ready=False)
    assert weights(new, starting) == {"podium_rec_v9": 0, "podium_rec_v1": 100}
    assert not any(e.draining for b in backends_of(new, predictors_of(new), starting) for e in b.endpoints if b.weight)
    during = status(new, starting)
    assert condition(during, "Ready")["status"] == "False"
    new["status"] = during
    assert weights(new, starting) == {"podium_rec_v9": 0, "podium_rec_v1": 100}, "for as long as it takes"
    done = old_pods + pods_for(new)
    assert weights(new, done) == {"podium_rec_v9": 100, "podium_rec_v1": 0}
    assert status(new, done)["components"]["predictor"]["latestReadyRevision"] == "rec-v9-predictor"


def test_all_replicas_make_a_predictor_ready() -> None:
    isvc = service({"name": "v1", "containers": container("1"), "minReplicas": 2})
    first, second = pods_for(isvc)
    assert condition(status(isvc, [first]), "Ready")["status"] == "False"
    assert weights(isvc, [first]) == {"podium_rec_v1": 100}, "what is ready serves"
    assert condition(status(isvc, [first, second]), "Ready")["status"] == "True"


def test_ended_pods_are_replaced() -> None:
    isvc = service()
    (pod,) = pods_for(isvc, phase="Failed")
    sorting = sort_pods(predictors_of(isvc)[0], [pod])
    assert (list(sorting.dead), sorting.serving, sorting.missing) == ([pod], (), ())


def test_a_condition_keeps_its_time_until_it_changes() -> None:
    isvc = service()
    first = status(isvc, pods_for(isvc))
    later = copy.deepcopy(first)
    for entry in later["conditions"]:
        entry["lastTransitionTime"] = "2020-01-01T00:00:00Z"
    assert status({**isvc, "status": later}, pods_for(isvc))["conditions"] == later["conditions"]
    down = status({**isvc, "status": later}, pods_for(isvc, ready=False))
    assert condition(down, "Ready")["lastTransitionTime"] == "2026-01-02T03:04:05Z"
