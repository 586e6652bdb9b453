"""Airflow's own operators, unmodified, run by a real `dag.test()` in a process of its own."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.client.exceptions import ApiException

from tests.devcluster.cluster import Cluster, eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

CHECKOUT = Path(__file__).parents[2]
DAGS = Path(__file__).parent / "operators" / "operators.py"


@dataclass(frozen=True)
class Outcome:
    """How a task ended, what it returned, and everything that was logged meanwhile."""

    state: str
    result: Any
    log: str


@pytest.fixture(scope="module")
def outcomes(cluster: Cluster, spark: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """All tasks of the file, run one after the other by an Airflow with a database of its own."""
    home = tmp_path_factory.mktemp("airflow")
    extra = {"kube_config_path": str(cluster.kubeconfig), "namespace": cluster.namespace}
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
        "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS.parent),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW_CONN_KUBERNETES_DEFAULT": json.dumps({"conn_type": "kubernetes", "extra": extra}),
        "TEST_NAMESPACE": cluster.namespace,
    }
    subprocess.run(
        [sys.executable, "-m", "airflow", "db", "migrate"],
        env=environment,
        check=True,
        capture_output=True,
        timeout=300,
    )
    done = subprocess.run(
        [sys.executable, str(DAGS)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        timeout=600, check=False,
    )  # fmt: skip
    found = {}
    for part in re.split(r"^BEGIN ", done.stdout, flags=re.MULTILINE)[1:]:
        task, _, said = part.partition("\n")
        match = re.search(r"^OUTCOME (.*)$", said, flags=re.MULTILINE)
        assert match, said[-5000:]
        found[task] = Outcome(log=said, **json.loads(match[1]))
    return found


@pytest.fixture(scope="module")
def spark(cluster: Cluster) -> Iterator[None]:
    """SparkApplications, and what an operator does with them: a driver pod, and its end as the state."""
    path = CHECKOUT / "include/devcluster/controllers/crds/sparkapplications.yaml"
    try:
        cluster.extensions.create_custom_resource_definition(yaml.safe_load(path.read_text()))
    except ApiException as error:
        if error.status != 409:
            raise
    kind = ("sparkoperator.k8s.io", "v1beta2", cluster.namespace, "sparkapplications")

    def listed() -> list[dict[str, Any]] | None:
        try:
            return list(cluster.custom.list_namespaced_custom_object(*kind)["items"])
        except ApiException:
            return None

    eventually(lambda: listed() is not None)
    stop = threading.Event()

    def operate() -> None:
        while not stop.wait(0.2):
            for application in listed() or []:
                _operate(cluster, kind, application)

    operator = threading.Thread(target=operate)
    operator.start()
    yield
    stop.set()
    operator.join()


def _operate(cluster: Cluster, kind: tuple[str, ...], application: dict[str, Any]) -> None:
    name, spec = application["metadata"]["name"], application["spec"]
    state = "RUNNING"
    try:
        driver = cluster.pod(f"{name}-driver")
        state = {"Succeeded": "COMPLETED", "Failed": "FAILED"}.get(driver.status.phase, "RUNNING")
    except ApiException:
        if application.get("status"):
            return
        owner = {
            "apiVersion": application["apiVersion"],
            "kind": "SparkApplication",
            "name": name,
            "uid": application["metadata"]["uid"],
        }
        labels = {**(spec["driver"].get("labels") or {}), "spark-role": "driver", "sparkoperator.k8s.io/app-name": name}
        body = cluster.manifest(
            f"{name}-driver",
            base64.b64decode(spec["arguments"][0]).decode(),
            metadata={"labels": labels, "ownerReferences": [owner]},
        )
        body["spec"]["containers"][0]["name"] = "spark-kubernetes-driver"
        cluster.core.create_namespaced_pod(cluster.namespace, body)
    try:
        cluster.custom.patch_namespaced_custom_object_status(
            *kind, name, {"status": {"applicationState": {"state": state}}}
        )
    except ApiException as error:
        if error.status != 404:  # it may have been deleted meanwhile
            raise


@pytest.mark.parametrize("mode", ["sync", "deferred"])
def test_a_pod_with_a_result(cluster: Cluster, outcomes: dict[str, Outcome], mode: str) -> None:
    outcome = outcomes[f"pod_{mode}"]
    assert (outcome.state, outcome.result) == ("success", {"auc": 0.9}), outcome.log[-5000:]
    assert "a line of the pod's log" in outcome.log
    left = cluster.core.list_namespaced_pod(cluster.namespace, label_selector=f"task_id=pod_{mode}").items
    eventually(lambda: all(cluster.gone(p.metadata.name) for p in left))


@pytest.mark.parametrize("mode", ["sync", "deferred"])
def test_a_pod_that_fails(outcomes: dict[str, Outcome], mode: str) -> None:
    outcome = outcomes[f"failing_{mode}"]
    assert outcome.state == "failed", outcome.log[-5000:]
    assert "this is why" in outcome.log


@pytest.mark.parametrize("mode", ["sync", "deferred"])
def test_a_spark_application(outcomes: dict[str, Outcome], mode: str) -> None:
    outcome = outcomes[f"spark_{mode}"]
    assert outcome.state == "success", outcome.log[-5000:]
    assert "the driver says hello" in outcome.log
