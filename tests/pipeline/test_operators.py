"""The Spark operator, the MPI operator and KServe themselves run the pipeline's work, from Podium's manifests.

`--operators` says that the cluster has them. Where it is not given, or one is not there, these tests are skipped. One
run of the DAGs serves all of them: each test waits for its task and looks at what the operator made.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from include.demo.airflow_api import AirflowApi, TaskInstance
from include.demo.cluster import Cluster
from include.demo.run import add_months, month_bounds
from tests.pipeline.own_cluster import OwnCluster
from tests.pipeline.running import BROKEN, HOUSEHOLDS, MONTHS, Home, home

DAGS = ("ingest_transactions", "build_features", "train_recommender", "rollout_recommender")
PATIENCE_S = 1500
POLL_S = 1.0
ASK = """
import json, os, pathlib, sys, urllib.request
key = pathlib.Path(os.environ["PODIUM_CREDENTIALS_DIR"], "serving_key").read_text().strip()
body = json.dumps({"instances": [{"household_id": 1, "k": 20}]}).encode()
shown = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
request = urllib.request.Request(sys.argv[1], body, shown)
print("PODIUM_RESULT " + urllib.request.urlopen(request, timeout=30).read().decode())
"""


@dataclass
class Running:
    """The platform while its DAGs run. What is seen of pods is kept, as operators clean up after themselves."""

    home: Home
    airflow: AirflowApi
    cluster: Cluster
    own: OwnCluster
    pods: dict[str, dict[str, Any]] = field(default_factory=dict)

    def get(self, *words: str) -> Any:
        """What kubectl gets in the platform's namespace, decoded."""
        return json.loads(self.own.kubectl("-n", self.home.settings.kubernetes.namespace, "get", *words, "-o", "json"))

    def result(self, dag_id: str, task_id: str) -> Any:
        """Wait until a task of the DAG's only run has succeeded; what it returned.

        :raises AssertionError: it, or one that it waits for, failed; the message has the end of its log.
        """
        self._wait(lambda: bool(self.airflow.runs(dag_id)), f"a run of {dag_id}")
        (run,) = self.airflow.runs(dag_id)

        def succeeded() -> bool:
            tasks = self.airflow.tasks(run)
            failed = [task for task in tasks if task.state in ("failed", "upstream_failed")]
            assert not failed, self._told(failed)
            return any(task.task_id == task_id and task.state == "success" for task in tasks)

        self._wait(succeeded, f"{task_id} of {dag_id}")
        return self.airflow.result(run, task_id)

    def _wait(self, holds: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + PATIENCE_S
        while not holds():
            failed = [run for dag_id in DAGS for run in self.airflow.runs(dag_id) if run.state == "failed"]
            assert not failed, self._told([task for run in failed for task in self.airflow.tasks(run)])
            assert time.monotonic() < end, f"waited {PATIENCE_S} s in vain for {what}"
            self.pods |= {pod["metadata"]["name"]: pod for pod in self.get("pods")["items"]}
            time.sleep(POLL_S)

    def _told(self, tasks: list[TaskInstance]) -> str:
        return "\n".join(line for task in tasks if task.state == "failed" for line in self.airflow.log_tail(task, 60))


@pytest.fixture(scope="module")
def running(own_cluster: OwnCluster | None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A platform whose controllers are off, with its events produced and the backfill that starts all else begun."""
    if own_cluster is None or not own_cluster.operators:
        pytest.skip("--kubeconfig names no cluster with operators (--operators)")
    if missing := own_cluster.missing_operators():
        pytest.skip(f"the cluster has no operator for {', '.join(missing)}")
    with ExitStack() as stack:
        settings = stack.enter_context(own_cluster.prepared(tmp_path_factory.mktemp("cluster")))
        made = stack.enter_context(home("operators", settings | {"PODIUM_FEATURES__EXECUTOR_INSTANCES": "1"}))
        up = made.stack("up")
        assert up.returncode == 0, up.stdout
        kubeconfig = made.settings.kubernetes.kubeconfig
        assert kubeconfig is not None
        cluster = stack.enter_context(Cluster(kubeconfig, made.settings))
        airflow = stack.enter_context(AirflowApi(_airflow_url(made), "admin", _password(made.path)))
        _produce(cluster, made)
        _backfill(airflow, made)
        yield Running(made, airflow, cluster, own_cluster)


def _airflow_url(made: Home) -> str:
    assert made.settings.ports is not None
    return f"http://127.0.0.1:{made.settings.ports.airflow}"


def _password(path: Path) -> str:
    return str(json.loads((path / "credentials.json").read_text())["airflow_admin_password"])


def _produce(cluster: Cluster, made: Home) -> None:
    ingest = made.settings.ingest.transactions
    arguments = ["--topic", ingest.topic, "--partitions", str(ingest.partitions), "--broken", str(BROKEN)]
    arguments += ["--months", str(MONTHS), "--households", str(HOUSEHOLDS)]
    cluster.start("reference", "ingest", ["reference"])
    cluster.start("produce", "shop", ["produce", *arguments])
    cluster.result("reference")
    cluster.result("produce")


def _backfill(airflow: AirflowApi, made: Home) -> None:
    end = time.monotonic() + PATIENCE_S
    while missing := set(DAGS) - airflow.dag_ids():
        assert time.monotonic() < end, f"{missing} not parsed: {airflow.import_errors()}"
        time.sleep(POLL_S)
    for dag_id in DAGS:
        airflow.unpause(dag_id)
    zone, first = ZoneInfo(made.settings.ingest.timezone), made.settings.ingest.transactions.start_date
    start, last = (month_bounds(add_months(first, months), zone)[0] for months in (0, MONTHS - 1))
    airflow.backfill("ingest_transactions", start, last, made.settings.ingest.transactions.max_active_runs)


def test_the_spark_operator_runs_a_driver_and_an_executor_that_write_iceberg(running: Running) -> None:
    result = running.result("build_features", "build")
    (application,) = running.get("sparkapplications")["items"]
    status = application["status"]
    assert status["applicationState"]["state"] == "COMPLETED"
    # Only the operator's status tells of executors: their pods are gone.
    (executor,) = status["executorState"]
    driver = running.pods[status["driverInfo"]["podName"]]
    assert driver["spec"]["serviceAccountName"] == running.home.settings.kubernetes.spark_service_account
    assert running.pods[executor]["spec"]["serviceAccountName"] == running.home.settings.kubernetes.service_account
    for pod in (driver, running.pods[executor]):
        (container,) = pod["spec"]["containers"]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    tables = {name: table for name, table in result["tables"].items() if name.startswith("features.")}
    assert len(tables) == 5
    assert all(table["snapshot_id"] and table["rows"] > 0 for table in tables.values()), tables


def test_the_mpi_operator_runs_horovod_over_two_workers_with_gpus_by_ssh(running: Running) -> None:
    result = running.result("train_recommender", "train")
    assert result["workers"] == 2
    (job,) = running.get("mpijobs")["items"]
    name = job["metadata"]["name"]
    assert [c["status"] for c in job["status"]["conditions"] if c["type"] == "Succeeded"] == ["True"]
    workers = [running.pods[f"{name}-worker-{index}"] for index in range(2)]
    for worker in workers:
        (container,) = worker["spec"]["containers"]
        assert container["command"][0] == "/usr/sbin/sshd"
        assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
        assert worker["spec"]["securityContext"]["runAsUser"] == 10001
    # Nothing but ssh can have brought the ranks there: launcher and workers have no token for the cluster's API.
    assert set(running.get("configmap", f"{name}-config")["data"]) == {"hostfile", "discover_hosts.sh"}
    assert not [pod for pod in running.get("pods")["items"] if pod["metadata"]["name"].startswith(f"{name}-worker")]


def test_kserve_serves_the_champion(running: Running) -> None:
    served = running.result("rollout_recommender", "serve")
    settings = running.home.settings
    service = running.get("inferenceservice", settings.rollout.inference_service)
    assert [c["status"] for c in service["status"]["conditions"] if c["type"] == "Ready"] == ["True"]
    assert served["url"] == service["status"]["url"]
    address = f"{service['status']['address']['url']}/v1/models/{settings.recommender.model_name}:predict"
    running.cluster.start_command("ask", "ingest", ["python", "-c", ASK, address])
    (answer,) = running.cluster.result("ask")["predictions"]
    assert len(set(answer["products"])) == 20
    assert str(answer["model_version"]) == str(served["version"])
