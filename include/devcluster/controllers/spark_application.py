"""SparkApplication (sparkoperator.k8s.io/v1beta2): a driver pod that runs spark-submit in local mode.

A change of its spec ends what runs and runs it again, but for `suspend` and `timeToLiveSeconds`
(kubeflow/spark-operator internal/controller/sparkapplication/event_filter.go). One while no controller runs is not
seen.

Executors are threads of the driver, ``driver.cores`` of them, so ``spec.executor`` is not used and executorState stays
empty.
"""

from __future__ import annotations

from include.devcluster.controllers.client import ApiError, KubeApi
from include.devcluster.controllers.informer import Informer
from include.devcluster.controllers.objects import PODS, Manifest, Resource, key_of, labels_of, short_hash, utc_now
from include.devcluster.controllers.reconciler import Controller, Key
from include.devcluster.controllers.spark_driver import SUBMISSION_LABEL, driver_pod
from include.devcluster.controllers.spark_states import next_step, state_of

SPARK_APPLICATIONS = Resource("sparkoperator.k8s.io", "v1beta2", "sparkapplications", "SparkApplication")
HARMLESS = ("suspend", "timeToLiveSeconds")
EVENT_KINDS = {
    "SUBMITTED": ("Normal", "SparkApplicationSubmitted"),
    "RUNNING": ("Normal", "SparkDriverRunning"),
    "SUBMISSION_FAILED": ("Warning", "SparkApplicationSubmissionFailed"),
    "PENDING_RERUN": ("Warning", "SparkApplicationPendingRerun"),
    "COMPLETED": ("Normal", "SparkApplicationCompleted"),
    "FAILED": ("Warning", "SparkApplicationFailed"),
}


class SparkApplicationController(Controller):
    """Takes one step of the state machine per reconcile; each status write brings the next."""

    resource = SPARK_APPLICATIONS

    def __init__(self, api: KubeApi, owners: Informer, pods: Informer) -> None:
        super().__init__(api, owners, pods)
        self._specs: dict[Key, tuple[str, str]] = {}  # application -> its uid, a hash of the spec last looked at

    async def reconcile(self, owner: Manifest) -> float | None:
        """Take one step."""
        drivers = [p for p in self.pods_of(owner) if labels_of(p).get("spark-role") == "driver"]
        driver = drivers[0] if drivers else None
        spec = short_hash({key: value for key, value in owner["spec"].items() if key not in HARMLESS})
        seen = (owner["metadata"]["uid"], spec)
        before = self._specs.get(key_of(owner), seen)
        step = next_step(owner, driver, utc_now(), changed=before[0] == seen[0] and before != seen)
        status = step.status
        if step.action == "submit":
            status = await self._submit(owner, status)
        elif step.action == "delete driver" and driver is not None:
            await self.delete_pod(driver)
        elif step.action == "delete application":
            await self.api.delete(self.resource, owner["metadata"]["namespace"], owner["metadata"]["name"])
            return None
        await self.update_status(owner, status)
        self._specs[key_of(owner)] = seen
        await self._announce(owner, status)
        return step.again

    async def gone(self, key: Key) -> None:
        """Forget the spec of an application that was deleted."""
        self._specs.pop(key, None)

    async def _submit(self, owner: Manifest, status: Manifest) -> Manifest:
        try:
            pod = await self.create_child(owner, PODS, driver_pod(owner, status["submissionID"]))
        except ApiError as error:
            if error.status not in (400, 403, 422):
                raise
            refused = {"state": "SUBMISSION_FAILED", "errorMessage": f"failed to submit spark application: {error}"}
            return {**status, "applicationState": refused, "executionAttempts": status["executionAttempts"] - 1}
        if labels_of(pod).get(SUBMISSION_LABEL) != status["submissionID"]:
            raise ApiError(409, "Conflict", f"driver pod {pod['metadata']['name']} of the previous run is still there")
        return status

    async def _announce(self, owner: Manifest, status: Manifest) -> None:
        state = state_of(status)
        if state == state_of(owner.get("status") or {}) or state not in EVENT_KINDS:
            return
        kind, reason = EVENT_KINDS[state]
        error = (status["applicationState"].get("errorMessage") or "").strip()
        message = f"SparkApplication {owner['metadata']['name']}: {state}" + (f": {error}" if error else "")
        await self.event(owner, kind, reason, message)
