"""Changes of an InferenceService in KServe's Standard mode, and the memory of its rollout."""

from typing import Any, Final

from kubernetes.client import ApiException  # noqa: TID253 - KubernetesHook imports it anyway
from tenacity import RetryError, retry, retry_if_result, stop_after_delay, wait_exponential

from podium.errors import RolloutFailedError
from podium.hooks.custom_resource import FIELD_MANAGER, CustomResourceHook, Object
from podium.kinds import INFERENCE_SERVICE, Phase
from podium.rollout import State

# KServe takes canaries in this mode only.
ANNOTATIONS: Final = {"serving.kserve.io/deploymentMode": "Standard"}
STATE_KEY: Final = "state.json"
IN_FORCE_WITHIN_S: Final = 120


class InferenceServiceHook(CustomResourceHook):
    """InferenceServices of one namespace.

    Traffic is shared by `spec.canary[].trafficPercent`; promoting means that `spec.predictor` becomes the canary's
    spec, name and all, and the canary's entry goes: the pods stay, only routes change.
    """

    def create(self, name: str, predictor: Object) -> Object:
        """Make a service with one predictor."""
        return self.apply(
            INFERENCE_SERVICE,
            {
                "apiVersion": INFERENCE_SERVICE.api_version,
                "kind": INFERENCE_SERVICE.name,
                "metadata": {"name": name, "namespace": self.namespace, "annotations": ANNOTATIONS},
                "spec": {"predictor": predictor},
            },
        )

    def replace_predictor(self, name: str, predictor: Object) -> Object:
        """Make this the stable predictor and drop every canary, in one change."""
        manifest = self.get(name)
        operations = [{"op": "replace", "path": "/spec/predictor", "value": predictor}]
        if manifest["spec"].get("canary"):
            operations.append({"op": "remove", "path": "/spec/canary"})
        return self.json_patch(INFERENCE_SERVICE, name, operations)

    def set_canary(self, name: str, predictor: Object, traffic_percent: int) -> Object:
        """Give the canary its share; any other canary goes."""
        canary = {"predictor": predictor, "trafficPercent": traffic_percent}
        return self._merge(name, {"spec": {"canary": [canary]}})

    def drop_canary(self, name: str) -> Object:
        """Take every canary away; the stable predictor serves alone."""
        return self._merge(name, {"spec": {"canary": None}})

    def get(self, name: str) -> Object:
        """The service.

        :raises RolloutFailedError: there is none.
        """
        manifest = self.read(INFERENCE_SERVICE, name)
        if manifest is None:
            raise RolloutFailedError(
                f"There is no InferenceService {self.namespace}/{name}. Clear the task that serves the champion; "
                "it makes one."
            )
        return manifest

    def wait_until_in_force(self, manifest: Object) -> Object:
        """Wait until the controller has brought the given generation about.

        :param manifest: as a change returned it.
        :raises RolloutFailedError: it takes too long.
        """
        name, generation = manifest["metadata"]["name"], manifest["metadata"]["generation"]
        asking = retry(
            retry=retry_if_result(lambda current: not _is_in_force(current, generation)),
            wait=wait_exponential(multiplier=0.05, max=1),
            stop=stop_after_delay(IN_FORCE_WITHIN_S),
        )
        try:
            current: Object = asking(self.get)(name)
        except RetryError:
            raise RolloutFailedError(
                f"The change of InferenceService {self.namespace}/{name} is not in force after {IN_FORCE_WITHIN_S} s.\n"
                f"{self.explain(INFERENCE_SERVICE, name)}"
            ) from None
        return current

    def load_state(self, name: str) -> State | None:
        """What is remembered of the last rollout of this service; None when there was none."""
        try:
            found = self.core_v1_client.read_namespaced_config_map(_state_name(name), self.namespace)
        except ApiException as error:
            if error.status == 404:
                return None
            raise
        text = (found.data or {}).get(STATE_KEY)
        return State.from_json(text) if text else None

    def save_state(self, name: str, state: State) -> None:
        """Remember the rollout in a ConfigMap that goes with the service.

        Not in annotations of the service: KServe copies those to the pods, and so would restart them.
        """
        service = self.get(name)
        body = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": _state_name(name),
                "namespace": self.namespace,
                "labels": {"app.kubernetes.io/managed-by": "podium"},
                "ownerReferences": [
                    {
                        "apiVersion": INFERENCE_SERVICE.api_version,
                        "kind": INFERENCE_SERVICE.name,
                        "name": name,
                        "uid": service["metadata"]["uid"],
                    }
                ],
            },
            "data": {STATE_KEY: state.to_json()},
        }
        self.core_v1_client.patch_namespaced_config_map(
            _state_name(name),
            self.namespace,
            body,
            field_manager=FIELD_MANAGER,
            force=True,
            _content_type="application/apply-patch+yaml",
        )

    def _merge(self, name: str, patch: dict[str, Any]) -> Object:
        merged: Object = self.custom_object_client.patch_namespaced_custom_object(
            INFERENCE_SERVICE.group,
            INFERENCE_SERVICE.version,
            self.namespace,
            INFERENCE_SERVICE.plural,
            name,
            patch,
            field_manager=FIELD_MANAGER,
            _content_type="application/merge-patch+json",
        )
        return merged


def _state_name(service: str) -> str:
    return f"{service}-rollout"


def _is_in_force(manifest: Object, generation: int) -> bool:
    if manifest["metadata"]["generation"] < generation or not manifest.get("status"):
        return False
    return INFERENCE_SERVICE.judge(manifest).phase is Phase.SUCCEEDED
