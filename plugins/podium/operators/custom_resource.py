"""A custom resource as a task: the base of the operators for kinds that have no operator elsewhere."""

from abc import abstractmethod
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator, BaseOperatorLink

from podium.custom_resource_run import Cleanup, CustomResourceRun
from podium.hooks.custom_resource import Object
from podium.identity import Identity
from podium.kinds import Kind
from podium.lineage import ReportsDatasets
from podium.links import MlflowRunLink, PodLogLink
from podium.platform import settings

if TYPE_CHECKING:
    from airflow.sdk import Context


class CustomResourceOperator(ReportsDatasets, BaseOperator):
    """Applies one custom resource under a name that follows from the task, and waits for it, deferred by default.

    A retry or another worker adopts the object that is there; one that finished while nobody watched has its
    result collected. The log of the pod that matters runs along in the task's log.

    A child sets `kind` and builds the manifest in `manifest`; one whose result is in the object's status, not in a log,
    reads it in `result`.

    :param deferrable: wait in the triggerer; else in the worker.
    :param cleanup: what becomes of the finished object.
    :param wants_result: whether the log of the pod that matters ends with a `PODIUM_RESULT` line to return.
    """

    kind: ClassVar[Kind]
    operator_extra_links: Collection[BaseOperatorLink] = (PodLogLink(), MlflowRunLink())

    def __init__(
        self,
        *,
        deferrable: bool = True,
        cleanup: Cleanup = Cleanup.KEEP,
        wants_result: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.deferrable = deferrable
        self.cleanup_policy = cleanup
        self.wants_result = wants_result
        self._run: CustomResourceRun | None = None
        self._run_id = ""

    @abstractmethod
    def manifest(self, identity: Identity) -> Object:
        """The object to apply, named `identity.name`. Template fields are rendered by now."""

    def result(self, finished: Object) -> Any:
        """The result that a succeeded object holds itself; by default it has none."""
        return None

    def execute(self, context: "Context") -> Any:
        """Apply or adopt, then wait.

        :raises WorkFailedError: the object failed.
        :raises WorkTimeoutError: it did not finish in time.
        """
        self._run_id = context["run_id"]
        return self._begin().start(context, self.manifest)

    def resume(self, context: "Context", event: dict[str, Any]) -> Any:
        """Go on after the wait.

        :raises WorkFailedError: the object failed or is gone.
        :raises WorkTimeoutError: it did not finish in time.
        """
        return self._begin().finish(context, event)

    def on_kill(self) -> None:
        """End the work, unless another attempt has taken it over."""
        if self._run is not None:
            self._run.kill()

    def _begin(self) -> CustomResourceRun:
        kubernetes = settings().kubernetes
        self._run = CustomResourceRun(
            operator=self,
            kind=self.kind,
            namespace=kubernetes.namespace,
            conn_id=kubernetes.connection_id,
            deferrable=self.deferrable,
            cleanup=self.cleanup_policy,
            wants_result=self.wants_result,
            read_result=self.result,
        )
        return self._run
