"""The custom resources that Podium works with: where they live, and how to tell how they are doing.

A judgement reads only what the controllers publish: conditions and states, and only once the controller has seen the
present generation. A vanished pod proves nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

Manifest = Mapping[str, Any]


class Phase(StrEnum):
    """How a custom resource is doing."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"

    @property
    def is_final(self) -> bool:
        """Whether there is nothing more to wait for."""
        return self in (Phase.SUCCEEDED, Phase.FAILED)


@dataclass(frozen=True)
class Judgement:
    """A phase, and why."""

    phase: Phase
    reason: str = ""
    message: str = ""


@dataclass(frozen=True)
class Kind:
    """One kind of custom resource.

    :param succeeded: condition types that must all be True for success.
    :param failed: condition types any of which means failure when True.
    :param state_field: for kinds with a state instead of conditions: its path in the status.
    :param succeeded_states: values of that state that mean success.
    :param failed_states: values of that state that mean failure.
    :param pod_selector: label selector of the pod whose log matters; `{name}` is the object's name.
    :param container: the container in it that matters.
    """

    group: str
    version: str
    plural: str
    name: str
    succeeded: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    state_field: tuple[str, ...] = ()
    succeeded_states: tuple[str, ...] = ()
    failed_states: tuple[str, ...] = ()
    pod_selector: str = ""
    container: str = ""

    @property
    def api_version(self) -> str:
        """As it stands in a manifest."""
        return f"{self.group}/{self.version}"

    def judge(self, manifest: Manifest) -> Judgement:
        """How an object of this kind is doing.

        :param manifest: the object with its status.
        """
        status = manifest.get("status") or {}
        observed = status.get("observedGeneration")
        if observed is not None and observed < manifest["metadata"].get("generation", 0):
            return Judgement(Phase.PENDING, "NotObserved", "the controller has not seen the present spec yet")
        if self.state_field:
            return self._judge_state(status)
        return self._judge_conditions(status)

    def _judge_state(self, status: Manifest) -> Judgement:
        found: Any = status
        for key in self.state_field[:-1]:
            found = (found or {}).get(key)
        details: Mapping[str, Any] = found or {}
        state = str(details.get(self.state_field[-1]) or "")
        message = str(details.get("errorMessage") or "")
        if state in self.succeeded_states:
            return Judgement(Phase.SUCCEEDED, state, message)
        if state in self.failed_states:
            return Judgement(Phase.FAILED, state, message)
        return Judgement(Phase.RUNNING if state == "RUNNING" else Phase.PENDING, state, message)

    def _judge_conditions(self, status: Manifest) -> Judgement:
        conditions = {entry["type"]: entry for entry in status.get("conditions") or ()}
        holding = {name: entry for name, entry in conditions.items() if entry.get("status") == "True"}
        for name in self.failed:
            if name in holding:
                return Judgement(Phase.FAILED, holding[name].get("reason") or name, holding[name].get("message") or "")
        if self.succeeded and all(name in holding for name in self.succeeded):
            return Judgement(Phase.SUCCEEDED, self.succeeded[-1])
        waiting: Manifest = next((conditions[name] for name in self.succeeded if name in conditions), {})
        phase = Phase.RUNNING if "Running" in holding else Phase.PENDING
        return Judgement(phase, waiting.get("reason") or "", waiting.get("message") or "")


# kubeflow/spark-operator api/v1beta2: FAILED is final, SUBMISSION_FAILED and FAILING lead to a retry or to FAILED.
SPARK_APPLICATION: Final = Kind(
    group="sparkoperator.k8s.io",
    version="v1beta2",
    plural="sparkapplications",
    name="SparkApplication",
    state_field=("applicationState", "state"),
    succeeded_states=("COMPLETED",),
    failed_states=("FAILED",),
    pod_selector="spark-role=driver,sparkoperator.k8s.io/app-name={name}",
    container="spark-kubernetes-driver",
)

# kubeflow/mpi-operator pkg/apis/kubeflow/v2beta1.
MPI_JOB: Final = Kind(
    group="kubeflow.org",
    version="v2beta1",
    plural="mpijobs",
    name="MPIJob",
    succeeded=("Succeeded",),
    failed=("Failed",),
    pod_selector="training.kubeflow.org/job-name={name},training.kubeflow.org/job-role=launcher",
    container="launcher",
)

# kserve pkg/apis/serving/v1beta1. It never fails for good: whoever waits sets a limit.
INFERENCE_SERVICE: Final = Kind(
    group="serving.kserve.io",
    version="v1beta1",
    plural="inferenceservices",
    name="InferenceService",
    succeeded=("Ready",),
    pod_selector="serving.kserve.io/inferenceservice={name}",
    container="kserve-container",
)

KINDS: Final[dict[str, Kind]] = {kind.name: kind for kind in (SPARK_APPLICATION, MPI_JOB, INFERENCE_SERVICE)}
