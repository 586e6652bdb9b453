"""A namespace of the cluster under test, and the few verbs that tests are written in."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from kubernetes import client, config, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.stream import stream

Found = TypeVar("Found")
TERMINAL = ("Succeeded", "Failed")


def eventually(look: Callable[[], Found], timeout: float = 60.0, what: str = "") -> Found:
    """The first truthy value of `look`, within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what or look}; last seen: {found!r}")
        time.sleep(0.1)


class Cluster:
    """The official client on one namespace."""

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        self.kubeconfig, self.namespace = kubeconfig, namespace
        self.client = config.new_client_from_config(str(kubeconfig))
        self.core = client.CoreV1Api(self.client)
        self.custom = client.CustomObjectsApi(self.client)
        self.extensions = client.ApiextensionsV1Api(self.client)

    def make_namespace(self) -> None:
        self.core.create_namespace({"metadata": {"name": self.namespace}})
        eventually(self._has_account, what="the default service account")

    def _has_account(self) -> bool:
        accounts = self.core.list_namespaced_service_account(self.namespace).items
        return any(a.metadata.name == "default" for a in accounts)

    def drop_namespace(self) -> None:
        for pod in self.core.list_namespaced_pod(self.namespace).items:
            self.core.delete_namespaced_pod(pod.metadata.name, self.namespace, grace_period_seconds=0)
        self.core.delete_namespace(self.namespace)

    # ------------------------------------------------------------------ pods

    def manifest(self, name: str, script: str = "true", **spec: Any) -> dict[str, Any]:
        """A pod with one container `main` that runs a shell script; `container` and `metadata` go where they belong."""
        container = {
            "name": "main", "image": "busybox:1.36", "command": ["sh", "-c", script],
            "resources": {"requests": {"cpu": "10m"}}, **spec.pop("container", {}),
        }  # fmt: skip
        metadata = {"name": name, **spec.pop("metadata", {})}
        body = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container], **spec}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": body}

    def start(self, name: str, script: str = "true", **spec: Any) -> client.V1Pod:
        return self.core.create_namespaced_pod(self.namespace, self.manifest(name, script, **spec))

    def pod(self, name: str) -> client.V1Pod:
        return self.core.read_namespaced_pod(name, self.namespace)

    def wait(self, name: str, *phases: str, timeout: float = 60.0) -> client.V1Pod:
        """The pod once it is in one of the phases."""

        def look() -> client.V1Pod | None:
            pod = self.pod(name)
            return pod if pod.status.phase in phases else None

        return eventually(look, timeout, f"pod {name} in {phases}")

    def run(self, name: str, script: str = "true", **spec: Any) -> client.V1Pod:
        """Create a pod and wait for its end."""
        self.start(name, script, **spec)
        return self.wait(name, *TERMINAL)

    def output(self, name: str, script: str = "true", **spec: Any) -> str:
        """The log of a pod that ran to its end."""
        self.run(name, script, **spec)
        return self.log(name)

    def log(self, name: str, **options: Any) -> str:
        # not preloaded: client 36 gives the text of a bytes literal otherwise
        answer = self.core.read_namespaced_pod_log(name, self.namespace, _preload_content=False, **options)
        return str(answer.data.decode())

    def gone(self, name: str) -> bool:
        return is_missing(lambda: self.pod(name))

    def state(self, name: str, container: str = "main") -> client.V1ContainerState:
        return self.status(name, container).state

    def status(self, name: str, container: str = "main") -> client.V1ContainerStatus:
        """Status of a container once there is one."""

        def look() -> client.V1ContainerStatus | None:
            pod = self.pod(name)
            known = [*(pod.status.init_container_statuses or []), *(pod.status.container_statuses or [])]
            return next((c for c in known if c.name == container), None)

        return eventually(look, what=f"a status of {container}")

    def waiting_reason(self, name: str, *reasons: str, timeout: float = 60.0) -> client.V1ContainerStateWaiting:
        """The waiting state of `main` once it has one of the reasons."""

        def look() -> client.V1ContainerStateWaiting | None:
            waiting = self.state(name).waiting
            return waiting if waiting and waiting.reason in reasons else None

        return eventually(look, timeout, f"{name} waiting for {reasons}")

    def condition(self, name: str, kind: str) -> client.V1PodCondition | None:
        return next((c for c in self.pod(name).status.conditions or [] if c.type == kind), None)

    def is_ready(self, name: str) -> bool:
        ready = self.condition(name, "Ready")
        return ready is not None and ready.status == "True"

    def exec(self, name: str, *command: str, **options: Any) -> Any:
        """Run a command in a container; returns its output, or the open connection with `_preload_content=False`."""
        defaults = {"stdin": False, "stdout": True, "stderr": True, "tty": False}
        call = self.core.connect_get_namespaced_pod_exec
        return stream(call, name, self.namespace, command=list(command), **{**defaults, **options})

    def events(self, name: str) -> list[client.CoreV1Event]:
        chosen = f"involvedObject.name={name}"
        return list(self.core.list_namespaced_event(self.namespace, field_selector=chosen).items)

    def event(self, name: str, reason: str, text: str = "") -> client.CoreV1Event:
        """The first event of that reason, with that text in its message, on the object."""

        def look() -> client.CoreV1Event | None:
            return next((e for e in self.events(name) if e.reason == reason and text in e.message), None)

        return eventually(look, 30, f"event {reason} {text} on {name}")

    # ------------------------------------------------------------------ others

    def config_map(self, name: str, data: dict[str, str] | None = None, **metadata: Any) -> client.V1ConfigMap:
        body = {"metadata": {"name": name, **metadata}, "data": data or {}}
        return self.core.create_namespaced_config_map(self.namespace, body)

    def secret(self, name: str, data: dict[str, str]) -> client.V1Secret:
        return self.core.create_namespaced_secret(self.namespace, {"metadata": {"name": name}, "stringData": data})

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True, timeout: float = 60.0) -> str:
        """Output of kubectl in the namespace; with `check` off, its errors too."""
        program = shutil.which("kubectl")
        if program is None:
            pytest.skip("kubectl is not installed")
        done = subprocess.run(
            [program, "--kubeconfig", str(self.kubeconfig), "--namespace", self.namespace, *arguments],
            input=stdin, capture_output=True, text=True, check=False, timeout=timeout,
        )  # fmt: skip
        if check and done.returncode:
            raise AssertionError(
                f"kubectl {' '.join(arguments)} ended with {done.returncode}: {done.stdout}{done.stderr}"
            )
        return done.stdout if check else done.stdout + done.stderr

    def watch(self, timeout: int = 20, **options: Any) -> Any:
        """Changes of config maps in the namespace, as (type, name, resourceVersion)."""
        call = self.core.list_namespaced_config_map
        for event in watch.Watch().stream(call, self.namespace, timeout_seconds=timeout, **options):
            found = event["object"]
            yield event["type"], found.metadata.name, found.metadata.resource_version

    def raw(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """A request as it is, for what the client has no method for; returns the decoded answer.

        :raises ApiException: the server refuses.
        """
        configuration = self.client.configuration
        given = {"Accept": "application/json", "Content-Type": "application/json", **headers}
        if token := configuration.auth_settings().get("BearerToken", {}).get("value"):
            given["Authorization"] = token
        answer = self.client.rest_client.pool_manager.request(
            method, configuration.host + path, headers=given, body=None if body is None else json.dumps(body)
        )
        text = answer.data.decode()
        if answer.status >= 300:
            error = ApiException(status=answer.status, reason=answer.reason)
            error.body = text
            raise error
        is_document = "json" in answer.headers.get("Content-Type", "") and "watch=" not in path
        return json.loads(text) if is_document else text

    def patch(self, path: str, body: Any, content_type: str, **query: str) -> Any:
        """A patch of any content type."""
        asked = "&".join(f"{k}={v}" for k, v in query.items())
        return self.raw("PATCH", f"{path}?{asked}" if asked else path, body, **{"Content-Type": content_type})

    def apply(self, body: dict[str, Any], manager: str, **query: str) -> Any:
        """Server-side apply of a config map."""
        path = f"/api/v1/namespaces/{self.namespace}/configmaps/{body['metadata']['name']}"
        full = {"apiVersion": "v1", "kind": "ConfigMap", **body}
        return self.patch(path, full, "application/apply-patch+yaml", fieldManager=manager, **query)


def is_missing(read: Callable[[], object]) -> bool:
    try:
        read()
    except ApiException as error:
        if error.status == 404:
            return True
        raise
    return False


def refused(status: int, call: Callable[[], object], *, reason: str = "", message: str = "") -> ApiException:
    """Assert that a call is refused with this status, reason and part of the message."""
    with pytest.raises(ApiException) as caught:
        call()
    error = caught.value
    assert error.status == status, error
    assert f'"reason":"{reason}"' in error.body.replace(" ", "") if reason else True, error.body
    assert message in error.body.replace('\\"', '"'), error.body
    return error
