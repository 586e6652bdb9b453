"""What the overhead benchmark runs on stock Airflow: the provider's operator, with what it needs and no more."""

import datetime as dt
import os

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk import DAG, task
from kubernetes.client import models as k8s

# The namespace of the jobs takes no other pods.
RESTRICTED = {
    "security_context": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
    "container_security_context": k8s.V1SecurityContext(
        allow_privilege_escalation=False, capabilities=k8s.V1Capabilities(drop=["ALL"])
    ),
}
START = dt.datetime(2017, 1, 1, tzinfo=dt.UTC)

for dag_id, command, deferrable in (
    ("noop_sync", ["true"], False),
    ("noop_deferred", ["true"], True),
    ("waits_deferred", ["sleep", os.environ["BENCH_WAIT_S"]], True),
):
    with DAG(dag_id, schedule=None, start_date=START):
        KubernetesPodOperator(
            task_id="work",
            name=dag_id.replace("_", "-"),
            namespace=os.environ["BENCH_NAMESPACE"],
            image=os.environ["BENCH_IMAGE"],
            cmds=command,
            deferrable=deferrable,
            **RESTRICTED,
        )

with DAG("no_pod", schedule=None, start_date=START):

    @task
    def work() -> None:
        """What Airflow alone takes."""

    work()
