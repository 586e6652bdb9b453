"""The predictors of an InferenceService: what each one's pods look like, and what its pods say about it.

Names follow KServe's Standard mode: ``<service>[-<predictor name>]-predictor`` is the Deployment there and the prefix
of the pods here. A pod's name carries a hash of its template, so a changed spec makes new pods beside the old ones,
and promoting a canary (``spec.predictor`` becomes the canary's spec) keeps its pods, for name and template stay.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from include.devcluster.controllers.objects import (
    Manifest,
    container_statuses,
    is_deleting,
    is_ready,
    labels_of,
    merge,
    phase,
    short_hash,
    shorten,
)

CONTAINER = "kserve-container"
DEFAULT_PORT = 8080
SERVICE_LABEL = "serving.kserve.io/inferenceservice"
APP_LABEL = "app"
HASH_LABEL = "pod-template-hash"

# Fields of a predictor that are not the pod's (kserve pkg/apis/serving/v1beta1: predictor.go, component.go).
COMPONENT_FIELDS = frozenset(
    {
        "name",
        "model",
        "sklearn",
        "xgboost",
        "tensorflow",
        "pytorch",
        "triton",
        "onnx",
        "huggingface",
        "pmml",
        "lightgbm",
        "paddle",
        "storageUris",
        "storageContainerName",
        "workerSpec",
        "minReplicas",
        "maxReplicas",
        "scaleTarget",
        "scaleMetric",
        "scaleMetricType",
        "autoScaling",
        "containerConcurrency",
        "timeout",
        "canaryTrafficPercent",
        "logger",
        "batcher",
        "labels",
        "annotations",
        "deploymentStrategy",
    }
)
MODEL_FIELDS = frozenset(
    {
        "modelFormat",
        "runtime",
        "runtimeVersion",
        "storageUri",
        "storage",
        "protocolVersion",
        "confidential",
    }
)
WAITING_TROUBLES = frozenset(
    {
        "CrashLoopBackOff",
        "ImagePullBackOff",
        "ErrImagePull",
        "InvalidImageName",
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
    }
)


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


@dataclass(frozen=True)
class Trouble:
    """Why a pod is not ready."""

    pod: str
    reason: str
    message: str
    exit_code: int = 0


@dataclass(frozen=True)
class Pods:
    """A predictor's pods sorted by what to do with them."""

    missing: tuple[str, ...]
    serving: tuple[Manifest, ...]
    draining: tuple[Manifest, ...]
    dead: tuple[Manifest, ...]
    ready: int
    troubles: tuple[Trouble, ...]
    rolled_out: bool


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


def sort_pods(predictor: Predictor, pods: Sequence[Manifest]) -> Pods:
    """Compare a predictor's pods with what is wanted.

    Pods of an older template serve on until enough new ones are ready; then they drain. Pods that have ended
    (evicted, or their node lost) are dead and make room for new ones.
    """
    wanted = [f"{predictor.workload}-{predictor.hash}-{index}" for index in range(predictor.replicas)]
    own = [pod for pod in pods if labels_of(pod).get(APP_LABEL) == f"isvc.{predictor.workload}"]
    dead = [pod for pod in own if phase(pod) in ("Failed", "Succeeded")]
    alive = [pod for pod in own if pod not in dead]
    current = [pod for pod in alive if pod["metadata"]["name"] in wanted]
    older = [pod for pod in alive if pod["metadata"]["name"] not in wanted]
    ready = [pod for pod in current if is_ready(pod)]
    rolled_out = len(ready) >= predictor.replicas
    existing = {pod["metadata"]["name"] for pod in own}
    troubles = [trouble for pod in current if (trouble := trouble_of(pod)) is not None]
    return Pods(
        missing=tuple(name for name in wanted if name not in existing),
        serving=tuple(ready + ([] if rolled_out else [pod for pod in older if is_ready(pod)])),
        draining=tuple(older if rolled_out else []),
        dead=tuple(dead),
        ready=len(ready),
        troubles=tuple(troubles),
        rolled_out=rolled_out,
    )


def orphans(predictors: Sequence[Predictor], pods: Sequence[Manifest]) -> list[Manifest]:
    """Pods of predictors that the service does not have any more."""
    wanted = {f"isvc.{predictor.workload}" for predictor in predictors}
    return [pod for pod in pods if labels_of(pod).get(APP_LABEL) not in wanted]


def trouble_of(pod: Manifest) -> Trouble | None:
    """What keeps a pod from being ready, when it is more than the time it takes to start."""
    name = pod["metadata"]["name"]
    if is_ready(pod) or is_deleting(pod):
        return None
    for status in container_statuses(pod):
        waiting = (status.get("state") or {}).get("waiting") or {}
        last = (status.get("lastState") or {}).get("terminated") or (status.get("state") or {}).get("terminated") or {}
        code = int(last.get("exitCode") or 0)
        died = f"container {status['name']} exited with code {code}" if last else ""
        said = str(last.get("message") or waiting.get("message") or "").strip()
        text = shorten(": ".join(part for part in (died, said) if part))
        if waiting.get("reason") in WAITING_TROUBLES:
            return Trouble(name, waiting["reason"], text, code)
        if last:
            return Trouble(name, last.get("reason") or "Error", text, code)
    for condition in (pod.get("status") or {}).get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return Trouble(name, condition.get("reason") or "Unschedulable", condition.get("message") or "")
    return None
