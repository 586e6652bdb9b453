"""Airflows of the benchmarks' own, beside the platform's: on stock settings, or on Podium's."""

import contextlib
import dataclasses
import os
import re
import signal
import subprocess
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import psycopg
from psycopg import sql

from benchmarks.dev_cluster import free_port
from include.airflow.settings import PROCESSES, prepare
from include.config import Settings
from include.demo.airflow_api import AirflowApi
from include.stack.errors import Unhealthy
from include.stack.health import Check, http
from include.stack.ports import HOST
from include.stack.service import Platform
from include.stack.services import airflow, postgres
from include.stack.supervisor import Supervisor
from include.stack.up import wait_until_healthy

DAGS: Final = Path(__file__).parent / "dags"
DATABASE: Final = "bench_airflow"
START_S: Final = 300
POLL_S: Final = 0.5
TOLD_WITHIN_S: Final = 60

# Stock settings: only where things are and who may use them. Nothing here makes Airflow faster or slower.
STOCK: Final = (
    "AIRFLOW_HOME",
    "AIRFLOW__CORE__LOAD_EXAMPLES",
    "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION",
    "AIRFLOW__CORE__FERNET_KEY",
    "AIRFLOW__CORE__EXECUTION_API_SERVER_URL",
    "AIRFLOW__CORE__AUTH_MANAGER",
    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS",
    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE",
    "AIRFLOW__CORE__HOSTNAME_CALLABLE",
    "AIRFLOW__API__HOST",
    "AIRFLOW__API__PORT",
    "AIRFLOW__API__BASE_URL",
    "AIRFLOW__API__SECRET_KEY",
    "AIRFLOW__API_AUTH__JWT_SECRET",
    "AIRFLOW__API_AUTH__JWT_ISSUER",
    "AIRFLOW__LOGGING__BASE_LOG_FOLDER",
    "AIRFLOW__LOGGING__DAG_PROCESSOR_CHILD_PROCESS_LOG_DIRECTORY",
    "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED",
    "SCARF_ANALYTICS",
    "DO_NOT_TRACK",
)

Kind = Literal["stock", "podium"]

# The supervisor of a task says how long it occupied the worker's slot: once for each stretch of a task that defers.
_STRETCH = re.compile(r"Workload finished.*?duration=(?P<seconds>[\d.e-]+).*?workload_id=(?P<id>[0-9a-f-]{36})")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class RunningAirflow:
    """An Airflow that is up.

    :param api: logged in.
    :param log: of its scheduler and workers.
    """

    api: AirflowApi
    log: Path

    def worker_seconds(self, tasks: Collection[str]) -> dict[str, float]:
        """Seconds that tasks have occupied workers, by the id of the task instance.

        A worker is free a little later than its task has ended: waits for that.

        :raises RuntimeError: the log does not tell of a task within `TOLD_WITHIN_S`.
        """
        deadline = time.monotonic() + TOLD_WITHIN_S
        while missing := set(tasks) - (held := self._held()).keys():
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.log} does not say how long tasks occupied a worker: {sorted(missing)}")
            time.sleep(POLL_S)
        return held

    def _held(self) -> dict[str, float]:
        total: dict[str, float] = {}
        for match in _STRETCH.finditer(_COLOURS.sub("", self.log.read_text(errors="replace"))):
            total[match["id"]] = total.get(match["id"], 0.0) + float(match["seconds"])
        return total


@contextlib.contextmanager
def platform_paused(platform: Platform) -> Iterator[None]:
    """Stop the platform's own Airflow meanwhile: two of them on one machine would measure each other."""
    supervisor = Supervisor(platform)
    own = airflow.services(platform)
    supervisor.stop([service.name for service in own])
    try:
        yield
    finally:
        for service in own:
            supervisor.start(service.name)
        for service in own:
            wait_until_healthy(platform, supervisor, service)


@contextlib.contextmanager
def running(
    platform: Platform,
    kind: Kind,
    settings: Settings,
    variables: dict[str, str],
    dag_ids: Collection[str],
    dags: Path | None = None,
) -> Iterator[RunningAirflow]:
    """Start an Airflow with a fresh database; end it, and drop the database.

    :param settings: the platform's, or those of a cluster of one's own.
    :param variables: for the DAGs, beside what the settings say.
    :param dag_ids: it is up when it has found these.
    :param dags: folder of its DAGs; default: `dags/<kind>` of the benchmarks.
    :raises RuntimeError: it does not come up; names the log.
    """
    home = platform.paths.checkout / "build" / "bench" / f"airflow-{kind}"
    logs = home / "processes"
    logs.mkdir(parents=True, exist_ok=True)
    if settings.ports is None:
        raise ValueError("benchmarks run on the embedded platform")
    own = settings.model_copy(update={"ports": settings.ports.model_copy(update={"airflow": free_port()})})
    if own.kubernetes.kubeconfig is None:
        kubernetes = own.kubernetes.model_copy(update={"kubeconfig": platform.kubeconfig})
        own = own.model_copy(update={"kubernetes": kubernetes})
    there = Platform(own, dataclasses.replace(platform.paths, home=home), platform.credentials)
    environment = platform.base_environment() | _environment(there, kind, dags or DAGS / kind) | variables
    with _database(platform):
        _migrate(there, environment, logs / "migrate.log")
        processes = {name: _start(there, name, environment, logs / f"{name}.log") for name in PROCESSES}
        try:
            port = own.ports.airflow if own.ports else 0
            _wait(processes, logs, "answer", http(port, airflow.HEALTH))
            password = platform.credentials.airflow_admin_password.get_secret_value()
            with AirflowApi(f"http://{HOST}:{port}", "admin", password) as api:
                _wait(processes, logs, "find its DAGs", lambda: _has_dags(api, dag_ids))
                yield RunningAirflow(api, logs / "scheduler.log")
        finally:
            _end(processes)


def _environment(there: Platform, kind: Kind, dags: Path) -> dict[str, str]:
    everything = airflow.environment(there)
    address = re.compile(r"/airflow$")
    database = {
        key: address.sub(f"/{DATABASE}", value)
        for key, value in everything.items()
        if key.startswith("AIRFLOW__DATABASE__")
    }
    connection = f"AIRFLOW_CONN_{there.settings.kubernetes.connection_id.upper()}"
    folder = {"AIRFLOW__CORE__DAGS_FOLDER": str(dags)}
    if kind == "stock":
        kept = {key: everything[key] for key in (*STOCK, connection, "PATH")}
        return kept | database | folder | {"AIRFLOW__OPENLINEAGE__DISABLED": "True"}
    bundle = everything["AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST"]
    own = bundle.replace(str(there.paths.checkout / "dags"), str(dags))
    return everything | database | folder | {"AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": own}


@contextlib.contextmanager
def _database(platform: Platform) -> Iterator[None]:
    password = platform.credentials.postgres_password.get_secret_value()
    with psycopg.connect(
        host=HOST,
        port=platform.ports.postgres,
        user=postgres.SUPERUSER,
        password=password,
        dbname="postgres",
        autocommit=True,
    ) as connection:
        drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(DATABASE))
        connection.execute(drop)
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER airflow").format(sql.Identifier(DATABASE)))
        try:
            yield
        finally:
            connection.execute(drop)


def _migrate(there: Platform, environment: dict[str, str], log: Path) -> None:
    prepare(there.paths.home, airflow.credentials(there))
    with log.open("wb") as out:
        done = subprocess.run(
            [there.environments.airflow.bin / "airflow", "db", "migrate"],
            env=environment, cwd=there.paths.home, stdin=subprocess.DEVNULL, stdout=out, stderr=out, check=False,
        )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"Airflow's database cannot be made: see {log}")


def _start(there: Platform, name: str, environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as out:
        return subprocess.Popen(
            [there.environments.airflow.python, "-m", *PROCESSES[name]],
            env=environment, cwd=there.paths.home, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            start_new_session=True,
        )  # fmt: skip


def _wait(processes: dict[str, subprocess.Popen[bytes]], logs: Path, to: str, check: Check) -> None:
    deadline = time.monotonic() + START_S
    while True:
        for name, process in processes.items():
            if process.poll() is not None:
                raise RuntimeError(f"Airflow's {name} has ended: see {logs / f'{name}.log'}")
        try:
            return check()
        except Unhealthy as error:
            if time.monotonic() > deadline:
                raise RuntimeError(f"Airflow did not {to} within {START_S} s ({error}): see {logs}") from error
        time.sleep(POLL_S)


def _has_dags(api: AirflowApi, dag_ids: Collection[str]) -> None:
    if errors := api.import_errors():
        raise RuntimeError(f"a DAG of the benchmark cannot be imported: {errors[0]}")
    if missing := set(dag_ids) - api.dag_ids():
        raise Unhealthy(f"it lacks {', '.join(sorted(missing))}")


def _end(processes: dict[str, subprocess.Popen[bytes]]) -> None:
    for number, patience in ((signal.SIGTERM, 20.0), (signal.SIGKILL, None)):
        for process in processes.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
        for process in processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(patience)
