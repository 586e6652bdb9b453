"""A search for hyperparameters: an Experiment of Katib."""

from collections.abc import Sequence
from typing import Any, ClassVar, Final

from podium import pod_parts
from podium.experiments import Choice, Objective, Range
from podium.hooks.custom_resource import Object
from podium.identity import Identity
from podium.kinds import EXPERIMENT, Kind
from podium.node_pools import Placement, place
from podium.operators.custom_resource import CustomResourceOperator
from podium.operators.slots import TakesSlots
from podium.platform import settings

EXPERIMENT_LABEL: Final = "podium.dev/experiment"


class KatibExperimentOperator(TakesSlots, CustomResourceOperator):
    """Tries a command with many values of its parameters and returns the best.

    Each trial is a Job of one pod. The command names a parameter as `${trialParameters.NAME}`.

    The result: `trial`, `parameters` {name: value} and `metrics` {name: latest value}, all of the best trial.

    >>> KatibExperimentOperator(
    ...     task_id="search", image="recommender", objective=Objective(metric="recall"), max_trials=12,
    ...     command=["python", "-m", "fit", "--learning-rate=${trialParameters.lr}"],
    ...     parameters=[Range(name="lr", min=0.0001, max=0.1)], node_pool="gpu-a100", gpus=1,
    ... )

    :param image: name under `images` in the settings.
    :param command: what each trial runs, templated.
    :param parameters: what is varied.
    :param objective: what is looked for.
    :param algorithm: Katib's name of the search (`random`, `grid`, `bayesianoptimization`, `tpe`, …).
    :param max_trials: the search ends after so many.
    :param parallel_trials: how many run at once; the task takes the GPUs of all of them as slots of the pool.
    :param max_failed_trials: more failed ones fail the search.
    :param node_pool: name under `node_pools` in the settings.
    :param cpu: CPU request of one trial.
    :param memory: memory of one trial.
    :param gpus: GPUs of one trial.
    :raises NodePoolTooSmallError: at parse time: that many trials can never run at once in the pool.
    """

    kind: ClassVar[Kind] = EXPERIMENT
    gpu_arguments: ClassVar[tuple[str, ...]] = ("parallel_trials", "gpus")
    template_fields: Sequence[str] = ("command",)

    def __init__(
        self,
        *,
        image: str,
        command: Sequence[str],
        parameters: Sequence[Range | Choice],
        objective: Objective,
        max_trials: int,
        algorithm: str = "random",
        parallel_trials: int = 1,
        max_failed_trials: int = 0,
        node_pool: str = "general",
        cpu: str = "1",
        memory: str = "2Gi",
        gpus: int = 0,
        **kwargs: Any,
    ) -> None:
        platform = settings()
        self.placement: Placement = place(
            platform, node_pool, cpu=cpu, memory=memory, gpus=gpus, replicas=parallel_trials
        )
        super().__init__(**({"wants_result": False} | self.with_slots(self.placement, kwargs)))
        self.image = pod_parts.image_reference(platform, image)
        self.command = list(command)
        self.parameters = list(parameters)
        self.objective = objective
        self.algorithm = algorithm
        self.max_trials = max_trials
        self.parallel_trials = parallel_trials
        self.max_failed_trials = max_failed_trials

    def manifest(self, identity: Identity) -> Object:
        """The Experiment."""
        names = [parameter.name for parameter in self.parameters]
        return {
            "apiVersion": self.kind.api_version,
            "kind": self.kind.name,
            "metadata": {"name": identity.name, "namespace": settings().kubernetes.namespace},
            "spec": {
                "objective": self.objective.manifest(),
                "algorithm": {"algorithmName": self.algorithm},
                "parameters": [parameter.manifest() for parameter in self.parameters],
                "maxTrialCount": self.max_trials,
                "parallelTrialCount": self.parallel_trials,
                "maxFailedTrialCount": self.max_failed_trials,
                # Nothing of the search goes on running when it is over.
                "resumePolicy": "Never",
                "trialTemplate": {
                    "primaryContainerName": self.kind.container,
                    "trialParameters": [{"name": name, "reference": name} for name in names],
                    "trialSpec": self._trial(identity),
                },
            },
        }

    def result(self, finished: Object) -> Any:
        """The best trial."""
        best = finished["status"].get("currentOptimalTrial") or {}
        metrics = (best.get("observation") or {}).get("metrics") or []
        return {
            "trial": best.get("bestTrialName", ""),
            "parameters": {entry["name"]: entry["value"] for entry in best.get("parameterAssignments") or []},
            "metrics": {entry["name"]: entry["latest"] for entry in metrics},
        }

    def _trial(self, identity: Identity) -> Object:
        variables = pod_parts.environment(self.dag_id, self._run_id, self.image)
        container = {
            "name": self.kind.container,
            "image": self.image,
            "command": self.command,
            "resources": self.placement.resources,
        }
        spec = pod_parts.pod_spec(settings(), container, variables)
        labels = {EXPERIMENT_LABEL: identity.name, "sidecar.istio.io/inject": "false"}
        return {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"labels": self.placement.queue_labels},
            "spec": {
                # A trial that fails counts against max_failed_trials: two who retry would multiply.
                "backoffLimit": 0,
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {**spec, "restartPolicy": "Never", **self.placement.pod_fields},
                },
            },
        }
