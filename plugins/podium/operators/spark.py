"""Spark: a SparkApplication of the Spark operator."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, Final

from airflow.providers.cncf.kubernetes.operators.spark_kubernetes import SparkKubernetesOperator
from airflow.sdk import BaseOperatorLink

from podium import pod_parts
from podium.capacity import SPARK_OVERHEAD_FACTOR, Demand, spark_pod_memory
from podium.custom_resource_run import Cleanup, CustomResourceRun
from podium.hooks.custom_resource import Object
from podium.identity import Identity
from podium.kinds import SPARK_APPLICATION
from podium.lineage import ReportsDatasets
from podium.links import PodLogLink, SparkUiLink
from podium.node_pools import place
from podium.platform import settings

if TYPE_CHECKING:
    from airflow.sdk import Context

SPARK_VERSION: Final = "4.1.1"
TTL_S: Final = 24 * 3600
# Spark's names of its containers, by which it finds them in a template.
DRIVER: Final = SPARK_APPLICATION.container
EXECUTOR: Final = "spark-kubernetes-executor"


class PodiumSparkOperator(ReportsDatasets, SparkKubernetesOperator):
    """Runs a PySpark application of one image and returns the result that it prints last.

    The provider's operator finds its work by the driver's labels, judges it by the driver pod, and deletes the
    driver when it is killed: a crash before the driver starts means a second application, and a driver that is gone
    reads as success (apache/airflow#41212). Here the SparkApplication itself has a name that follows from the task,
    is adopted by a retry, is judged by its own state, and is what gets deleted.

    :param image: name under `images` in the settings.
    :param main: the main file, e.g. `local:///app/include/jobs/features/main.py`.
    :param arguments: its arguments, templated.
    :param node_pool: name under `node_pools` in the settings.
    :param driver_cores: cores of the driver.
    :param driver_memory: heap of the driver, as Spark has it (`2g`).
    :param executors: how many executors; the operator takes no application without one.
    :param executor_cores: cores of one executor.
    :param executor_memory: heap of one executor.
    :param core_request: CPU request of driver and executors where it is less than their cores, for nodes that they
        share; a Kubernetes quantity.
    :param conf: further Spark settings.
    :param deferrable: wait in the triggerer; else in the worker.
    :param cleanup: what becomes of the finished application.
    :raises NodePoolTooSmallError: at parse time: driver and executors can never run at once in the pool.
    """

    operator_extra_links: Collection[BaseOperatorLink] = (PodLogLink(), SparkUiLink())

    def __init__(
        self,
        *,
        image: str,
        main: str,
        arguments: Sequence[str] = (),
        node_pool: str = "spark",
        driver_cores: int = 1,
        driver_memory: str = "2g",
        executors: int = 1,
        executor_cores: int = 1,
        executor_memory: str = "2g",
        core_request: str | None = None,
        conf: dict[str, str] | None = None,
        deferrable: bool = True,
        cleanup: Cleanup = Cleanup.KEEP,
        **kwargs: Any,
    ) -> None:
        platform = settings()
        reference = pod_parts.image_reference(platform, image)
        placement = place(
            platform,
            node_pool,
            cpu=core_request or str(driver_cores),
            memory=spark_pod_memory(driver_memory),
            beside=[Demand(executors, core_request or str(executor_cores), spark_pod_memory(executor_memory))],
        )
        request = {"coreRequest": core_request} if core_request else {}
        variables = pod_parts.environment("{{ dag.dag_id }}", "{{ run_id }}", reference)

        def template(container: str, **fields: Any) -> Object:
            """What the operator's own fields cannot say without its webhook, which many clusters run without."""
            spec = pod_parts.pod_spec(platform, {"name": container}, variables)
            return {"spec": {**spec, **placement.pod_fields, **fields}}

        application: Object = {
            "apiVersion": SPARK_APPLICATION.api_version,
            "kind": SPARK_APPLICATION.name,
            "metadata": {"labels": placement.queue_labels},
            "spec": {
                "type": "Python",
                "pythonVersion": "3",
                "mode": "cluster",
                "sparkVersion": SPARK_VERSION,
                "image": reference,
                "imagePullPolicy": "IfNotPresent",
                "mainApplicationFile": main,
                "arguments": list(arguments),
                "sparkConf": dict(conf or {}),
                "memoryOverheadFactor": str(SPARK_OVERHEAD_FACTOR),
                # Airflow retries; two who retry would multiply.
                "restartPolicy": {"type": "Never"},
                "timeToLiveSeconds": TTL_S,
                "driver": {
                    "cores": driver_cores,
                    **request,
                    "memory": driver_memory,
                    "serviceAccount": platform.kubernetes.spark_service_account,
                    # It asks the cluster for its executors; no other pod has a token.
                    "template": template(
                        DRIVER,
                        automountServiceAccountToken=True,
                        serviceAccountName=platform.kubernetes.spark_service_account,
                    ),
                },
                "executor": {
                    "instances": executors,
                    "cores": executor_cores,
                    **request,
                    "memory": executor_memory,
                    "serviceAccount": platform.kubernetes.service_account,
                    "template": template(EXECUTOR),
                },
            },
        }
        super().__init__(
            namespace=platform.kubernetes.namespace,
            kubernetes_conn_id=platform.kubernetes.connection_id,
            template_spec={"spark": application},
            random_name_suffix=False,
            deferrable=deferrable,
            **kwargs,
        )
        # The provider's False means that no side-car is wanted; the result comes from the driver's log.
        self.do_xcom_push = True
        self.cleanup_policy = cleanup
        self._run: CustomResourceRun | None = None

    def execute(self, context: "Context") -> Any:
        """Apply the application, or adopt it, and wait.

        :raises WorkFailedError: it failed.
        """
        return self._begin().start(context, self._manifest)

    def resume(self, context: "Context", event: dict[str, Any]) -> Any:
        """Go on after the wait.

        :raises WorkFailedError: the application failed or is gone.
        :raises WorkTimeoutError: it did not finish in time.
        """
        return self._begin().finish(context, event)

    def on_kill(self) -> None:
        """End the application, unless another attempt has taken it over."""
        if self._run is not None:
            self._run.kill()

    def _manifest(self, identity: Identity) -> Object:
        application: Object = self.template_body["spark"]
        metadata = {**application["metadata"], "name": identity.name, "namespace": self.namespace}
        return {**application, "metadata": metadata}

    def _begin(self) -> CustomResourceRun:
        self._run = CustomResourceRun(
            operator=self,
            kind=SPARK_APPLICATION,
            namespace=settings().kubernetes.namespace,
            conn_id=settings().kubernetes.connection_id,
            deferrable=self.deferrable,
            cleanup=self.cleanup_policy,
        )
        return self._run
