"""The predictors of an InferenceService: what each one's pods look like, and what its pods say about it.

Names follow KServe's Standard mode: ``<service>[-<predictor name>]-predictor`` is the Deployment there and the prefix
of the pods here. A pod's name carries a hash of its template, so a changed spec makes new pods beside the old ones,
and promoting a canary (``spec.predictor`` becomes the canary's spec) keeps its pods, for name and template stay.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from include.devcluster.controllers.objects import (
    Manifest,
    labels_of,
    merge,
    short_hash,
)

CONTAINER = "kserve-container"
DEFAULT_PORT = 8080
SERVICE_LABEL = "serving.kserve.io/inferenceservice"
APP_LABEL = "app"
HASH_LABEL = "pod-template-hash"

# Fields of a predictor that are not the pod's (kserve pkg/apis/serving/v1beta1: predictor.go, component.go).
COMPONENT_FIELDS = frozenset(
    {
        "name", "model", "sklearn", "xgboost", "tensorflow", "pytorch", "triton", "onnx", "huggingface", "pmml",
        "lightgbm", "paddle", "storageUris", "storageContainerName", "workerSpec", "minReplicas", "maxReplicas",
        "scaleTarget", "scaleMetric", "scaleMetricType", "autoScaling", "containerConcurrency", "timeout",
        "canaryTrafficPercent", "logger", "batcher", "labels", "annotations", "deploymentStrategy",
    }
)  # fmt: skip
MODEL_FIELDS = frozenset(
    {
        "modelFormat", "runtime", "runtimeVersion", "storageUri", "storage", "protocolVersion", "confidential",
    }
)  # fmt: skip


class InvalidSpecError(Exception):
    """The InferenceService cannot be served; the message names the field and the mend."""


@dataclass(frozen=True)
class Predictor:
    """One predictor as wanted: its pods' template, how many, and its share of the traffic in percent."""

    name: str
    workload: str
    template: Manifest
    replicas: int
    traffic: int

    @property
    def hash(self) -> str:
        """Identifies the template, in names and labels."""
        return short_hash(self.template)

    @property
    def port(self) -> int:
        """The port that the server listens on."""
        ports = self.template["spec"]["containers"][0].get("ports") or []
        return int(ports[0]["containerPort"]) if ports else DEFAULT_PORT


def workload_name(service: str, predictor: str) -> str:
    """KServe's PredictorServiceName."""
    return f"{service}-{predictor}-predictor" if predictor else f"{service}-predictor"


def predictors_of(service: Manifest) -> list[Predictor]:
    """The stable predictor, then the canaries. A canary inherits from the stable one what it does not set.

    Raises :class:`InvalidSpecError` for what KServe's schema and webhook refuse.
    """
    try:
        return _predictors_of(service)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidSpecError(f"spec does not have the shape of an InferenceService: {error!r}") from error


def _predictors_of(service: Manifest) -> list[Predictor]:
    spec = service["spec"]
    stable = spec["predictor"]
    canaries = spec.get("canary") or []
    names = [stable.get("name", ""), *(canary["predictor"].get("name", "") for canary in canaries)]
    shares = [int(canary["trafficPercent"]) for canary in canaries]
    if "" in names[1:]:
        raise InvalidSpecError(f"spec.canary[{names[1:].index('')}].predictor.name is required: name each canary")
    if len(set(names)) != len(names):
        raise InvalidSpecError(f"predictor names {names} are not unique: give each predictor a name of its own")
    if any(not 0 <= share <= 100 for share in shares) or sum(shares) > 100:
        raise InvalidSpecError(f"spec.canary trafficPercent {shares} must each be 0 to 100 and sum to at most 100")
    replicas = max(1, int(stable.get("minReplicas") or 1))
    result = [_predictor(service, stable, replicas, 100 - sum(shares))]
    for canary, share in zip(canaries, shares, strict=True):
        own = canary["predictor"].get("minReplicas")
        count = int(own) if own is not None else math.ceil(replicas * share / 100)
        result.append(_predictor(service, merge(stable, canary["predictor"]), count, share))
    return result


def _predictor(service: Manifest, spec: Manifest, replicas: int, traffic: int) -> Predictor:
    pod_spec = {key: value for key, value in spec.items() if key not in COMPONENT_FIELDS}
    pod_spec["containers"] = _containers(spec)
    pod_spec.setdefault("restartPolicy", "Always")
    name = spec.get("name", "")
    template = {
        "metadata": {"labels": spec.get("labels") or {}, "annotations": spec.get("annotations") or {}},
        "spec": pod_spec,
    }
    return Predictor(name, workload_name(service["metadata"]["name"], name), template, replicas, traffic)


def _containers(spec: Manifest) -> list[Manifest]:
    containers = list(spec.get("containers") or [])
    if model := spec.get("model"):
        if model.get("name"):
            # As KServe's admission says it: the runtime names the container.
            raise InvalidSpecError(
                "the 'name' field is not allowed in standard predictor: drop spec.predictor.model.name"
            )
        if not model.get("image"):
            message = "spec.predictor.model names no image and no ServingRuntime exists here: set model.image"
            raise InvalidSpecError(f"{message}, or a container under spec.predictor.containers")
        containers.insert(0, {key: value for key, value in model.items() if key not in MODEL_FIELDS})
    if not containers:
        raise InvalidSpecError("spec.predictor has neither containers nor a model with an image: set one of them")
    main = dict(containers[0])
    if len(containers) == 1 or not main.get("name"):
        main["name"] = CONTAINER
    if not main.get("readinessProbe"):
        # As KServe does: without a probe a crash-looping server would be Ready between two crashes.
        port = (main.get("ports") or [{"containerPort": DEFAULT_PORT}])[0]["containerPort"]
        main["readinessProbe"] = {"tcpSocket": {"port": port}, "periodSeconds": 1, "timeoutSeconds": 1}
    return [main, *containers[1:]]


def pod_manifest(service: Manifest, predictor: Predictor, name: str) -> Manifest:
    """One pod of a predictor."""
    labels = {
        **labels_of(service),
        **predictor.template["metadata"]["labels"],
        APP_LABEL: f"isvc.{predictor.workload}",
        SERVICE_LABEL: service["metadata"]["name"],
        "component": "predictor",
        HASH_LABEL: predictor.hash,
    }
    metadata = {"name": name, "labels": labels, "annotations": predictor.template["metadata"]["annotations"]}
    return {"metadata": metadata, "spec": predictor.template["spec"]}
