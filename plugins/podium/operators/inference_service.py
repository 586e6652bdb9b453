"""Serving a model: an InferenceService of KServe."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, BaseOperatorLink

from podium.errors import WorkFailedError
from podium.hooks.inference_service import InferenceServiceHook
from podium.hooks.mlflow import ModelRegistryHook, RegistryError
from podium.kinds import INFERENCE_SERVICE, Phase
from podium.lineage import ReportsDatasets, model, service
from podium.links import InferenceServiceLink
from podium.platform import settings
from podium.predictors import predictor
from podium.triggers.custom_resource import CustomResourceTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context


class InferenceServiceOperator(ReportsDatasets, BaseOperator):
    """Sees to it that a service exists, serves the given version, and is ready.

    A service that serves the version already is left alone. Another version is replaced at once, without a canary:
    this brings back what was good before; what is new goes through RolloutOperator.

    Returns the address of the service and the version.

    :param service: name of the InferenceService.
    :param model_name: of the registered model.
    :param version: of the registered model, or `@alias`; templated.
    :param serving: further arguments of `podium.predictors.predictor`.
    """

    template_fields: Sequence[str] = ("version",)
    operator_extra_links: Collection[BaseOperatorLink] = (InferenceServiceLink(),)

    def __init__(
        self, *, service: str, model_name: str, version: str, serving: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.service = service
        self.model_name = model_name
        self.version = version
        self.serving = dict(serving or {})

    def execute(self, context: "Context") -> Any:
        """Apply what is needed, then wait until the service is ready."""
        hook = self._hook()
        if self.version.startswith("@"):
            self.version = self._version_of(self.version.removeprefix("@"))
        wanted = predictor(settings(), model_name=self.model_name, version=self.version, **self.serving)
        current = hook.read(INFERENCE_SERVICE, self.service)
        if current is None:
            self.log.info("Making InferenceService %s with %s", self.service, wanted["name"])
            current = hook.create(self.service, wanted)
        elif current["spec"]["predictor"].get("name") != wanted["name"]:
            self.log.info("Going from %s to %s", current["spec"]["predictor"].get("name"), wanted["name"])
            current = hook.replace_predictor(self.service, wanted)
        if INFERENCE_SERVICE.judge(current).phase is Phase.SUCCEEDED:
            return self._result(current)
        timeout = self.execution_timeout
        self.defer(
            trigger=CustomResourceTrigger(
                kind=INFERENCE_SERVICE.name,
                namespace=settings().kubernetes.namespace,
                name=self.service,
                uid=current["metadata"]["uid"],
                conn_id=settings().kubernetes.connection_id,
                deadline=None if timeout is None else (context["ti"].start_date + timeout).timestamp(),
                # The service is no work of this task: others send requests to it.
                delete_on_kill=False,
            ).deferred(),
            method_name="resume",
        )

    def resume(self, context: "Context", event: dict[str, Any]) -> Any:
        """Go on after the wait.

        :raises WorkFailedError: the service is not ready in time, or gone.
        """
        hook = self._hook()
        if event["status"] != Phase.SUCCEEDED:
            raise WorkFailedError(
                f"{self.task_id} failed: {hook.explain(INFERENCE_SERVICE, self.service)}\n"
                f"The service is not ready ({event['status']})."
            )
        return self._result(hook.get(self.service))

    def _version_of(self, alias: str) -> str:
        registry = ModelRegistryHook.of_settings()
        version = registry.version_of_alias(self.model_name, alias)
        if version is None:
            raise RegistryError(
                f"The model {self.model_name} has no version with the alias {alias!r}. Set it in MLflow (the gate sets "
                "a first champion by itself), then clear the task."
            )
        return version

    def _result(self, manifest: dict[str, Any]) -> dict[str, Any]:
        version = manifest["spec"]["predictor"]["name"].removeprefix("v")
        self.report([model(self.model_name, version)], [service(self.service, version)])
        return {"url": manifest["status"].get("url"), "version": version}

    def _hook(self) -> InferenceServiceHook:
        kubernetes = settings().kubernetes
        return InferenceServiceHook(kubernetes.namespace, conn_id=kubernetes.connection_id)
