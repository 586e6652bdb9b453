"""What the demonstration asks of the Kubernetes API: run jobs as plain pods, and read how they fare."""

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import httpx

from include.config import Settings
from include.stack.kubeconfig import client

RESULT_MARK = "PODIUM_RESULT "
POLL_SECONDS = 0.5
SCRATCH = "/scratch"


class PodFailedError(Exception):
    """A pod of the demonstration failed; the text has its exit code and the end of its log."""


class Cluster:
    """A client of one cluster, in the platform's namespace. Use it as a context manager.

    :param kubeconfig: file with the address and a bearer token.
    """

    def __init__(self, kubeconfig: Path, settings: Settings) -> None:
        self._settings = settings
        self._pods = f"/api/v1/namespaces/{settings.kubernetes.namespace}/pods"
        self._http = client(kubeconfig)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def start(self, name: str, image: str, arguments: list[str]) -> None:
        """Start `python -m include.jobs.<image> <arguments>` in a pod; an older pod of that name is replaced."""
        self.start_command(name, image, ["python", "-m", f"include.jobs.{image}", *arguments])

    def start_command(self, name: str, image: str, command: list[str]) -> None:
        """Start a command in a pod of an image; an older pod of that name is replaced."""
        self.delete(name)
        kubernetes = self._settings.kubernetes
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": {"app.kubernetes.io/part-of": "podium-demo"}},
            "spec": {
                "restartPolicy": "Never",
                "serviceAccountName": kubernetes.service_account,
                "nodeSelector": self._settings.node_pools["general"].node_selector,
                "securityContext": {
                    "runAsNonRoot": True,
                    "runAsUser": 1000,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "containers": [
                    {
                        "name": "base",
                        "image": self._settings.images[image],
                        "command": command,
                        "envFrom": [{"configMapRef": {"name": kubernetes.platform_config_map}}],
                        "env": [{"name": "PODIUM_CREDENTIALS_DIR", "value": "/etc/podium/credentials"}],
                        "volumeMounts": [
                            {"name": "credentials", "mountPath": "/etc/podium/credentials", "readOnly": True},
                            {"name": "scratch", "mountPath": SCRATCH},
                        ],
                        "resources": {
                            "requests": {"cpu": "500m", "memory": "512Mi"},
                            "limits": {"memory": "2Gi"},
                        },
                        "securityContext": {
                            "allowPrivilegeEscalation": False,
                            "capabilities": {"drop": ["ALL"]},
                        },
                    }
                ],
                "volumes": [
                    {"name": "credentials", "secret": {"secretName": kubernetes.credentials_secret}},
                    {"name": "scratch", "emptyDir": {}},
                ],
            },
        }
        self._http.post(self._pods, json=pod).raise_for_status()

    def phase(self, name: str) -> str:
        """The pod's phase: Pending, Running, Succeeded or Failed; `Absent` when there is none."""
        answer = self._http.get(f"{self._pods}/{name}")
        if answer.status_code == httpx.codes.NOT_FOUND:
            return "Absent"
        return str(answer.raise_for_status().json()["status"]["phase"])

    def log(self, name: str, tail: int | None = None) -> list[str]:
        """The pod's log so far, all of it or its last `tail` lines."""
        query = {} if tail is None else {"tailLines": tail}
        return self._http.get(f"{self._pods}/{name}/log", params=query).raise_for_status().text.splitlines()

    def end(self, name: str) -> str:
        """Wait until the pod ends; its phase then."""
        while (phase := self.phase(name)) in ("Pending", "Running"):
            time.sleep(POLL_SECONDS)
        return phase

    def result(self, name: str) -> dict[str, Any]:
        """Wait until the pod ends, and return the result that it wrote last.

        :raises PodFailedError: when it fails, or ends without a result.
        """
        phase = self.end(name)
        lines = self.log(name) if phase != "Absent" else []
        for line in reversed(lines):
            if phase == "Succeeded" and line.startswith(RESULT_MARK):
                return dict(json.loads(line.removeprefix(RESULT_MARK)))
        why = "" if phase == "Absent" else self._why(name)
        raise PodFailedError("\n".join([f"pod {name} ended as {phase} without a result{why}", *lines[-20:]]))

    def _why(self, name: str) -> str:
        """What the kubelet says of a container that has ended badly."""
        status = self._http.get(f"{self._pods}/{name}").raise_for_status().json()["status"]
        ends = [row["state"].get("terminated") or {} for row in status.get("containerStatuses", [])]
        texts = [status.get("message", ""), *(f"{end['reason']}: {end.get('message', '')}" for end in ends if end)]
        return "".join(f", {text.rstrip(': ')}" for text in texts if text)

    @contextlib.contextmanager
    def running(self, name: str, image: str, arguments: list[str]) -> Iterator[None]:
        """Keep a pod running while the block runs; delete it afterwards."""
        self.start(name, image, arguments)
        try:
            yield
        finally:
            self.delete(name)

    def delete(self, name: str) -> None:
        """Delete a pod, and wait until it is gone."""
        self._http.request("DELETE", f"{self._pods}/{name}", json={"gracePeriodSeconds": 5})
        while self.phase(name) != "Absent":
            time.sleep(POLL_SECONDS)

    def inference_service_ready(self, name: str) -> bool:
        """Whether an InferenceService reports the condition Ready."""
        namespace = self._settings.kubernetes.namespace
        path = f"/apis/serving.kserve.io/v1beta1/namespaces/{namespace}/inferenceservices/{name}"
        answer = self._http.get(path)
        if answer.status_code == httpx.codes.NOT_FOUND:
            return False
        conditions = answer.raise_for_status().json().get("status", {}).get("conditions", [])
        return any(row["type"] == "Ready" and row["status"] == "True" for row in conditions)
