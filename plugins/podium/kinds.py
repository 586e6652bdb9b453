"""The custom resources that Podium works with: where they live, and how to tell how they are doing.

A judgement reads only what the controllers publish: conditions and states, and only once the controller has seen the
present generation. A vanished pod proves nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final
from urllib.parse import urlsplit

from podium.gang import Gang

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


def generation_is_observed(manifest: Manifest) -> bool:
    """Whether the controller has seen the present spec, as far as it tells: not every kind has observedGeneration."""
    observed = (manifest.get("status") or {}).get("observedGeneration")
    return observed is None or bool(observed >= manifest["metadata"].get("generation", 0))


def inference_service_is_observed(manifest: Manifest) -> bool:
    """The same of an InferenceService.

    In KServe's Standard mode `status.observedGeneration` is that of the predictor's Deployment (kserve
    pkg/apis/serving/v1beta1/inference_service_status.go, PropagateRawStatus), which says nothing of a canary. What the
    status repeats of the spec does: the canaries' shares, and the predictor's name in the address inside the cluster.
    """
    metadata, spec, status = manifest["metadata"], manifest.get("spec") or {}, manifest.get("status") or {}
    workload, _, rest = (urlsplit((status.get("address") or {}).get("url") or "").hostname or "").partition(".")
    if status.get("deploymentMode") != "Standard" or not rest.startswith(f"{metadata.get('namespace')}.svc"):
        return generation_is_observed(manifest)
    predictor = spec["predictor"].get("name")
    wanted = {entry["predictor"]["name"]: entry["trafficPercent"] for entry in spec.get("canary") or ()}
    shares = {entry["name"]: entry.get("trafficPercent", 0) for entry in status.get("canaryStatuses") or ()}
    named = "-".join(part for part in (metadata["name"], predictor, "predictor") if part)
    return bool(wanted == shares and workload == named)


@dataclass(frozen=True)
class Kind:
    """One kind of custom resource.

    :param succeeded: condition types that must all be True for success.
    :param failed: condition types any of which means failure when True.
    :param state_field: for kinds with a state instead of conditions: its path in the status.
    :param active_field: for kinds without a condition for it: a list in the status whose entries count `active` jobs.
    :param message_field: where the state's message is, beside it.
    :param states: every value of that state that the controller defines.
    :param failure_field: path in the status of what last went wrong: its reason, message and exitCode.
    :param hints: what a state means for a person, where the controller says nothing.
    :param pod_selector: label selector of the pods whose log matters; `{name}` is the object's name.
    :param container: the container in them that matters.
    :param all_pods_selector: label selector of all pods of the object; default: `pod_selector`.
    :param gang: the pods that have to live until the work is over, where the controller does not look after them.
    :param refused: reasons of events by which the controller says that it will never do anything about the object.
    :param is_observed: whether the status is about the present spec.
    """

    group: str
    version: str
    plural: str
    name: str
    succeeded: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    state_field: tuple[str, ...] = ()
    active_field: str = ""
    message_field: str = "message"
    failure_field: tuple[str, ...] = ()
    states: Mapping[str, Phase] = field(default_factory=dict)
    hints: Mapping[str, str] = field(default_factory=dict)
    pod_selector: str = ""
    container: str = ""
    all_pods_selector: str = ""
    gang: Gang | None = None
    refused: frozenset[str] = frozenset()
    is_observed: Callable[[Manifest], bool] = generation_is_observed

    def __post_init__(self) -> None:
        if not self.all_pods_selector:
            object.__setattr__(self, "all_pods_selector", self.pod_selector)

    @property
    def api_version(self) -> str:
        """As it stands in a manifest."""
        return f"{self.group}/{self.version}"

    def last_failure(self, manifest: Manifest) -> str:
        """What the controller says went wrong last; empty when it says nothing."""
        found: Any = manifest.get("status") or {}
        for key in self.failure_field:
            found = (found or {}).get(key)
        if not self.failure_field or not found:
            return ""
        code = found.get("exitCode")
        parts = (found.get("reason"), f"exit code {code}" if code else "", found.get("message"))
        return ": ".join(str(part) for part in parts if part)

    def judge(self, manifest: Manifest) -> Judgement:
        """How an object of this kind is doing.

        :param manifest: the object with its status.
        """
        status = manifest.get("status") or {}
        if not self.is_observed(manifest):
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
        message = str(details.get(self.message_field) or self.hints.get(state, ""))
        if state not in self.states:
            return Judgement(Phase.PENDING, state, message or "this version of Podium does not know the state")
        return Judgement(self.states[state], state, message)

    def _judge_conditions(self, status: Manifest) -> Judgement:
        conditions = {entry["type"]: entry for entry in status.get("conditions") or ()}
        holding = {name: entry for name, entry in conditions.items() if entry.get("status") == "True"}
        for name in self.failed:
            if name in holding:
                return Judgement(Phase.FAILED, holding[name].get("reason") or name, holding[name].get("message") or "")
        if self.succeeded and all(name in holding for name in self.succeeded):
            return Judgement(Phase.SUCCEEDED, self.succeeded[-1])
        telling = ("Suspended", "Restarting") if {"Suspended", "Restarting"} & holding.keys() else self.succeeded
        waiting: Manifest = next((conditions[name] for name in telling if name in conditions), {})
        active = any(entry.get("active") for entry in status.get(self.active_field) or ())
        phase = Phase.RUNNING if "Running" in holding or active else Phase.PENDING
        return Judgement(phase, waiting.get("reason") or "", waiting.get("message") or "")


# kubeflow/spark-operator api/v1beta2 ApplicationStateType: only COMPLETED and FAILED are final. The status has no
# observedGeneration: a changed spec shows as INVALIDATING.
SPARK_APPLICATION: Final = Kind(
    group="sparkoperator.k8s.io",
    version="v1beta2",
    plural="sparkapplications",
    name="SparkApplication",
    state_field=("applicationState", "state"),
    message_field="errorMessage",
    states={
        "": Phase.PENDING,
        "SUBMITTED": Phase.PENDING,
        "RUNNING": Phase.RUNNING,
        "SUCCEEDING": Phase.RUNNING,
        "COMPLETED": Phase.SUCCEEDED,
        "FAILING": Phase.RUNNING,
        "FAILED": Phase.FAILED,
        "SUBMISSION_FAILED": Phase.PENDING,
        "PENDING_RERUN": Phase.PENDING,
        "INVALIDATING": Phase.PENDING,
        "SUSPENDING": Phase.PENDING,
        "SUSPENDED": Phase.PENDING,
        "RESUMING": Phase.PENDING,
        "UNKNOWN": Phase.RUNNING,
    },
    hints={
        "SUBMISSION_FAILED": "spark-submit was refused; the operator tries again if the restart policy says so",
        "PENDING_RERUN": "the operator starts it again",
        "INVALIDATING": "its spec was changed: what ran is being deleted, then it starts again",
        "SUSPENDED": "somebody, or a queue, has suspended it: it goes on when spec.suspend is false",
        "UNKNOWN": "the driver's node does not answer; the operator waits for word of the driver",
    },
    pod_selector="spark-role=driver,sparkoperator.k8s.io/app-name={name}",
    container="spark-kubernetes-driver",
    all_pods_selector="sparkoperator.k8s.io/app-name={name}",
)

# kubeflow/mpi-operator pkg/apis/kubeflow/v2beta1: Created, Running, Restarting, Suspended, Succeeded, Failed.
MPI_JOB: Final = Kind(
    group="kubeflow.org",
    version="v2beta1",
    plural="mpijobs",
    name="MPIJob",
    succeeded=("Succeeded",),
    failed=("Failed",),
    pod_selector="training.kubeflow.org/job-name={name},training.kubeflow.org/job-role=launcher",
    container="launcher",
    all_pods_selector="training.kubeflow.org/job-name={name}",
    gang=Gang("training.kubeflow.org/job-role", member="worker", lead="launcher"),
    # What its own checks refuse has no status, then or ever.
    refused=frozenset({"ValidationError"}),
)

# kserve pkg/apis/serving/v1beta1. It never fails for good: whoever waits sets a limit.
INFERENCE_SERVICE: Final = Kind(
    group="serving.kserve.io",
    version="v1beta1",
    plural="inferenceservices",
    name="InferenceService",
    succeeded=("Ready",),
    failure_field=("modelStatus", "lastFailureInfo"),
    pod_selector="serving.kserve.io/inferenceservice={name}",
    container="kserve-container",
    is_observed=inference_service_is_observed,
)

# kubeflow/trainer pkg/apis/trainer/v1alpha1. Its pods are those of the JobSet of the same name; the container of the
# trainer is `node`, and rank 0 is the pod with index 0.
TRAIN_JOB: Final = Kind(
    group="trainer.kubeflow.org",
    version="v1alpha1",
    plural="trainjobs",
    name="TrainJob",
    succeeded=("Complete",),
    failed=("Failed",),
    active_field="jobsStatus",
    pod_selector=(
        "jobset.sigs.k8s.io/jobset-name={name},jobset.sigs.k8s.io/replicatedjob-name=node,"
        "batch.kubernetes.io/job-completion-index=0"
    ),
    container="node",
    all_pods_selector="jobset.sigs.k8s.io/jobset-name={name}",
)

# kubeflow/katib pkg/apis/controller/experiments/v1beta1: Created, Running, Restarting, Succeeded, Failed. The pods of
# its trials are labelled by KatibExperimentOperator.
EXPERIMENT: Final = Kind(
    group="kubeflow.org",
    version="v1beta1",
    plural="experiments",
    name="Experiment",
    succeeded=("Succeeded",),
    failed=("Failed",),
    pod_selector="podium.dev/experiment={name}",
    container="trial",
)

# argoproj/argo-workflows pkg/apis/workflow/v1alpha1 WorkflowPhase.
WORKFLOW: Final = Kind(
    group="argoproj.io",
    version="v1alpha1",
    plural="workflows",
    name="Workflow",
    state_field=("phase",),
    states={
        "": Phase.PENDING,
        "Pending": Phase.PENDING,
        "Running": Phase.RUNNING,
        "Succeeded": Phase.SUCCEEDED,
        "Failed": Phase.FAILED,
        "Error": Phase.FAILED,
    },
    pod_selector="workflows.argoproj.io/workflow={name}",
    container="main",
)

KINDS: Final[dict[str, Kind]] = {
    kind.name: kind for kind in (SPARK_APPLICATION, MPI_JOB, INFERENCE_SERVICE, TRAIN_JOB, EXPERIMENT, WORKFLOW)
}
