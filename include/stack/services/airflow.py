"""Airflow's four processes. All its settings are in `include.airflow.settings`."""

import hashlib
import subprocess

import httpx

from include.airflow.settings import PROCESSES
from include.airflow.settings import Credentials as AirflowCredentials
from include.airflow.settings import environment as airflow_environment
from include.airflow.settings import prepare as prepare_folders
from include.stack.credentials import KAFKA_USER, MLFLOW_USER
from include.stack.environments import step_of
from include.stack.errors import ServiceError, Undecided, Unhealthy
from include.stack.health import Check, http
from include.stack.service import Platform, Service
from include.stack.services import devcluster, postgres

DATABASE = "airflow-database"
PREFIX = "airflow-"
SERVER = f"{PREFIX}api-server"
SCHEDULER = f"{PREFIX}scheduler"
HEALTH = "/api/v2/monitor/health"


def services(platform: Platform) -> list[Service]:
    """API server, scheduler, DAG processor and triggerer."""
    venv = platform.environments.airflow
    port = platform.ports.airflow
    built = []
    for process, command in PROCESSES.items():
        serves = process == "api-server"
        # Tasks talk to the API server, so the scheduler, which starts them, waits for it.
        needs = {DATABASE, SERVER, devcluster.OBJECTS} if process == "scheduler" else {DATABASE}
        built.append(
            Service(
                name=f"{PREFIX}{process}",
                command=(str(venv.python), "-m", *command),
                health=http(port, HEALTH) if serves else _component(port, process),
                environment=environment(platform),
                ports=("airflow",) if serves else (),
                needs=frozenset(needs),
                stage=4,
                start_timeout_s=300.0,
                stop_timeout_s=20.0,
            )
        )
    return built


def environment(platform: Platform) -> dict[str, str]:
    """What Airflow's processes have beside what every service has."""
    settings = airflow_environment(platform.settings, platform.paths.home, credentials(platform))
    return settings | {"PATH": f"{platform.environments.airflow.bin}:/usr/bin:/bin"}


def migrate(platform: Platform) -> None:
    """Bring the database to Airflow's schema, and the pools to the settings.

    :raises ServiceError: that failed.
    """
    prepare_folders(platform.paths.home, credentials(platform))
    stamp, done = _stamp(platform), platform.paths.data / "airflow-database.stamp"
    if done.is_file() and done.read_text() == stamp:
        return
    log = platform.paths.logs / "airflow-database.log"
    with log.open("ab") as out:
        outcome = subprocess.run(
            [platform.environments.airflow.python, "-m", "include.airflow.database"],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env=platform.base_environment() | environment(platform),
            cwd=platform.paths.checkout,
            check=False,
        )
    if outcome.returncode:
        tail = "\n    ".join(log.read_text(errors="replace").splitlines()[-15:])
        raise ServiceError(f"Airflow's database cannot be brought up to date. The end of {log}:\n    {tail}")
    done.write_text(stamp)


def _stamp(platform: Platform) -> str:
    """What the database was last brought up to date with: importing Airflow just to find nothing to do takes long."""
    pools = platform.settings.model_dump_json(include={"node_pools"})
    code = (platform.paths.checkout / "include" / "airflow" / "database.py").read_text()
    parts = (platform.environments.airflow.digest, postgres.identity(platform), pools, code)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def steps_before(platform: Platform) -> frozenset[str]:
    """What `migrate` needs."""
    return frozenset({step_of(platform.environments.airflow), postgres.DATABASES})


def _component(port: int, process: str) -> Check:
    """The API server's word on a process: it had a heartbeat of late."""
    name = process.replace("-", "_")

    def healthy(response: httpx.Response) -> bool:
        component = response.json().get(name, {}) if response.is_success else {}
        return bool(component.get("status") == "healthy")

    server, component = http(port, HEALTH), http(port, HEALTH, healthy)

    def check() -> None:
        try:
            server()
        except Unhealthy as error:
            raise Undecided(str(error)) from error
        component()

    return check


def credentials(platform: Platform) -> AirflowCredentials:
    """Those of the platform that Airflow gets."""
    own = platform.credentials
    return AirflowCredentials(
        postgres_user="airflow",
        postgres_password=own.airflow_database_password.get_secret_value(),
        fernet_key=own.airflow_fernet_key.get_secret_value(),
        jwt_secret=own.airflow_jwt_secret.get_secret_value(),
        api_secret_key=own.airflow_api_secret_key.get_secret_value(),
        admin_password=own.airflow_admin_password.get_secret_value(),
        s3_access_key=own.s3_access_key,
        s3_secret_key=own.s3_secret_key.get_secret_value(),
        pseudonym_key=own.pseudonym_key.get_secret_value(),
        kafka_user=KAFKA_USER,
        kafka_password=own.kafka_password.get_secret_value(),
        mlflow_user=MLFLOW_USER,
        mlflow_password=own.mlflow_password.get_secret_value(),
        gateway_admin_token=own.gateway_admin_token.get_secret_value(),
    )
