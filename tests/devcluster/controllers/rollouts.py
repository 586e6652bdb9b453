"""InferenceServices for tests: manifests, changes, and clients that count every answer."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from include.devcluster.controllers.inference_service import INFERENCE_SERVICES
from include.devcluster.controllers.objects import Manifest, has_condition
from tests.devcluster.controllers.cluster import Cluster
from tests.devcluster.controllers.support import wait_for


def predictor(cluster: Cluster, version: str, **environment: str) -> Manifest:
    variables = [{"name": key, "value": value} for key, value in {"VERSION": version, **environment}.items()]
    address = {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    probe = {"httpGet": {"path": "/v1/models/rec", "port": 8080}, "periodSeconds": 1}
    container = cluster.container("kserve-container", "predictor.py", env=[*variables, address], readinessProbe=probe)
    container |= {"ports": [{"containerPort": 8080}], "resources": {"requests": {"cpu": "10m"}}}
    return {"name": version, "containers": [container], "volumes": [cluster.tools], "terminationGracePeriodSeconds": 5}


def service(cluster: Cluster, name: str, stable: str = "v1") -> Manifest:
    annotations = {"serving.kserve.io/deploymentMode": "Standard"}
    return {"metadata": {"name": name, "annotations": annotations}, "spec": {"predictor": predictor(cluster, stable)}}


def canary(cluster: Cluster, version: str, share: int, **environment: str) -> list[Manifest]:
    return [{"predictor": predictor(cluster, version, **environment), "trafficPercent": share}]


def condition(isvc: Manifest, kind: str) -> bool:
    return has_condition((isvc.get("status") or {}).get("conditions") or [], kind)


def observed(isvc: Manifest) -> bool:
    return bool((isvc.get("status") or {}).get("observedGeneration") == isvc["metadata"]["generation"])


def ready(isvc: Manifest) -> bool:
    canaries = (isvc.get("status") or {}).get("canaryStatuses") or []
    return observed(isvc) and condition(isvc, "Ready") and all(entry["ready"] for entry in canaries)


def pods_of(cluster: Cluster, name: str, version: str) -> list[Manifest]:
    wanted = {"serving.kserve.io/inferenceservice": name, "app": f"isvc.{name}-{version}-predictor"}
    return [p for p in cluster.pods() if wanted.items() <= p["metadata"]["labels"].items()]


class Load:
    """Clients that call a URL without pause; every answer counts."""

    def __init__(self) -> None:
        self.answers: Counter[str] = Counter()
        self.lock = threading.Lock()
        self.stopped = threading.Event()

    def note(self, answer: str) -> None:
        with self.lock:
            self.answers[answer] += 1

    def some(self, count: int) -> Counter[str]:
        """The next ``count`` answers."""
        with self.lock:
            before = Counter(self.answers)
        wait_for(lambda: self.answers.total() - before.total() >= count, "answers")
        with self.lock:
            return self.answers - before

    def run(self, url: str) -> None:
        with httpx.Client(trust_env=False, timeout=30) as client:
            while not self.stopped.is_set():
                try:
                    response = client.get(url)
                    self.note(response.json()["version"] if response.status_code == 200 else str(response.status_code))
                except Exception as error:  # whatever it is, it is not an answer
                    self.note(repr(error))


@contextmanager
def load(url: str, clients: int = 4) -> Iterator[Load]:
    running = Load()
    threads = [threading.Thread(target=running.run, args=(url,)) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield running
    finally:
        running.stopped.set()
        for thread in threads:
            thread.join(30)


def change(cluster: Cluster, name: str, until: Callable[[Manifest], bool] = ready, **spec: Any) -> Manifest:
    cluster.patch(INFERENCE_SERVICES, name, {"spec": spec})
    return cluster.wait(INFERENCE_SERVICES, name, until)
