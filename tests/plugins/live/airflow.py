"""A real Airflow for tests: Postgres, API server, scheduler, DAG processor and triggerer, on free ports."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from include.airflow.settings import PROCESSES, Credentials, environment, prepare
from include.config import load_settings
from tests.plugins.cluster import CHECKOUT, wait_for
from tests.services import Services

DAGS = Path(__file__).parent / "dags"
START_S = 180
STOP_S = 30
BUSY_TRIES = 5
# As tight as a machine bears that is busy with other tests.
FAULTS = {
    "task_heartbeat_s": 2,
    "task_heartbeat_timeout_s": 20,
    "job_heartbeat_s": 2,
    "job_timeout_s": 20,
    "orphan_check_interval_s": 3,
    "abandoned_work_check_s": 2,
    "api_outage_s": 60,
    "defer_noted_s": 3,
}
SECRETS = Credentials(
    postgres_user="airflow",
    postgres_password="",
    fernet_key="zmYb4Zb1qzq4cYcJ8nYF1m3lXwQWcG8m9C0w0Jm0l2E=",
    jwt_secret="j" * 64,
    api_secret_key="api",
    admin_password="let-me-in",
    s3_access_key="",
    s3_secret_key="",
    pseudonym_key="",
    gateway_admin_token="",
    mlflow_user="",
    kafka_user="",
    kafka_password="",
    mlflow_password="",
)


@dataclass
class Airflow:
    """Its API, and its processes to be killed and started again."""

    url: str
    home: Path
    environment: dict[str, str] = field(repr=False)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    # A connection that has been idle for some seconds is closed by the server, maybe just when it is used again.
    api: httpx.Client = field(
        default_factory=lambda: httpx.Client(
            timeout=120, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0)
        )
    )

    def start(self, name: str) -> None:
        """Start one of the four processes."""
        with (self.home / f"{name}.log").open("ab") as out:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", *PROCESSES[name]],
                env=self.environment,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=self.home,
                start_new_session=True,
            )

    def kill(self, name: str, sign: signal.Signals = signal.SIGKILL) -> None:
        """End a process and all its children."""
        os.killpg(self.processes[name].pid, sign)
        self.processes.pop(name).wait(60)

    def stop(self) -> None:
        """End all processes, the API server last: what still runs wants to tell it so."""
        for name in reversed(list(self.processes)):
            try:
                os.killpg(self.processes[name].pid, signal.SIGTERM)
                self.processes[name].wait(STOP_S)
            except subprocess.TimeoutExpired:
                # LocalExecutor waits for what runs, which may wait for something that is gone.
                os.killpg(self.processes[name].pid, signal.SIGKILL)
                self.processes[name].wait(STOP_S)
        self.processes.clear()

    def call(self, method: str, path: str, **arguments: Any) -> Any:
        """One call to the API, which must succeed; a question is put again to a server that is too busy to answer."""
        answer = self.api.request(method, f"{self.url}/api/v2{path}", **arguments)
        for _ in range(BUSY_TRIES if method == "GET" else 0):
            if answer.status_code < 500:
                break
            answer = self.api.request(method, f"{self.url}/api/v2{path}", **arguments)
        assert answer.status_code < 400, f"{method} {path}: {answer.status_code} {answer.text[:500]}"
        return answer.json() if answer.content else None

    def log_in(self) -> None:
        answer = self.api.post(f"{self.url}/auth/token", json={"username": "admin", "password": "let-me-in"})
        self.api.headers["Authorization"] = f"Bearer {answer.raise_for_status().json()['access_token']}"

    def run(self, dag_id: str, run_id: str | None = None, conf: dict[str, Any] | None = None) -> str:
        """Trigger a DAG; returns the run's id."""
        body = {"logical_date": None, "conf": conf or {}} | ({"dag_run_id": run_id} if run_id else {})
        return str(self.call("POST", f"/dags/{dag_id}/dagRuns", json=body)["dag_run_id"])

    def task(self, dag_id: str, run_id: str, task_id: str = "work") -> dict[str, Any]:
        """A task instance."""
        return dict(self.call("GET", f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}"))

    def state(self, dag_id: str, run_id: str, task_id: str = "work") -> str | None:
        """The state of a task instance."""
        found: str | None = self.task(dag_id, run_id, task_id)["state"]
        return found

    def result(self, dag_id: str, run_id: str, task_id: str = "work") -> Any:
        """What a task returned."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/return_value"
        return self.call("GET", path, params={"deserialize": "true"})["value"]

    def log(self, dag_id: str, run_id: str, attempt: int, task_id: str = "work") -> list[str]:
        """The lines of a task's log and its errors, as the UI shows them; none before the attempt has begun."""
        if self.task(dag_id, run_id, task_id)["try_number"] < attempt:
            return []
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{attempt}"
        address, accept = f"{self.url}/api/v2{path}", {"Accept": "application/json"}
        answer = self.api.get(address, params={"full_content": "true"}, headers=accept)
        if answer.status_code == 404:
            # One that never came to run has no log.
            return []
        entries = answer.raise_for_status().json()
        return [line for entry in entries["content"] for line in _lines(entry)]

    def log_files(self, dag_id: str, run_id: str, task_id: str = "work") -> dict[str, int]:
        """The files that a task's log is in, of all its tries, and their sizes in bytes."""
        folder = self.home / "logs" / "airflow" / f"dag_id={dag_id}" / f"run_id={run_id}" / f"task_id={task_id}"
        return {file.name: file.stat().st_size for file in sorted(folder.glob("*"))}


def _lines(entry: Any) -> list[str]:
    if not isinstance(entry, dict):
        return [str(entry)]
    return [
        entry["event"],
        *(f"{error['exc_type']}: {error['exc_value']}" for error in entry.get("error_detail") or ()),
    ]


def configure(patch: pytest.MonkeyPatch, services: Services) -> None:
    """Settings that a real Airflow is to have, until the patch is undone."""
    for name, port in services.ports.items():
        patch.setenv(f"PODIUM_PORTS__{name.upper()}", str(port))
    for name, seconds in FAULTS.items():
        patch.setenv(f"PODIUM_FAULTS__{name.upper()}", str(seconds))
    patch.setenv("PODIUM_AIRFLOW__AUDIT_CHECK_S", "1")
    # What is to wait deferred does so at once.
    patch.setenv("PODIUM_AIRFLOW__DEFER_AFTER_S", "1")


@contextmanager
def running_airflow(
    services: Services, kubeconfig: Path, dags: Path = DAGS, further: Mapping[str, str] | None = None
) -> Iterator[Airflow]:
    """Start all of it; end it.

    :param dags: the folder of its DAGs.
    :param further: settings beyond those of the embedded platform, as environment variables.
    """
    from dataclasses import replace

    settings, home = load_settings("local"), services.home
    own = services.credentials
    secrets = replace(
        SECRETS,
        postgres_password=own["airflow_database_password"],
        s3_access_key=own["s3_access_key"],
        s3_secret_key=own["s3_secret_key"],
        pseudonym_key=own["pseudonym_key"],
    )
    prepare(home, secrets)
    bundle = {
        "name": "live",
        "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
        "kwargs": {"path": str(dags), "refresh_interval": 5},
    }
    connection = {"conn_type": "kubernetes", "extra": {"kube_config_path": str(kubeconfig)}}
    variables = environment(settings, home, secrets) | {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "TMPDIR": tempfile.gettempdir(),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps([bundle]),
        "AIRFLOW_CONN_KUBERNETES_DEFAULT": json.dumps(connection),
        **(further or {}),
    }
    migrated = subprocess.run(
        [sys.executable, "-m", "include.airflow.database"],
        env=variables,
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert migrated.returncode == 0, migrated.stdout[-3000:]
    airflow = Airflow(f"http://127.0.0.1:{services.ports['airflow']}", home, variables)
    with ExitStack() as stack:
        stack.enter_context(airflow.api)
        stack.callback(airflow.stop)
        for name in PROCESSES:
            airflow.start(name)
        wait_for(lambda: _serves(airflow), "Airflow's API", START_S)
        airflow.log_in()
        wait_for(lambda: _parsed(airflow), "the DAGs to be parsed", START_S)
        yield airflow


def _parsed(airflow: Airflow) -> bool:
    errors = airflow.call("GET", "/importErrors")["import_errors"]
    assert not errors, errors
    # All of them come from one file, so one is all.
    return bool(airflow.call("GET", "/dags")["dags"])


def _serves(airflow: Airflow) -> bool:
    for name, process in airflow.processes.items():
        if process.poll() is not None:
            pytest.fail(f"{name} ended: {(airflow.home / f'{name}.log').read_text()[-3000:]}")
    try:
        return airflow.api.get(f"{airflow.url}/api/v2/monitor/health").status_code == 200
    except httpx.HTTPError:
        return False
