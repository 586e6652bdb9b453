"""Calls to the Kubernetes API about pods, repeated while it is away."""

from typing import TYPE_CHECKING, Final

from kubernetes.client import ApiException  # noqa: TID253 - the operator's base class imports it anyway
from kubernetes.client import models as k8s  # noqa: TID253
from tenacity import retry, retry_if_result, stop_after_delay, wait_exponential

from podium.failures import explain_pod, last_run, telling_container
from podium.hooks.log_tail import telling_tail
from podium.hooks.patience import patiently

if TYPE_CHECKING:
    from kubernetes.client import CoreV1Api

GONE_WITHIN_S: Final = 120


class Pods:
    """The pods of one namespace.

    :param client: the Kubernetes client.
    :param namespace: where they are.
    :param grace_s: how long the processes of a deleted one have to end; None as the pod says.
    """

    def __init__(self, client: "CoreV1Api", namespace: str, grace_s: int | None) -> None:
        self._client, self._namespace = client, namespace
        self._grace = {} if grace_s is None else {"grace_period_seconds": grace_s}

    @patiently
    def create(self, pod: k8s.V1Pod) -> k8s.V1Pod:
        """Make a pod. A conflict is raised at once: the provider takes it for an outage and waits before it says so."""
        body = self._client.api_client.sanitize_for_serialization(pod)
        return self._client.create_namespaced_pod(self._namespace, body)

    @patiently
    def read(self, name: str) -> k8s.V1Pod | None:
        """The pod of this name, None if there is none."""
        try:
            return self._client.read_namespaced_pod(name, self._namespace)
        except ApiException as error:
            if error.status == 404:
                return None
            raise

    @patiently
    def find(self, label_selector: str) -> list[k8s.V1Pod]:
        """The pods with these labels."""
        found: list[k8s.V1Pod] = self._client.list_namespaced_pod(self._namespace, label_selector=label_selector).items
        return found

    @patiently
    def delete(self, name: str) -> None:
        """Delete a pod; one that is gone is fine."""
        try:
            self._client.delete_namespaced_pod(name, self._namespace, **self._grace)
        except ApiException as error:
            if error.status != 404:
                raise

    def delete_and_wait(self, name: str) -> None:
        """Delete a pod and wait until its name can be used again."""
        self.delete(name)
        gone = retry(
            retry=retry_if_result(lambda pod: pod is not None),
            wait=wait_exponential(multiplier=0.1, max=2),
            stop=stop_after_delay(GONE_WITHIN_S),
        )
        gone(self.read)(name)

    @patiently
    def explain(self, pod: k8s.V1Pod, container: str) -> str:
        """Why a pod failed, for as far as the cluster still knows, the cause first."""
        name = pod.metadata.name
        manifest = self._client.api_client.sanitize_for_serialization(self.read(name) or pod)
        events = self._client.api_client.sanitize_for_serialization(
            self._client.list_namespaced_event(self._namespace, field_selector=f"involvedObject.name={name}").items
        )
        telling = telling_container(manifest, container)
        restarted = last_run(manifest, telling) is not None
        tail = telling_tail(self._client, self._namespace, name, telling, restarted=restarted)
        return explain_pod(manifest, container, events, tail)
