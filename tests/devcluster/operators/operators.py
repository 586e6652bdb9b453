"""Tasks with the provider's own operators. As a program: runs each with `dag.test()`; prints the outcomes."""

from __future__ import annotations

import base64
import datetime as dt
import json
import os
import sys
from typing import Any

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.providers.cncf.kubernetes.operators.spark_kubernetes import SparkKubernetesOperator
from airflow.sdk import DAG

NAMESPACE = os.environ.get("TEST_NAMESPACE", "default")
POD: dict[str, Any] = {"namespace": NAMESPACE, "image": "busybox:1.36", "get_logs": True, "termination_grace_period": 1}
RESULT = 'echo "a line of the pod\'s log"; echo \'{"auc": 0.9}\' > /airflow/xcom/return.json'
FAILURE = "echo this is why; exit 3"


def spark(task: str, **options: Any) -> SparkKubernetesOperator:
    script = base64.b64encode(b"echo the driver says hello; sleep 2").decode()
    application = {
        "apiVersion": "sparkoperator.k8s.io/v1beta2",
        "kind": "SparkApplication",
        "metadata": {"name": task.replace("_", "-")},
        "spec": {
            "type": "Python",
            "mode": "cluster",
            "image": "busybox:1.36",
            "sparkVersion": "4.1.1",
            "mainApplicationFile": "local:///main.py",
            "arguments": [script],
            "restartPolicy": {"type": "Never"},
            "driver": {"cores": 1},
            "executor": {"instances": 1},
        },
    }
    return SparkKubernetesOperator(
        task_id=task, namespace=NAMESPACE, template_spec={"spark": application}, get_logs=True, **options
    )


def build(task: str) -> DAG:
    """A DAG of the one task."""
    deferrable = task.endswith("_deferred")
    with DAG(dag_id=f"operators_{task}", schedule=None, start_date=dt.datetime(2025, 1, 1, tzinfo=dt.UTC)) as dag:
        if task.startswith("pod"):
            KubernetesPodOperator(
                task_id=task,
                name="result",
                cmds=["sh", "-c"],
                arguments=[RESULT],
                do_xcom_push=True,
                deferrable=deferrable,
                **POD,
            )
        elif task.startswith("failing"):
            KubernetesPodOperator(
                task_id=task, name="failing", cmds=["sh", "-c"], arguments=[FAILURE], deferrable=deferrable, **POD
            )
        else:
            spark(task, deferrable=deferrable)
    return dag


TASKS = [f"{kind}_{mode}" for kind in ("pod", "failing", "spark") for mode in ("sync", "deferred")]
DAGS = {task: build(task) for task in TASKS}

if __name__ == "__main__":
    for name in TASKS:
        sys.stdout.write(f"BEGIN {name}\n")
        sys.stdout.flush()
        run = DAGS[name].test(logical_date=dt.datetime.now(dt.UTC))
        (instance,) = run.get_task_instances()
        outcome = {"state": instance.state, "result": instance.xcom_pull(task_ids=name)}
        sys.stdout.write(f"OUTCOME {json.dumps(outcome)}\n")
        sys.stdout.flush()
