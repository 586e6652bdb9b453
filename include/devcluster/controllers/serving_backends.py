"""How the gateway sees an InferenceService: which predictor gets which share of the traffic, and from which pods."""

from __future__ import annotations

from collections.abc import Sequence

from include.devcluster.controllers.gateway import Backend, Endpoint, cluster_name
from include.devcluster.controllers.objects import Manifest, is_ready, key_of, labels_of, phase
from include.devcluster.controllers.predictor_pods import orphans, sort_pods
from include.devcluster.controllers.predictors import APP_LABEL, Predictor


def backends_of(service: Manifest, predictors: Sequence[Predictor], pods: Sequence[Manifest]) -> tuple[Backend, ...]:
    """The gateway's view: shares for the stable predictor and ready canaries, none for what is leaving."""
    namespace, name = key_of(service)
    sorted_pods = [sort_pods(predictor, pods) for predictor in predictors]
    given = [p.traffic if s.ready else 0 for p, s in zip(predictors[1:], sorted_pods[1:], strict=True)]
    standing_in = stand_in(service, predictors, pods)
    weights = [0 if standing_in else 100 - sum(given), *given]
    result = []
    for predictor, sorting, weight in zip(predictors, sorted_pods, weights, strict=True):
        serving = [_endpoint(pod, predictor.port, False) for pod in sorting.serving]
        leaving = [_endpoint(pod, predictor.port, True) for pod in sorting.draining]
        endpoints = tuple(e for e in serving + leaving if e is not None)
        result.append(Backend(cluster_name(namespace, name, predictor.name), weight, endpoints))
    left: dict[str, list[Endpoint]] = {}
    for pod in orphans(predictors, pods):
        endpoint = _endpoint(pod, _port(pod), pod not in standing_in)
        if endpoint is not None:
            left.setdefault(cluster_name(namespace, name, _predictor_of(name, pod)), []).append(endpoint)
    for cluster, endpoints_left in sorted(left.items()):
        serves = any(not endpoint.draining for endpoint in endpoints_left)
        result.append(Backend(cluster, 100 - sum(given) if serves else 0, tuple(endpoints_left)))
    return tuple(result)


def stand_in(service: Manifest, predictors: Sequence[Predictor], pods: Sequence[Manifest]) -> list[Manifest]:
    """Pods of the predictor that was stable before: they serve until the new stable predictor can.

    KServe deletes them at once; the service would not answer until the new pods are ready.
    """
    before = ((service.get("status") or {}).get("components") or {}).get("predictor") or {}
    if len(sort_pods(predictors[0], pods).serving) >= predictors[0].replicas:
        return []
    app = f"isvc.{before.get('latestReadyRevision')}"
    return [pod for pod in orphans(predictors, pods) if labels_of(pod).get(APP_LABEL) == app and is_ready(pod)]


def _predictor_of(service_name: str, pod: Manifest) -> str:
    """The predictor's name in the name of the pod's workload, the inverse of ``workload_name``."""
    workload = labels_of(pod).get(APP_LABEL, "").removeprefix("isvc.")
    return workload.removeprefix(service_name).removesuffix("predictor").strip("-")


def _endpoint(pod: Manifest, port: int, draining: bool) -> Endpoint | None:
    # The address of a pod that has ended may be another pod's by now.
    address = (pod.get("status") or {}).get("podIP") if phase(pod) == "Running" else None
    return Endpoint(address, port, draining) if address else None


def _port(pod: Manifest) -> int:
    return Predictor("", "", {"spec": pod["spec"]}, 1, 0).port
