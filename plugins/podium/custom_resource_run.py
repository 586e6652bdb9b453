"""How an operator runs a custom resource: apply or adopt, wait, collect, explain, clean up.

The operators for MPI and for Spark have different bases, so what they do alike lives here.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowTaskTimeout

from podium.abandoned import marks
from podium.collected import Collected, identify
from podium.errors import WorkFailedError, WorkTimeoutError
from podium.hooks.custom_resource import CustomResourceHook, Object
from podium.identity import EPOCH_LABEL, TASK_LABEL, Identity
from podium.kinds import Kind, Phase
from podium.lineage import Reported, image_id
from podium.masking import secrets_in
from podium.results import TAIL_LINES, NoResultError, ensure_fit, find_result
from podium.supersession import was_killed
from podium.triggers.custom_resource import WORKER_LOST, CustomResourceTrigger
from podium.triggers.work import run_here

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator, Context


class Cleanup(StrEnum):
    """What becomes of a finished object. A kept one goes when its kind's time to live is over, if it has one."""

    # Until it goes, a repeated attempt finds the result.
    KEEP = "keep"
    # A failed one stays for inspection until the next attempt takes its name.
    DELETE_ON_SUCCESS = "delete_on_success"
    DELETE_ALWAYS = "delete_always"


@dataclass
class CustomResourceRun:
    """One task's work as one custom resource.

    :param operator: the running operator; it is deferred, and resumed in its method `resume`.
    :param kind: what it runs.
    :param namespace: where.
    :param conn_id: the Kubernetes connection.
    :param deferrable: wait in the triggerer; else in the worker.
    :param cleanup: what becomes of the object when it is finished.
    :param wants_result: whether a result line is expected in the log.
    :param read_result: reads the result from the object where none is expected in the log.
    """

    operator: "BaseOperator"
    kind: Kind
    namespace: str
    conn_id: str
    deferrable: bool = True
    cleanup: Cleanup = Cleanup.KEEP
    wants_result: bool = True
    read_result: Callable[[Object], Any] | None = None

    def __post_init__(self) -> None:
        self.hook = CustomResourceHook(self.namespace, conn_id=self.conn_id)
        self.identity: Identity | None = None
        self._ti: Any = None

    def start(self, context: "Context", build: Callable[[Identity], Object]) -> Any:
        """Apply the manifest, or adopt the object that is there, and wait.

        :param build: makes the manifest for an identity.
        :returns: the result, if the object is done or waited for here; else the task is deferred.
        :raises WorkFailedError: it failed or is gone.
        :raises WorkTimeoutError: it did not finish in time; it is deleted.
        """
        identity = self._identify(context)
        collected = Collected(context, identity)
        try:
            self._end_earlier_epochs(identity, collected)
            current = self._adoptable(identity.name, collected)
            if current is None:
                # Asked after the object: an attempt beside this one notes the result before it deletes the object.
                record = collected.read()
                if record is not None:
                    self.operator.log.info("Try %d has collected the result; its log is there", record.attempt)
                    return self._report(record.result)
                collected.ensure_current()
                current = self._apply(identity, build)
            if self.deferrable and not self.kind.judge(current).phase.is_final:
                self.operator.defer(trigger=self._trigger(current).deferred(), method_name="resume")
            # Also what is over already, for its log.
            event = run_here(self._trigger(current))
        except AirflowTaskTimeout:
            event = {"status": "timeout"}
        return self.finish(context, event)

    def finish(self, context: "Context", event: dict[str, Any]) -> Any:
        """Collect the result of a finished object, or say why there is none.

        :raises WorkFailedError: it failed or is gone.
        :raises WorkTimeoutError: it did not finish in time; it is deleted.
        """
        identity = self._identify(context)
        collected = Collected(context, identity)
        record = collected.read()
        if record is None:
            try:
                return self._close(identity.name, event, collected)
            except (WorkFailedError, NoResultError):
                # Asked again after the object: an attempt beside this one may have taken it away in this moment.
                record = collected.read()
                if record is None:
                    raise
        # By an attempt that died, or was superseded, before Airflow knew.
        if self.cleanup is not Cleanup.KEEP:
            self.hook.delete(self.kind, identity.name)
        return self._report(record.result)

    def _close(self, name: str, event: dict[str, Any], collected: Collected) -> Any:
        """Collect the result and clean up, where nobody has done so before."""
        task_id, status = self.operator.task_id, event["status"]
        if status == "timeout":
            text = self.hook.explain(self.kind, name)
            collected.ensure_current()
            self.hook.delete(self.kind, name)
            raise WorkTimeoutError(f"{task_id} did not finish within its execution_timeout; it was ended.\n{text}")
        if status != Phase.SUCCEEDED:
            text = self.hook.explain(self.kind, name)
            if self.cleanup is Cleanup.DELETE_ALWAYS or self._still_holds(name, event):
                collected.ensure_current()
                self.hook.delete(self.kind, name)
            why = f"{event['message']}\n" if event.get("reason") in (WORKER_LOST, *self.kind.refused) else ""
            raise WorkFailedError(f"{task_id} failed: {why}{text}")
        result, image = self._result(name) if self.wants_result else (self._own_result(name), "")
        collected.write(result)
        if self.cleanup is not Cleanup.KEEP:
            self.hook.delete(self.kind, name)
        return self._report(result, image)

    def _still_holds(self, name: str, event: dict[str, Any]) -> bool:
        """Whether failed work goes on to hold what it was given: nobody else takes GPUs away from it.

        Controllers end the pods of what they call failed, but not all of them, nor always: those of an MPIJob that
        lost a worker to an eviction, for instance, stay (kubeflow/mpi-operator#647).
        """
        if event["status"] != Phase.FAILED:
            return False
        if event.get("reason") != WORKER_LOST and self.hook.is_let_go(self.kind, name):
            return False
        self.operator.log.info("%s %s has failed and still has pods: deleting it", self.kind.name, name)
        return True

    def _report(self, result: Any, image: str = "") -> Any:
        """Note the result for lineage and the audit trail."""
        self.operator.reported = Reported(result, image)
        return result

    def kill(self) -> None:
        """Delete the object, if it was this attempt that was killed; a superseded one leaves it to its successor."""
        if self.identity is None:
            return
        if not was_killed(self._ti):
            self.operator.log.info("This attempt ends, %s stays for the next one", self.identity.name)
            return
        self.operator.log.info("Deleting %s %s/%s", self.kind.name, self.namespace, self.identity.name)
        self.hook.delete(self.kind, self.identity.name)

    def _apply(self, identity: Identity, build: Callable[[Identity], Object]) -> Object:
        manifest = build(identity)
        labels, annotations = marks(self._ti)
        manifest["metadata"].setdefault("labels", {}).update(identity.labels | labels)
        manifest["metadata"].setdefault("annotations", {}).update(annotations)
        applied = self.hook.apply(self.kind, manifest)
        self.operator.log.info("Applied %s %s/%s", self.kind.name, self.namespace, identity.name)
        return applied

    def _identify(self, context: "Context") -> Identity:
        self._ti = context["ti"]
        self.identity = self.operator.identity = identify(context, self.operator.retries or 0)
        return self.identity

    def _adoptable(self, name: str, collected: Collected) -> Object | None:
        """The object under this name if an attempt may join it; one that failed or is on its way out makes room."""
        current = self.hook.read(self.kind, name)
        if current is None:
            return None
        judgement = self.kind.judge(current)
        if judgement.phase is not Phase.FAILED and not current["metadata"].get("deletionTimestamp"):
            self.operator.log.info("Adopting %s %s, which is %s", self.kind.name, name, judgement.phase)
            return current
        self.operator.log.info("Replacing %s %s of an earlier attempt: %s", self.kind.name, name, judgement.reason)
        collected.ensure_current()
        self.hook.delete_and_wait(self.kind, name)
        return None

    def _end_earlier_epochs(self, identity: Identity, collected: Collected) -> None:
        """A cleared task starts anew; what it had running before must end first: two at once cost twice."""
        if identity.epoch == 0:
            return
        collected.ensure_current()
        selector = f"{TASK_LABEL}={identity.task_key},{EPOCH_LABEL}!={identity.epoch}"
        for earlier in self.hook.find(self.kind, selector):
            name = earlier["metadata"]["name"]
            self.operator.log.info("The task was cleared: deleting its earlier %s %s", self.kind.name, name)
            self.hook.delete_and_wait(self.kind, name)

    def _trigger(self, current: Object) -> CustomResourceTrigger:
        timeout, started = self.operator.execution_timeout, self._ti.start_date
        deadline = None if timeout is None else max((started + timeout).timestamp(), time.time() + 1)
        return CustomResourceTrigger(
            kind=self.kind.name,
            namespace=self.namespace,
            name=current["metadata"]["name"],
            uid=current["metadata"]["uid"],
            conn_id=self.conn_id,
            deadline=deadline,
            copies_log=True,
            # As the cluster has it, with what it was rendered from.
            secrets=secrets_in(current.get("spec")),
        )

    def _own_result(self, name: str) -> Any:
        finished = self.hook.read(self.kind, name)
        if finished is None:
            text = self.hook.explain(self.kind, name)
            raise WorkFailedError(f"{self.operator.task_id} failed: {text}")
        result = self.read_result(finished) if self.read_result else None
        return ensure_fit(result, f"{self.kind.name} {self.namespace}/{name}")

    def _result(self, name: str) -> tuple[dict[str, Any], str]:
        """The result that the work printed last, and the image of the pod that did."""
        for pod in reversed(self.hook.pods(self.kind, name)):
            lines = self.hook.log_tail(pod["metadata"]["name"], self.kind.container, TAIL_LINES)
            result = find_result(lines)
            if result is not None:
                ensure_fit(result, f"{self.kind.name} {self.namespace}/{name}")
                return result, image_id(pod, self.kind.container)
        raise NoResultError(f"{self.kind.name} {self.namespace}/{name}")
