"""Training on a runtime of Kubeflow Trainer: a TrainJob."""

from collections.abc import Sequence
from typing import Any, ClassVar, Final

from podium import pod_parts
from podium.hooks.custom_resource import Object
from podium.identity import Identity
from podium.kinds import TRAIN_JOB, Kind
from podium.node_pools import Placement, place
from podium.operators.custom_resource import CustomResourceOperator
from podium.operators.slots import TakesSlots
from podium.platform import settings

# Who the patch of the runtime belongs to.
MANAGER: Final = "podium.dev/airflow"
JOBSET_LABEL: Final = "jobset.sigs.k8s.io/jobset-name"


class TrainJobOperator(TakesSlots, CustomResourceOperator):
    """Runs a command on all nodes of a training runtime (PyTorch, JAX, MPI, …) that the cluster offers.

    Needs Kubeflow Trainer 2.2 or newer (`spec.runtimePatches`). The log and the result are those of the first node.

    :param runtime: name of a ClusterTrainingRuntime.
    :param image: name under `images` in the settings.
    :param command: what each node runs, templated.
    :param nodes: how many training nodes.
    :param node_pool: name under `node_pools` in the settings.
    :param gpus_per_node: GPUs of one training node; the task takes all of them as slots of the pool.
    :param cpu: CPU request of one.
    :param memory: memory of one.
    :param processes_per_node: default: the runtime's.
    :param env: further environment variables, templated; no secrets.
    :raises NodePoolTooSmallError: at parse time: the nodes can never run at once in the pool.
    """

    kind: ClassVar[Kind] = TRAIN_JOB
    gpu_arguments: ClassVar[tuple[str, ...]] = ("nodes", "gpus_per_node")
    template_fields: Sequence[str] = ("command", "env")

    def __init__(
        self,
        *,
        runtime: str,
        image: str,
        command: Sequence[str],
        nodes: int,
        node_pool: str,
        gpus_per_node: int = 1,
        cpu: str = "2",
        memory: str = "4Gi",
        processes_per_node: int | None = None,
        env: dict[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        platform = settings()
        self.placement: Placement = place(
            platform, node_pool, cpu=cpu, memory=memory, gpus=gpus_per_node, replicas=nodes
        )
        super().__init__(**self.with_slots(self.placement, kwargs))
        self.runtime = runtime
        self.image = pod_parts.image_reference(platform, image)
        self.command = list(command)
        self.nodes = nodes
        self.processes_per_node = processes_per_node
        self.env = dict(env or {})

    def manifest(self, identity: Identity) -> Object:
        """The TrainJob."""
        variables = pod_parts.environment(self.dag_id, self._run_id, self.image)
        variables += [{"name": name, "value": value} for name, value in self.env.items()]
        trainer: Object = {
            "image": self.image,
            "command": self.command,
            "env": variables,
            "numNodes": self.nodes,
            "resourcesPerNode": self.placement.resources,
        }
        if self.processes_per_node is not None:
            trainer["numProcPerNode"] = self.processes_per_node
        return {
            "apiVersion": self.kind.api_version,
            "kind": self.kind.name,
            "metadata": {
                "name": identity.name,
                "namespace": settings().kubernetes.namespace,
                "labels": self.placement.queue_labels,
            },
            "spec": {
                "runtimeRef": {"name": self.runtime},
                "trainer": trainer,
                "runtimePatches": [{"manager": MANAGER, "trainingRuntimeSpec": self._patch(identity)}],
            },
        }

    def _patch(self, identity: Identity) -> Object:
        """Where the runtime's pods run, and what they find mounted."""
        platform = settings()
        # The environment of the container `node` is the trainer's alone to set: no envFrom here.
        container = {
            "name": self.kind.container,
            "volumeMounts": [pod_parts.credentials_mount()],
            "securityContext": pod_parts.CONTAINER_SECURITY_CONTEXT,
        }
        pod = {
            "serviceAccountName": platform.kubernetes.service_account,
            "securityContext": pod_parts.POD_SECURITY_CONTEXT,
            "volumes": [pod_parts.credentials_volume(platform)],
            "containers": [container],
            **self.placement.pod_fields,
            "affinity": self.placement.gang_affinity({JOBSET_LABEL: identity.name}),
        }
        job = {"name": "node", "template": {"spec": {"template": {"spec": pod}}}}
        return {"template": {"spec": {"replicatedJobs": [job]}}}
