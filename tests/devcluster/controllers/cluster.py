"""A cluster with the controllers running on it: the dev cluster by default, a real one by its kubeconfig."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from include.devcluster.controllers.client import Credentials
from include.devcluster.controllers.objects import CONFIG_MAPS, EVENTS, PODS, Manifest, Resource, labels_of
from tests.devcluster.controllers.support import Gateway, wait_for

TOOLS = Path(__file__).parent / "tools"
NAMESPACES = Resource("", "v1", "namespaces", "Namespace")
CRDS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition")


@dataclass(frozen=True)
class Cluster:
    """What tests do with it. ``image`` has a Python 3.11 and nothing else; programs come from a config map."""

    api: httpx.Client
    namespace: str
    image: str
    gateway: Gateway
    real: bool

    @classmethod
    def connect(cls, kubeconfig: Path, namespace: str, image: str, gateway: Gateway, real: bool) -> Cluster:
        credentials = Credentials.from_kubeconfig(kubeconfig)
        context = credentials.ssl_context()
        verify: ssl.SSLContext | bool = context
        headers = {"Authorization": f"Bearer {credentials.token}"} if credentials.token else {}
        client = httpx.Client(base_url=credentials.server, headers=headers, verify=verify, trust_env=False, timeout=30)
        return cls(client, namespace, image, gateway, real)

    def call(self, method: str, path: str, body: Manifest | None = None, kind: str = "application/json") -> Manifest:
        response = self.api.request(method, path, json=body, headers={"Content-Type": kind} if body else {})
        if response.status_code >= 400:
            raise AssertionError(f"{method} {path}: {response.status_code} {response.text}")
        result: Manifest = response.json()
        return result

    def create(self, resource: Resource, manifest: Manifest) -> Manifest:
        full = {"apiVersion": resource.api_version, "kind": resource.kind, **manifest}
        return self.call("POST", resource.path(self.namespace), full)

    def patch(self, resource: Resource, name: str, change: Manifest) -> Manifest:
        path = resource.path(self.namespace, name)
        return self.call("PATCH", path, change, "application/merge-patch+json")

    def get(self, resource: Resource, name: str) -> Manifest:
        return self.call("GET", resource.path(self.namespace, name))

    def exists(self, resource: Resource, name: str) -> bool:
        return self.api.get(resource.path(self.namespace, name)).status_code == 200

    def items(self, resource: Resource) -> list[Manifest]:
        return list(self.call("GET", resource.path(self.namespace))["items"])

    def delete(self, resource: Resource, name: str, grace_s: int | None = None) -> None:
        query = "" if grace_s is None else f"?gracePeriodSeconds={grace_s}"
        self.call("DELETE", resource.path(self.namespace, name) + query)

    def pods(self, **wanted: str) -> list[Manifest]:
        """Pods by label, by name; keywords are the last part of ``training.kubeflow.org/...`` labels."""
        labels = {f"training.kubeflow.org/{key.replace('_', '-')}": value for key, value in wanted.items()}
        found = [p for p in self.items(PODS) if labels.items() <= labels_of(p).items()]
        return sorted(found, key=lambda p: str(p["metadata"]["name"]))

    def log(self, pod: str) -> str:
        return self.api.get(PODS.path(self.namespace, pod, "log")).text

    def wait_for_events(self, name: str, *reasons: str) -> None:
        """Events follow the status that they announce."""

        def reported() -> set[str]:
            return {e["reason"] for e in self.items(EVENTS) if e["involvedObject"]["name"] == name}

        wait_for(lambda: set(reasons) <= reported(), f"events {reasons} of {name}", 30)

    def wait(self, resource: Resource, name: str, holds: Callable[[Manifest], bool], seconds: float = 90) -> Manifest:
        """Wait until the object satisfies ``holds``; a failure shows the object and its pods."""
        latest: Manifest = {}

        def check() -> bool:
            latest.clear()
            latest.update(self.get(resource, name))
            return holds(latest)

        try:
            wait_for(check, name, seconds)
        except AssertionError as error:
            pods = [(p["metadata"]["name"], p.get("status")) for p in self.items(PODS)]
            raise AssertionError(f"{error}: {latest.get('status')}; pods {pods}") from error
        return latest

    def container(self, name: str, script: str, **fields: Any) -> Manifest:
        """A container that runs one of the programs in ``tools/``."""
        mounts = [{"name": "tools", "mountPath": "/opt/tools"}]
        return {
            "name": name,
            "image": self.image,
            "command": ["python3", f"/opt/tools/{script}"],
            "volumeMounts": mounts,
            **fields,
        }

    @property
    def tools(self) -> Manifest:
        """The volume with the programs."""
        return {"name": "tools", "configMap": {"name": "tools", "defaultMode": 0o755}}

    def install_tools(self) -> None:
        data = {file.name: file.read_text() for file in TOOLS.iterdir() if file.is_file()}
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "tools"}, "data": data}
        path = CONFIG_MAPS.path(self.namespace, "tools") + "?fieldManager=tests&force=true"
        self.call("PATCH", path, body, "application/apply-patch+yaml")
