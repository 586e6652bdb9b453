"""Horovod on the GPU pools: an MPIJob of the mpi-operator."""

from collections.abc import Sequence
from typing import Any, ClassVar, Final

from podium import pod_parts
from podium.hooks.custom_resource import Object
from podium.identity import Identity
from podium.kinds import MPI_JOB, Kind
from podium.node_pools import Placement, place
from podium.operators.custom_resource import CustomResourceOperator
from podium.operators.slots import TakesSlots
from podium.platform import settings

HOSTFILE: Final = "/etc/mpi/hostfile"
SSH_AUTH_PATH: Final = "/home/podium/.ssh"
# As the images have it (include/jobs/recommender/ssh): the operator's default needs root.
SSHD: Final = ("/usr/sbin/sshd", "-D", "-e", "-f", "/etc/podium/sshd_config")
TTL_S: Final = 24 * 3600

# What the mpi-operator labels the pods of a job with.
JOB_LABEL: Final = "training.kubeflow.org/job-name"
ROLE_LABEL: Final = "training.kubeflow.org/job-role"


class MPIJobOperator(TakesSlots, CustomResourceOperator):
    """Runs a command on every worker of a pool, as ranks of one Horovod job.

    The launcher starts once all workers are ready, reaches them through the host file, and prints the result of
    rank 0. One dead rank ends the job; the command is expected to go on from its checkpoint when it runs again.

    :param image: name under `images` in the settings, for launcher and workers.
    :param command: what each rank runs, templated.
    :param workers: how many worker pods, each one rank.
    :param node_pool: name under `node_pools` in the settings, for the workers.
    :param gpus_per_worker: GPUs of one worker; the task takes all of them as slots of the pool.
    :param cpu: CPU request of one worker.
    :param memory: memory of one worker.
    :param env: further environment variables of launcher and workers, templated; no secrets.
    :raises NodePoolTooSmallError: at parse time: the workers can never run at once in the pool.
    """

    kind: ClassVar[Kind] = MPI_JOB
    gpu_arguments: ClassVar[tuple[str, ...]] = ("workers", "gpus_per_worker")
    template_fields: Sequence[str] = ("command", "env")

    def __init__(
        self,
        *,
        image: str,
        command: Sequence[str],
        workers: int,
        node_pool: str,
        gpus_per_worker: int = 1,
        cpu: str = "2",
        memory: str = "4Gi",
        env: dict[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        platform = settings()
        self.placement: Placement = place(
            platform, node_pool, cpu=cpu, memory=memory, gpus=gpus_per_worker, replicas=workers
        )
        super().__init__(**self.with_slots(self.placement, kwargs))
        self.image = pod_parts.image_reference(platform, image)
        self.command = list(command)
        self.workers = workers
        self.env = dict(env or {})

    def manifest(self, identity: Identity) -> Object:
        """The MPIJob."""
        launch = ["horovodrun", "--gloo", "--hostfile", HOSTFILE, "-np", str(self.workers), *self.command]
        launcher_resources = {"requests": {"cpu": "250m", "memory": "512Mi"}, "limits": {"memory": "512Mi"}}
        launcher = self._pod({"name": "launcher", "command": launch, "resources": launcher_resources})
        worker = self._pod({"name": "worker", "command": [*SSHD], "resources": self.placement.resources})
        gang = {JOB_LABEL: identity.name, ROLE_LABEL: "worker"}
        worker["spec"] |= {
            **self.placement.pod_fields,
            "affinity": self.placement.gang_affinity(gang),
        }
        return {
            "apiVersion": self.kind.api_version,
            "kind": self.kind.name,
            "metadata": {
                "name": identity.name,
                "namespace": settings().kubernetes.namespace,
                "labels": self.placement.queue_labels,
            },
            "spec": {
                "slotsPerWorker": 1,
                # Otherwise the launcher races its workers.
                "launcherCreationPolicy": "WaitForWorkersReady",
                "sshAuthMountPath": SSH_AUTH_PATH,
                "runPolicy": {
                    # The launcher stays: its log holds the result.
                    "cleanPodPolicy": "Running",
                    # Airflow retries, with a checkpoint to go on from; two who retry would multiply.
                    "backoffLimit": 0,
                    "ttlSecondsAfterFinished": TTL_S,
                },
                "mpiReplicaSpecs": {
                    "Launcher": {"replicas": 1, "restartPolicy": "Never", "template": launcher},
                    "Worker": {"replicas": self.workers, "restartPolicy": "Never", "template": worker},
                },
            },
        }

    def _pod(self, container: Object) -> Object:
        variables = pod_parts.environment(self.dag_id, self._run_id, self.image)
        variables += [{"name": name, "value": value} for name, value in self.env.items()]
        return {
            # ssh between pods does not pass through a mesh's side-car.
            "metadata": {"labels": {"sidecar.istio.io/inject": "false"}},
            "spec": pod_parts.pod_spec(settings(), {"image": self.image, **container}, variables),
        }
