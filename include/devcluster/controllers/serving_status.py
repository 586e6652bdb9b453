"""The status of an InferenceService, computed from its predictors' pods.

Types, reasons and states are KServe's (pkg/apis/serving/v1beta1/inference_service_status.go). Only the stable predictor
counts for Ready; what keeps a pod from being ready is in the condition's message and in ``modelStatus``.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from include.devcluster.controllers.objects import Manifest, dated
from include.devcluster.controllers.predictor_pods import Pods, Trouble
from include.devcluster.controllers.predictors import Predictor


def status_of(
    service: Manifest, predictors: Sequence[Predictor], pods: Sequence[Pods], url: str, now: dt.datetime
) -> Manifest:
    """The whole status of a valid service."""
    before = service.get("status") or {}
    stable, *canaries = pods
    trouble = stable.troubles[0] if stable.troubles else None
    ready = len(stable.serving) >= predictors[0].replicas
    if ready:
        own = _condition("PredictorReady", True)
        ingress = _condition("IngressReady", True)
    else:
        reason, message = _explain(predictors[0], trouble)
        own = _condition("PredictorReady", False, reason, message)
        ingress = _condition("IngressReady", False, "Predictor ingress not created")
    conditions = [ingress, own, {**own, "type": "Ready"}]
    if canaries:
        waiting = [p.name for p, s in zip(predictors[1:], canaries, strict=True) if not s.ready]
        texts = [f"{t.pod}: {t.reason} {t.message}".strip() for s in canaries for t in s.troubles]
        reason, message = ("CanariesNotReady", "; ".join(texts)) if waiting else ("AllCanariesReady", "")
        # Knative marks conditions outside the Ready set so.
        conditions.append({**_condition("CanaryPredictorReady", not waiting, reason, message), "severity": "Info"})
    component = dict((before.get("components") or {}).get("predictor") or {})
    if ready:
        component = {"url": url, "latestReadyRevision": predictors[0].workload}
    status: Manifest = {
        "observedGeneration": service["metadata"]["generation"],
        "deploymentMode": "Standard",
        "conditions": dated(conditions, before.get("conditions") or [], now),
        "components": {"predictor": component},
        "modelStatus": _model_status(predictors[0], stable),
    }
    if ready or before.get("url"):
        status |= {"url": url, "address": {"url": url}}
    if canaries:
        status["canaryStatuses"] = [
            {
                "name": predictor.name,
                "ready": bool(sorting.ready),
                "trafficPercent": predictor.traffic,
                "modelStatus": _model_status(predictor, sorting),
            }
            for predictor, sorting in zip(predictors[1:], canaries, strict=True)
        ]
    return status


def invalid_status(service: Manifest, message: str, now: dt.datetime) -> Manifest:
    """The status of a service that cannot be served; what was there before goes on."""
    before = service.get("status") or {}
    conditions = [_condition(kind, False, "InvalidSpec", message) for kind in ("PredictorReady", "Ready")]
    model = {"transitionStatus": "InvalidSpec"}
    conditions = dated(conditions, before.get("conditions") or [], now)
    generation = service["metadata"]["generation"]
    return {**before, "observedGeneration": generation, "conditions": conditions, "modelStatus": model}


def _explain(predictor: Predictor, trouble: Trouble | None) -> tuple[str, str]:
    if trouble is None:
        return "MinimumReplicasUnavailable", f"{predictor.workload} has no ready pod yet."
    return trouble.reason, f"{trouble.pod}: {trouble.message}"


def _model_status(predictor: Predictor, pods: Pods) -> Manifest:
    copies = {"failedCopies": len(pods.troubles), "totalCopies": pods.ready}
    active = "Loaded" if pods.serving else "Pending"
    if pods.rolled_out:
        return {"transitionStatus": "UpToDate", "copies": copies, "states": _states(active, "Loaded")}
    if not pods.troubles:
        return {"transitionStatus": "InProgress", "copies": copies, "states": _states(active, "Loading")}
    trouble = pods.troubles[0]
    failure = {
        "location": trouble.pod,
        "reason": "ModelLoadFailed",
        "message": f"{trouble.reason}: {trouble.message}",
        "modelRevisionName": predictor.workload,
        "exitCode": trouble.exit_code,
    }
    states = _states(active, "FailedToLoad")
    return {"transitionStatus": "BlockedByFailedLoad", "copies": copies, "states": states, "lastFailureInfo": failure}


def _states(active: str, target: str) -> dict[str, str]:
    return {"activeModelState": active, "targetModelState": target}


def _condition(kind: str, ready: bool, reason: str = "", message: str = "") -> Manifest:
    condition = {"type": kind, "status": "True" if ready else "False", "reason": reason, "message": message}
    return {key: value for key, value in condition.items() if value}
