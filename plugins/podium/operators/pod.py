"""A pod, with the defaults that every pod of Podium has."""

import json
import time
from collections.abc import Collection, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.providers.cncf.kubernetes.utils.container import (
    container_is_completed,
    container_is_running,
    container_is_succeeded,
)
from airflow.providers.cncf.kubernetes.utils.pod_manager import (
    EMPTY_XCOM_RESULT,
    OnKillAction,
    PodCommandException,
    PodManager,
    PodPhase,
)
from airflow.providers.cncf.kubernetes.utils.xcom_sidecar import PodDefaults
from airflow.sdk import BaseOperatorLink
from airflow.sdk.exceptions import AirflowException, AirflowTaskTimeout
from kubernetes.client import ApiException  # noqa: TID253 - the base class imports it anyway
from kubernetes.client import models as k8s  # noqa: TID253
from kubernetes.watch import Watch  # noqa: TID253
from urllib3.exceptions import HTTPError

from podium import pod_parts
from podium.abandoned import marks
from podium.collected import Collected, Record, identify
from podium.endings import stopped
from podium.errors import WorkFailedError, WorkTimeoutError
from podium.failures import explain_pod
from podium.hooks.connection import RenewingHook
from podium.hooks.patience import patiently
from podium.hooks.pods import Pods
from podium.identity import EPOCH_LABEL, TASK_LABEL, Identity
from podium.lineage import Reported, ReportsDatasets, image_id
from podium.links import PodLogLink
from podium.masking import secrets_in
from podium.node_pools import place
from podium.operators.slots import TakesSlots
from podium.platform import settings
from podium.results import UnfitResultError, parse
from podium.supersession import was_killed
from podium.triggers.pod import PodTrigger
from podium.triggers.work import run_here

if TYPE_CHECKING:
    from airflow.sdk import Context

SIDECAR_WITHIN_S: Final = 120


class _Manager(PodManager):
    """Does not wait for the pod to end as well, with a look every two seconds: its container has."""

    def await_pod_completion(
        self,
        pod: k8s.V1Pod,
        istio_enabled: bool = False,
        container_name: str = "base",
        do_xcom_push: bool = False,
    ) -> k8s.V1Pod:
        return super().await_pod_completion(pod, istio_enabled, container_name, do_xcom_push=True)


class _AlreadyCollectedError(Exception):
    """There is no pod because an attempt has collected its result and deleted it."""

    def __init__(self, record: Record) -> None:
        super().__init__()
        self.record = record


class PodiumPodOperator(ReportsDatasets, TakesSlots, KubernetesPodOperator):
    """Runs one image of the settings in one pod and returns the JSON it leaves behind.

    It waits deferred, runs under the restricted Pod Security Standard, gets the platform's addresses from a
    ConfigMap and its credentials as files. A retry, or a worker that takes over, finds the pod under its name;
    a pod that succeeded while nobody watched has its result collected, it is not run again.

    >>> PodiumPodOperator(task_id="ingest", image="ingest", arguments=["python", "-m", "include.jobs.ingest"])

    :param image: name under `images` in the settings.
    :param arguments: the command line, templated.
    :param node_pool: name under `node_pools` in the settings.
    :param cpu: CPU request, a Kubernetes quantity.
    :param memory: memory request and limit, a Kubernetes quantity.
    :param gpus: GPUs; the task then takes as many slots of the Airflow pool of the same name.
    :param env: further environment variables, templated; no secrets.
    :param kwargs: as KubernetesPodOperator has them.
    :raises UnknownImageError: at parse time.
    :raises UnknownNodePoolError: at parse time.
    :raises NodePoolTooSmallError: at parse time: no node can ever take the pod.
    """

    operator_extra_links: Collection[BaseOperatorLink] = (PodLogLink(),)
    gpu_arguments: ClassVar[tuple[str, ...]] = ("gpus",)

    def __init__(
        self,
        *,
        image: str,
        arguments: Sequence[str] = (),
        node_pool: str = "general",
        cpu: str = "500m",
        memory: str = "1Gi",
        gpus: int = 0,
        env: dict[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        platform = settings()
        reference = pod_parts.image_reference(platform, image)
        placement = place(platform, node_pool, cpu=cpu, memory=memory, gpus=gpus)
        variables = pod_parts.environment("{{ dag.dag_id }}", "{{ run_id }}", reference)
        variables.append({"name": "PODIUM_XCOM_PATH", "value": pod_parts.XCOM_PATH})
        variables += [{"name": name, "value": value} for name, value in (env or {}).items()]
        credentials = pod_parts.credentials_volume(platform)
        defaults: dict[str, Any] = {
            "namespace": platform.kubernetes.namespace,
            "kubernetes_conn_id": platform.kubernetes.connection_id,
            "service_account_name": platform.kubernetes.service_account,
            "automount_service_account_token": False,
            "deferrable": True,
            "do_xcom_push": True,
            # A failed pod stays for `kubectl describe` until the next attempt takes its name.
            "on_finish_action": "delete_succeeded_pod",
            "log_pod_spec_on_failure": False,
            "termination_message_policy": "FallbackToLogsOnError",
            "startup_timeout_seconds": 600,
            "termination_grace_period": pod_parts.GRACE_S,
        }
        super().__init__(
            image=reference,
            arguments=list(arguments),
            random_name_suffix=False,
            node_selector=placement.node_selector,
            tolerations=[k8s.V1Toleration(**toleration) for toleration in placement.tolerations],
            labels={**placement.queue_labels, **kwargs.pop("labels", {})},
            container_resources=k8s.V1ResourceRequirements(**placement.resources),
            env_vars=[k8s.V1EnvVar(**variable) for variable in variables],
            env_from=[
                k8s.V1EnvFromSource(
                    config_map_ref=k8s.V1ConfigMapEnvSource(name=platform.kubernetes.platform_config_map)
                )
            ],
            volumes=[
                k8s.V1Volume(
                    name=credentials["name"],
                    secret=k8s.V1SecretVolumeSource(
                        secret_name=credentials["secret"]["secretName"],
                        default_mode=credentials["secret"]["defaultMode"],
                    ),
                )
            ],
            volume_mounts=[
                k8s.V1VolumeMount(
                    name=pod_parts.CREDENTIALS_VOLUME, mount_path=pod_parts.CREDENTIALS_DIR, read_only=True
                )
            ],
            security_context=pod_parts.POD_SECURITY_CONTEXT,
            container_security_context=pod_parts.CONTAINER_SECURITY_CONTEXT,
            xcom_sidecar_container_security_context=pod_parts.CONTAINER_SECURITY_CONTEXT,
            **(defaults | self.with_slots(placement, kwargs)),
        )
        self._ti: Any = None
        self._log_complete = False
        self._result: Any = None
        self._collected: Collected | None = None
        self._record: Record | None = None

    def execute(self, context: "Context") -> Any:
        """Create the pod, or join it, and wait for it: deferred, or here when `deferrable` is off.

        :raises WorkFailedError: the pod failed or is gone.
        :raises WorkTimeoutError: it did not finish, or start, in time; it is deleted.
        """
        self._identify(context)
        try:
            self.execute_async(context)
        except _AlreadyCollectedError as collected:
            self.log.info("Try %d has collected the result; its log is there", collected.record.attempt)
            return self._collect(context, collected.record.result)
        except AirflowTaskTimeout:
            self._end("timeout", "")
        # The provider drops the result of a pod that is done before it is deferred.
        return self._result

    def invoke_defer_method(self, last_log_time: Any = None, context: "Context | None" = None) -> None:
        """Wait in the triggerer if the pod is not done in a moment; or here."""
        if self.pod is None or context is None:
            raise RuntimeError("there is no pod to wait for: execute() comes first")
        if self.deferrable:
            self.pod = self._watch_briefly(self.pod)
        trigger = self._trigger(self.pod, context)
        if self.deferrable and not container_is_completed(self.pod, self.base_container_name):
            self.defer(trigger=trigger.deferred(), method_name="trigger_reentry")
        # Also what is over already, for its log.
        self.trigger_reentry(context, run_here(trigger))

    def trigger_reentry(self, context: "Context", event: dict[str, Any]) -> Any:
        """Collect the pod's result.

        :raises WorkFailedError: the pod failed or is gone.
        :raises WorkTimeoutError: it did not finish, or start, in time; it is deleted.
        """
        identity = self._identify(context)
        try:
            result = self._finish(context, event)
        except (AirflowException, ApiException):
            # Asked after the pod: an attempt that came so far and no further, or one beside this one, took it away.
            record = Collected(context, identity).read() if self._pods.read(identity.name) is None else None
            if record is None:
                raise
            result = record.result
        self._result = self._collect(context, result)
        return self._result

    def _finish(self, context: "Context", event: dict[str, Any]) -> Any:
        """What the pod leaves, if it is there and has succeeded."""
        if event["status"] in ("gone", "timeout", "stopped"):
            self._end(event["status"], event["message"])
        self._log_complete = event.get("log_complete", False)
        result = super().trigger_reentry(context, event)
        if self.pod is None and self._record is None:
            # For the provider, a pod that has vanished by now has succeeded and left nothing.
            self._end("gone", event["message"])
        return result if self._record is None else self._record.result

    def collect(self, context: "Context", result: Any) -> Any:
        """Make the task's result from the pod's; children judge it here.

        :param result: the JSON that the pod left, None if it left none.
        """
        return result

    def _collect(self, context: "Context", result: Any) -> Any:
        """Note what the pod reports, for lineage and the audit trail, before a child judges it."""
        pod = self.client.api_client.sanitize_for_serialization(self.pod)
        self.reported = Reported(result, image_id(pod, self.base_container_name))
        return self.collect(context, result)

    def get_or_create_pod(self, pod_request_obj: k8s.V1Pod, context: "Context") -> k8s.V1Pod:
        """Join the pod of this identity, or make it; pods of earlier epochs of the task end first.

        The provider's way, by labels and the task-state store, would join the pod of a task that has since been
        cleared, and would run a pod again that succeeded while nobody watched.
        """
        self._end_earlier_epochs()
        existing = self._pods.read(pod_request_obj.metadata.name)
        if self._collected is not None and self._record is None:
            # Asked again after the pod: an attempt beside this one notes the result before it deletes the pod.
            self._record = self._collected.read()
        if existing is None and self._record is not None:
            raise _AlreadyCollectedError(self._record)
        if existing is not None:
            if self._record is not None or self._is_joinable(existing):
                self.log.info("Joining pod %s (%s)", existing.metadata.name, existing.status.phase)
                return existing
            self.log.info("Replacing pod %s of an earlier attempt", existing.metadata.name)
            self._ensure_current()
            self._pods.delete_and_wait(existing.metadata.name)
        self._ensure_current()
        try:
            return self._pods.create(pod_request_obj)
        except ApiException as error:
            if error.status != 409:
                raise
            # Another attempt was faster: two of the same never run at once.
            self.log.info("Pod %s was created meanwhile: joining it", pod_request_obj.metadata.name)
            return self.hook.get_pod(pod_request_obj.metadata.name, pod_request_obj.metadata.namespace)

    def extract_xcom(self, pod: k8s.V1Pod, **kwargs: Any) -> Any:
        """Read the result and keep it, before the side-car that holds it is ended."""
        if self._record is None and self._has_succeeded(pod):
            if self._has_lost_its_result(pod):
                raise WorkFailedError(
                    f"{self.task_id} failed.\nPod {pod.metadata.name} succeeded, but the side-car that held its result "
                    "has ended, and the result with it. Clear the task, or let it retry: the pod runs again."
                )
            # A quick pod may be done before its side-car is up.
            self.pod_manager.await_xcom_sidecar_container_start(pod=pod, timeout=SIDECAR_WITHIN_S)
            what = f"Pod {pod.metadata.namespace}/{pod.metadata.name}"
            try:
                # A WebSocket does not load credentials anew that have expired; any other request does.
                self._pods.read(pod.metadata.name)
                text = patiently(self.pod_manager.extract_xcom_json)(pod)
            except (json.JSONDecodeError, RecursionError) as error:
                raise UnfitResultError(what, f"it is no JSON: {error}") from None
            self._keep(None if text.rstrip() == EMPTY_XCOM_RESULT else parse(text, what))
        if self._record is None:
            return super().extract_xcom(pod, **kwargs)
        if self.pod_manager.container_is_running(pod, PodDefaults.SIDECAR_CONTAINER_NAME):
            try:
                patiently(self.pod_manager.extract_xcom_kill)(pod)
            except (PodCommandException, ApiException, HTTPError) as error:
                # It goes with its pod, at the latest.
                self.log.warning("The side-car of pod %s goes on (%r)", pod.metadata.name, error)
        return self._record.result

    def cleanup(
        self,
        pod: k8s.V1Pod,
        remote_pod: k8s.V1Pod,
        xcom_result: dict[str, Any] | None = None,
        context: "Context | None" = None,
    ) -> None:
        """Clean up as the provider does, but say why a pod failed and what to do.

        :raises WorkFailedError: the pod failed.
        """
        succeeded = bool(remote_pod) and self._has_succeeded(remote_pod)
        if succeeded:
            if self._record is None:
                if self.do_xcom_push:
                    # Collecting its result has just failed: it stays for the next attempt.
                    return
                self._keep(None)
            # What a kubelet says of the pod a second after it has said so of the container that matters.
            remote_pod.status.phase = PodPhase.SUCCEEDED
        # Facts first: cleaning up may delete what they are read from. A success needs none.
        told = remote_pod and not succeeded and not self._killed
        text = self._pods.explain(remote_pod, self.base_container_name) if told else ""
        try:
            super().cleanup(pod, remote_pod, xcom_result, context)
        except AirflowException as error:
            if type(error) is not AirflowException:
                raise
            raise WorkFailedError(f"{self.task_id} failed: {text}") from None

    def on_kill(self) -> None:
        """Delete the pod, if it was this attempt that was killed; a superseded one leaves it to its successor."""
        if self._ti is not None and not was_killed(self._ti):
            self._killed = True
            self.log.info("This attempt ends, its pod stays for the next one")
            return
        super().on_kill()

    def _write_logs(  # type: ignore[override]  # the provider's is wrapped in a retry
        self, pod: k8s.V1Pod, follow: bool = False, since_time: Any = None
    ) -> None:
        """The trigger has written the log; say so where it could not to the end."""
        if not self._log_complete:
            self.log.warning("The log above may lack its end: kubectl logs %s shows all of it", pod.metadata.name)

    def _end(self, status: str, message: str) -> NoReturn:
        """Fail for a pod that is gone, or that has run out of time and is deleted."""
        name = self.identity.name if self.identity else str(self.name)
        pod = self._pods.read(name)
        text = (
            explain_pod(None, self.base_container_name)
            if pod is None
            else self._pods.explain(pod, self.base_container_name)
        )
        if status in ("gone", "stopped"):
            raise WorkFailedError(f"{self.task_id} failed: {text}")
        if pod is not None:
            self._ensure_current()
            self.log.info("Deleting pod %s", name)
            self._pods.delete(name)
        why = message or "the task's execution_timeout is over"
        raise WorkTimeoutError(f"{self.task_id} did not finish in time: {why}.\n{text}")

    def _trigger(self, pod: k8s.V1Pod, context: "Context") -> PodTrigger:
        timeout, ti = self.execution_timeout, context["ti"]
        deadline = None if timeout is None else max((ti.start_date + timeout).timestamp(), time.time() + 1)
        return PodTrigger(
            base_container=self.base_container_name,
            startup_timeout_s=self.startup_timeout_seconds,
            grace_s=self.termination_grace_period,
            namespace=pod.metadata.namespace,
            name=pod.metadata.name,
            uid=pod.metadata.uid,
            conn_id=self.kubernetes_conn_id,
            deadline=deadline,
            copies_log=bool(self._log_containers(pod)),
            log_containers=self._log_containers(pod),
            secrets=secrets_in(self.client.api_client.sanitize_for_serialization(pod.spec)),
            delete_on_kill=self.on_kill_action is not OnKillAction.KEEP_POD,
        )

    def _identify(self, context: "Context") -> Identity:
        self._ti = context["ti"]
        self.identity = identify(context, self.retries or 0)
        self.name = self.identity.name
        labels, annotations = marks(self._ti)
        self.labels = {**self.labels, **self.identity.labels, **labels}
        self.annotations = {**(self.annotations or {}), **annotations}
        if self._collected is None:
            self._collected = Collected(context, self.identity)
            self._record = self._collected.read()
        return self.identity

    @cached_property
    def hook(self) -> RenewingHook:
        """The provider's, for longer than its credentials are good."""
        return RenewingHook(
            conn_id=self.kubernetes_conn_id,
            in_cluster=self.in_cluster,
            config_file=self.config_file,
            cluster_context=self.cluster_context,
        )

    @cached_property
    def pod_manager(self) -> PodManager:
        """The provider's, but for its wait for a pod that is over."""
        return _Manager(kube_client=self.client, callbacks=self.callbacks)

    @cached_property
    def _pods(self) -> Pods:
        namespace = self.namespace or settings().kubernetes.namespace
        return Pods(self.client, namespace, self.termination_grace_period)

    def _keep(self, result: Any) -> None:
        if self._collected is not None:
            self._record = self._collected.write(result)

    def _ensure_current(self) -> None:
        if self._collected is not None:
            self._collected.ensure_current()

    def _watch_briefly(self, pod: k8s.V1Pod) -> k8s.V1Pod:
        watch = Watch()
        changes = watch.stream(
            self.client.list_namespaced_pod,
            pod.metadata.namespace,
            field_selector=f"metadata.name={pod.metadata.name}",
            timeout_seconds=settings().airflow.defer_after_s,
        )
        try:
            for change in changes:
                pod = change["object"]
                if change["type"] == "DELETED" or self._is_done(pod):
                    watch.stop()
        except (ApiException, HTTPError) as error:
            # The trigger bears it better.
            self.log.warning("Cannot watch pod %s (%r)", pod.metadata.name, error)
        return pod

    def _is_done(self, pod: k8s.V1Pod) -> bool:
        done = container_is_completed(pod, self.base_container_name)
        # Its result can be read only once the side-car is up, which may well be later.
        return bool(done and (not self.do_xcom_push or container_is_running(pod, PodDefaults.SIDECAR_CONTAINER_NAME)))

    def _is_joinable(self, pod: k8s.V1Pod) -> bool:
        if pod.metadata.deletion_timestamp or (pod.metadata.labels or {}).get(self.POD_CHECKED_KEY) == "True":
            return False
        if container_is_completed(pod, self.base_container_name) and self._was_stopped(pod):
            return False
        return bool(pod.status.phase != PodPhase.FAILED) and not self._has_lost_its_result(pod)

    def _has_succeeded(self, pod: k8s.V1Pod) -> bool:
        return bool(container_is_succeeded(pod, self.base_container_name)) and not self._was_stopped(pod)

    def _was_stopped(self, pod: k8s.V1Pod) -> bool:
        """Whether the container ended because it was told to, also where it made a good end of that."""
        manifest = self.client.api_client.sanitize_for_serialization(pod)
        return stopped(manifest, self.base_container_name) is not None

    def _log_containers(self, pod: k8s.V1Pod) -> list[str]:
        """The containers whose logs are wanted, by `init_container_logs`, `get_logs` and `container_logs`."""

        def chosen(wanted: Any, there: list[str]) -> list[str]:
            if wanted is True:
                return there
            named = [wanted] if isinstance(wanted, str) else list(wanted or ())
            return [name for name in there if name in named]

        init = [container.name for container in pod.spec.init_containers or ()]
        main = [c.name for c in pod.spec.containers if c.name != PodDefaults.SIDECAR_CONTAINER_NAME]
        return chosen(self.init_container_logs, init) + (chosen(self.container_logs, main) if self.get_logs else [])

    def _has_lost_its_result(self, pod: k8s.V1Pod) -> bool:
        return bool(self.do_xcom_push and container_is_completed(pod, PodDefaults.SIDECAR_CONTAINER_NAME))

    def _end_earlier_epochs(self) -> None:
        identity = self.identity
        if identity is None or identity.epoch == 0:
            return
        self._ensure_current()
        selector = f"{TASK_LABEL}={identity.task_key},{EPOCH_LABEL}!={identity.epoch}"
        for pod in self._pods.find(selector):
            self.log.info("The task was cleared: deleting its earlier pod %s", pod.metadata.name)
            self._pods.delete_and_wait(pod.metadata.name)
