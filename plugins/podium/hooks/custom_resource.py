"""Calls to the Kubernetes API about custom resources and the pods that they own."""

from typing import Any, Final

from kubernetes.client import ApiException  # noqa: TID253 - KubernetesHook imports it anyway
from tenacity import retry, retry_if_result, stop_after_delay, wait_exponential

from podium.failures import explain_pod, is_in_trouble, last_run, main_container, telling_container
from podium.hooks.connection import RenewingHook
from podium.hooks.log_tail import read_tail, telling_tail
from podium.hooks.patience import patiently
from podium.kinds import Kind
from podium.redaction import redacted

FIELD_MANAGER: Final = "podium"
APPLY: Final = "application/apply-patch+yaml"
JSON_PATCH: Final = "application/json-patch+json"
GONE_WITHIN_S: Final = 120
LET_GO_WITHIN_S: Final = 10
OTHERS: Final = 2

Object = dict[str, Any]


class CustomResourceHook(RenewingHook):
    """Custom resources of one namespace.

    :param namespace: where they live.
    :param kwargs: as KubernetesHook has them, `conn_id` among them.
    """

    def __init__(self, namespace: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.namespace = namespace

    @patiently
    def read(self, kind: Kind, name: str) -> Object | None:
        """The object with its status; None when there is none."""
        try:
            found: Object = self.custom_object_client.get_namespaced_custom_object(
                kind.group, kind.version, self.namespace, kind.plural, name
            )
        except ApiException as error:
            if error.status == 404:
                return None
            raise
        return found

    @patiently
    def find(self, kind: Kind, label_selector: str) -> list[Object]:
        """The objects with these labels."""
        found = self.custom_object_client.list_namespaced_custom_object(
            kind.group, kind.version, self.namespace, kind.plural, label_selector=label_selector
        )
        items: list[Object] = found["items"]
        return items

    def find_if_served(self, kind: Kind, label_selector: str) -> list[Object]:
        """The same; none where the cluster does not have the kind, or has it for others only."""
        try:
            return self.find(kind, label_selector)
        except ApiException as error:
            if error.status in (403, 404):
                return []
            raise

    @patiently
    def apply(self, kind: Kind, manifest: Object) -> Object:
        """Create the object, or bring it to the manifest: server-side apply, which two callers may do at once."""
        name = manifest["metadata"]["name"]
        applied: Object | None = self.custom_object_client.patch_namespaced_custom_object(
            kind.group,
            kind.version,
            self.namespace,
            kind.plural,
            name,
            manifest,
            field_manager=FIELD_MANAGER,
            force=True,
            _content_type=APPLY,
        )
        # The client knows no 201 of a patch, and returns nothing for an object that this has made.
        return applied or self.custom_object_client.get_namespaced_custom_object(
            kind.group, kind.version, self.namespace, kind.plural, name
        )

    @patiently
    def json_patch(self, kind: Kind, name: str, operations: list[Object]) -> Object:
        """Change an object by RFC 6902, all operations or none."""
        patched: Object = self.custom_object_client.patch_namespaced_custom_object(
            kind.group,
            kind.version,
            self.namespace,
            kind.plural,
            name,
            operations,
            field_manager=FIELD_MANAGER,
            _content_type=JSON_PATCH,
        )
        return patched

    @patiently
    def delete(self, kind: Kind, name: str) -> None:
        """Delete an object and, in the background, what it owns. One that is gone is fine."""
        try:
            self.custom_object_client.delete_namespaced_custom_object(
                kind.group, kind.version, self.namespace, kind.plural, name, propagation_policy="Background"
            )
        except ApiException as error:
            if error.status != 404:
                raise

    @patiently
    def delete_exactly(self, kind: Kind | None, name: str, uid: str) -> None:
        """Delete an object (a pod if it has no kind) unless another one has its name by now."""
        body = {"preconditions": {"uid": uid}, "propagationPolicy": "Background"}
        try:
            if kind is None:
                self.core_v1_client.delete_namespaced_pod(name, self.namespace, body=body)
            else:
                self.custom_object_client.delete_namespaced_custom_object(
                    kind.group, kind.version, self.namespace, kind.plural, name, body=body
                )
        except ApiException as error:
            if error.status not in (404, 409):
                raise

    def delete_and_wait(self, kind: Kind, name: str) -> None:
        """Delete an object and wait until neither it nor a pod of it is left, so that its name can be used again."""
        self.delete(kind, name)
        gone = retry(
            retry=retry_if_result(bool),
            wait=wait_exponential(multiplier=0.1, max=2),
            stop=stop_after_delay(GONE_WITHIN_S),
        )
        gone(lambda: self.read(kind, name) is not None or bool(self.pods(kind, name)))()

    def is_let_go(self, kind: Kind, name: str) -> bool:
        """Whether every pod of an object has ended or is being deleted, within `LET_GO_WITHIN_S`."""
        selector = kind.all_pods_selector.format(name=name)

        def active() -> bool:
            return any(
                pod["status"].get("phase") in ("Pending", "Running") and not pod["metadata"].get("deletionTimestamp")
                for pod in self.find_pods(selector)
            )

        waiting = retry(
            retry=retry_if_result(bool),
            wait=wait_exponential(multiplier=0.1, max=2),
            stop=stop_after_delay(LET_GO_WITHIN_S),
            retry_error_callback=lambda _: True,
        )
        return not waiting(active)()

    def pods(self, kind: Kind, name: str) -> list[Object]:
        """The pods that matter of an object, oldest first."""
        return self.find_pods(kind.pod_selector.format(name=name))

    @patiently
    def find_pods(self, selector: str) -> list[Object]:
        """The pods with these labels, oldest first."""
        found = self.core_v1_client.list_namespaced_pod(self.namespace, label_selector=selector)
        pods: list[Object] = self.core_v1_client.api_client.sanitize_for_serialization(found.items)
        return sorted(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp")))

    @patiently
    def events(self, name: str) -> list[Object]:
        """The events about an object or a pod of this name."""
        found = self.core_v1_client.list_namespaced_event(self.namespace, field_selector=f"involvedObject.name={name}")
        events: list[Object] = self.core_v1_client.api_client.sanitize_for_serialization(found.items)
        return events

    @patiently
    def log_tail(self, pod: str, container: str, lines: int, *, previous: bool = False) -> list[str]:
        """The last lines of a container's log, or of that of its run before; none when it never started."""
        return read_tail(self.core_v1_client, self.namespace, pod, container, lines, previous=previous)

    def explain(self, kind: Kind, name: str) -> str:
        """Why an object did not do its work: what it says itself, its events, and its last pod."""
        manifest = self.read(kind, name)
        if manifest is None:
            return f"{kind.name} {self.namespace}/{name} is gone: somebody deleted it.\nClear the task to run it again."
        judgement = kind.judge(manifest)
        said = redacted(": ".join(part for part in (judgement.reason, judgement.message) if part))
        lines = [f"{kind.name} {self.namespace}/{name} is {judgement.phase}" + (f" ({said[:600]})." if said else ".")]
        if failure := redacted(kind.last_failure(manifest)):
            lines.append(f"  It says: {failure[:600]}")
        warnings = [event for event in self.events(name) if event.get("type") == "Warning"]
        lines += [f"  {event.get('reason')}: {redacted(str(event.get('message')))}" for event in warnings[-5:]]
        pods = self.pods(kind, name)
        known = {pod["metadata"]["name"] for pod in pods}
        # What made the one that matters fail may be told by another: a rank that ran out of memory, say.
        troubled = [pod for pod in self.find_pods(kind.all_pods_selector.format(name=name)) if is_in_trouble(pod)]
        others = [pod for pod in troubled if pod["metadata"]["name"] not in known][:OTHERS]
        told = [self._explain_pod(pod, main_container(pod)) for pod in others]
        chosen = [pod for pod in pods if is_in_trouble(pod)][-1:] or pods[-1:]
        told += [self._explain_pod(pod, kind.container) for pod in chosen]
        if not told:
            resource = f"{kind.plural}.{kind.group}"
            told = [
                "it has no pod.\nIts controller may say more: "
                f"kubectl -n {self.namespace} describe {resource} {name}. Then clear the task."
            ]
        # The cause first, whoever tells it.
        cause, _, rest = told[0].partition("\n")
        return "\n".join([cause, *lines, *filter(None, [rest]), *told[1:]])

    def _explain_pod(self, pod: Object, container: str) -> str:
        name = pod["metadata"]["name"]
        telling = telling_container(pod, container)
        restarted = last_run(pod, telling) is not None
        tail = telling_tail(self.core_v1_client, self.namespace, name, telling, restarted=restarted)
        return explain_pod(pod, container, self.events(name), tail)
