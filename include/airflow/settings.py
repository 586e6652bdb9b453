"""All settings of Airflow in one place, the same for its four processes.

They are handed over as environment variables, so that no secret shows on a command line and no
`airflow.cfg` can drift away from the repository.
"""

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final
from urllib.parse import quote

from include.config import Settings
from include.config.settings import QUIET

CHECKOUT: Final = Path(__file__).resolve().parents[2]

# What Airflow's processes are started with. Logs are read from the shared disk, so the two log servers,
# which would listen on every interface, stay off.
PROCESSES: Final[dict[str, tuple[str, ...]]] = {
    "api-server": ("airflow", "api-server"),
    "scheduler": ("airflow", "scheduler", "--skip-serve-logs"),
    "dag-processor": ("airflow", "dag-processor"),
    "triggerer": ("airflow", "triggerer", "--skip-serve-logs"),
}


@dataclass(frozen=True)
class Credentials:
    """The secrets that Airflow needs; generated once and kept outside the repository.

    :param postgres_user: role that owns the metadata database.
    :param postgres_password: its password.
    :param fernet_key: encrypts connections at rest: 32 bytes, URL-safe base64.
    :param jwt_secret: signs the tokens between Airflow's processes and its API; at least 64 bytes.
    :param api_secret_key: signs the API server's sessions.
    :param admin_password: log-in of the user `admin`.
    :param s3_access_key: of the lake's bucket, for the listeners.
    :param s3_secret_key: belongs to it.
    :param pseudonym_key: what people's names are hashed with in the audit trail.
    :param gateway_admin_token: what the gateway's counters are read with.
    :param mlflow_user: whom MLflow knows.
    :param mlflow_password: belongs to it.
    :param kafka_user: whom the broker knows.
    :param kafka_password: belongs to it.
    """

    postgres_user: str
    postgres_password: str
    fernet_key: str
    jwt_secret: str
    api_secret_key: str
    admin_password: str
    s3_access_key: str
    s3_secret_key: str
    pseudonym_key: str
    gateway_admin_token: str
    mlflow_user: str
    mlflow_password: str
    kafka_user: str
    kafka_password: str


@dataclass(frozen=True)
class Paths:
    """Where Airflow keeps what is its own, all below the platform's state folder."""

    home: Path

    @property
    def airflow(self) -> Path:
        """`AIRFLOW_HOME`."""
        return self.home / "airflow"

    @property
    def logs(self) -> Path:
        """Task logs and the logs of DAG parsing."""
        return self.home / "logs" / "airflow"

    @property
    def lineage(self) -> Path:
        """Where OpenLineage events lie, with `lineage.transport: file`."""
        return self.home / "logs" / "lineage" / "events.jsonl"

    @property
    def passwords(self) -> Path:
        """The password file of Airflow's simple auth manager."""
        return self.airflow / "passwords.json"


def environment(settings: Settings, home: Path, credentials: Credentials) -> dict[str, str]:
    """The environment that every Airflow process of the embedded platform is started in.

    :param settings: those of the environment; their ports must be given.
    :param home: the platform's state folder (`PODIUM_HOME`).
    :param credentials: secrets; they end up in values, never in names.
    :raises ValueError: the settings have no ports, so this is no embedded platform.
    """
    if settings.ports is None:
        raise ValueError(f"environment {settings.env!r} has no ports: its Airflow is configured by the Helm chart")
    paths = Paths(home)
    login = f"{quote(credentials.postgres_user, safe='')}:{quote(credentials.postgres_password, safe='')}"
    database = f"{login}@127.0.0.1:{settings.ports.postgres}/airflow"
    base_url = f"http://127.0.0.1:{settings.ports.airflow}"
    # The dev cluster writes its own when it starts.
    kubeconfig = settings.kubernetes.kubeconfig or home / "kubeconfig"
    connection = {
        "conn_type": "kubernetes",
        "extra": {"kube_config_path": str(kubeconfig), "namespace": settings.kubernetes.namespace},
    }
    lake = {
        "conn_type": "aws",
        "login": credentials.s3_access_key,
        "password": credentials.s3_secret_key,
        "extra": {"endpoint_url": settings.reach.s3_endpoint_url, "region_name": settings.reach.s3_region},
    }
    generic = {
        settings.airflow.pseudonyms_connection_id: ("", credentials.pseudonym_key),
        settings.airflow.metrics_connection_id: ("", credentials.gateway_admin_token),
        settings.airflow.mlflow_connection_id: (credentials.mlflow_user, credentials.mlflow_password),
    }
    kafka = {
        "conn_type": "kafka",
        "extra": {
            "bootstrap.servers": settings.reach.kafka_bootstrap_servers,
            "group.id": "podium-airflow",
            # Offsets are committed when the event that a message became is persisted, not before.
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            **_kafka_login(settings, credentials),
        },
    }
    # Overrides of settings must reach the DAG files too.
    overrides = {name: value for name, value in os.environ.items() if name.startswith("PODIUM_")}
    return overrides | {
        "PODIUM_ENV": settings.env,
        "PODIUM_HOME": str(home),
        "PODIUM_CODE_VERSION": _code_version(),
        "AIRFLOW_HOME": str(paths.airflow),
        "PYTHONPATH": os.pathsep.join((str(CHECKOUT), str(CHECKOUT / "include" / "airflow" / "config"))),
        # KUBECONFIG would clash with it: the deferrable operators refuse both (apache/airflow#41867 and others).
        f"AIRFLOW_CONN_{settings.kubernetes.connection_id.upper()}": json.dumps(connection),
        f"AIRFLOW_CONN_{settings.airflow.lake_connection_id.upper()}": json.dumps(lake),
        **{
            f"AIRFLOW_CONN_{name.upper()}": json.dumps({"conn_type": "generic", "login": login, "password": password})
            for name, (login, password) in generic.items()
            if name is not None
        },
        f"AIRFLOW_CONN_{settings.kafka.connection_id.upper()}": json.dumps(kafka),
        **_core(settings, paths, base_url, credentials),
        **_database(database),
        **_scheduling(settings),
        **assets(),
        **faults(settings),
        **_api(settings.ports.airflow, base_url, credentials),
        **_logging(paths.logs),
        **lineage(settings, paths.lineage, _kafka_login(settings, credentials)),
        **_quiet(),
    }


def _kafka_login(settings: Settings, credentials: Credentials) -> dict[str, str]:
    """How the embedded broker is entered, as librdkafka's settings."""
    if settings.kafka.sasl_mechanism is None:
        return {}
    return {
        "security.protocol": settings.kafka.security_protocol,
        "sasl.mechanism": settings.kafka.sasl_mechanism,
        "sasl.username": credentials.kafka_user,
        "sasl.password": credentials.kafka_password,
    }


def prepare(home: Path, credentials: Credentials) -> None:
    """Make the folders and the password file that `environment()` names. Idempotent."""
    paths = Paths(home)
    for folder in (paths.airflow, paths.logs, paths.lineage.parent):
        folder.mkdir(parents=True, exist_ok=True)
    draft = paths.passwords.with_suffix(".new")
    draft.touch(mode=0o600)
    draft.write_text(json.dumps({"admin": credentials.admin_password}))
    draft.replace(paths.passwords)


def _code_version() -> str:
    """The checked-out commit, which models are tagged with; `unknown` outside of a repository."""
    try:
        done = subprocess.run(
            ["git", "-C", str(CHECKOUT), "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip()


def _core(settings: Settings, paths: Paths, base_url: str, credentials: Credentials) -> dict[str, str]:
    bundle = {
        "name": "podium",
        "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
        "kwargs": {"path": str(CHECKOUT / "dags"), "refresh_interval": 10},
    }
    return {
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        # Each slot is a process forked up front: the default of 32 would start 32.
        "AIRFLOW__CORE__PARALLELISM": str(settings.airflow.parallelism),
        "AIRFLOW__CORE__DAGS_FOLDER": str(CHECKOUT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(CHECKOUT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__FERNET_KEY": credentials.fernet_key,
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{base_url}/execution/",
        "AIRFLOW__CORE__AUTH_MANAGER": (
            "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager"
        ),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(paths.passwords),
        # The default asks DNS for the full name, which a bare machine may wait for in vain.
        "AIRFLOW__CORE__HOSTNAME_CALLABLE": "socket.gethostname",
        "AIRFLOW__CORE__TEST_CONNECTION": "Disabled",
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps([bundle]),
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "10",
        # A file that changes is parsed at the next refresh; the others again and again would cost a tenth of a core.
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "300",
        "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
    }


def _database(address: str) -> dict[str, str]:
    return {
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg2://{address}",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": f"postgresql+asyncpg://{address}",
    }


def faults(settings: Settings) -> dict[str, str]:
    """How soon Airflow takes up what a dead process has left (`faults` in the settings).

    A task whose process has died is tried again after `task_heartbeat_timeout_s`, at once if its supervisor saw it
    die; what a dead scheduler had, `job_timeout_s` + `orphan_check_interval_s` after its last sign of life; what a dead
    triggerer had, `job_timeout_s` after. A chart's values take the same variables.
    """
    own = settings.faults
    # The provider's calls wait 1, 2, 4, 8 and then always 15 s between attempts.
    attempts = 2 + next(n for n in range(100) if sum(min(2**k, 15) for k in range(n)) >= own.api_outage_s)
    return {
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": str(own.task_heartbeat_s),
        "AIRFLOW__WORKERS__API_RETRIES": str(attempts),
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": str(own.task_heartbeat_timeout_s),
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": str(
            max(1, own.task_heartbeat_timeout_s // 6)
        ),
        "AIRFLOW__SCHEDULER__JOB_HEARTBEAT_SEC": str(own.job_heartbeat_s),
        "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": str(own.job_heartbeat_s),
        "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": str(own.job_timeout_s),
        "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": str(own.orphan_check_interval_s),
        "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": str(own.job_heartbeat_s),
        "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": str(own.job_timeout_s),
    }


def _scheduling(settings: Settings) -> dict[str, str]:
    return {
        # The gap between two tasks falls from 0.95 s to 0.25 s; at 0.1 s idling would cost a quarter of a core.
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
        "AIRFLOW__SCHEDULER__CATCHUP_BY_DEFAULT": "False",
        "AIRFLOW__TRIGGERER__CAPACITY": "200",
    }


def assets() -> dict[str, str]:
    """How events of assets queue for the runs they start; the same in the chart."""
    return {"AIRFLOW__CORE__ASSET_MANAGER_CLASS": "podium.asset_manager.AssetManager"}


def _api(port: int, base_url: str, credentials: Credentials) -> dict[str, str]:
    return {
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": base_url,
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API__SECRET_KEY": credentials.api_secret_key,
        "AIRFLOW__API_AUTH__JWT_SECRET": credentials.jwt_secret,
        "AIRFLOW__API_AUTH__JWT_ISSUER": "podium",
    }


def _logging(folder: Path) -> dict[str, str]:
    return {
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(folder),
        "AIRFLOW__LOGGING__DAG_PROCESSOR_CHILD_PROCESS_LOG_DIRECTORY": str(folder / "dag_processor"),
        "AIRFLOW__LOGGING__COLORED_CONSOLE_LOG": "False",
        # Airflow's own use of pathspec, in the first line of every task's log.
        "PYTHONWARNINGS": "ignore:GitWildMatchPattern:DeprecationWarning",
    }


def lineage(settings: Settings, file: Path, login: Mapping[str, str] = MappingProxyType({})) -> dict[str, str]:
    """OpenLineage's own provider, and where its events go; the same in the chart.

    :param file: where they lie with the transport `file`.
    :param login: what the transport `kafka` shows the broker.
    """
    wanted = settings.lineage
    transports: dict[str, dict[str, object]] = {
        "none": {},
        "file": {"type": "file", "log_file_path": str(file), "append": True},
        "kafka": {
            "type": "kafka",
            "topic": wanted.topic,
            "config": {
                "bootstrap.servers": settings.reach.kafka_bootstrap_servers,
                "security.protocol": settings.kafka.security_protocol,
                **({"sasl.mechanism": settings.kafka.sasl_mechanism} if settings.kafka.sasl_mechanism else {}),
                **login,
            },
            "flush": True,
        },
        "http": {"type": "http", "url": wanted.url},
    }
    if wanted.transport == "none":
        return {"AIRFLOW__OPENLINEAGE__DISABLED": "True"}
    return {
        "AIRFLOW__OPENLINEAGE__DISABLED": "False",
        "AIRFLOW__OPENLINEAGE__NAMESPACE": wanted.namespace,
        "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(transports[wanted.transport]),
        # A fork for each event would share the task's connection to its supervisor, and cost more than the event.
        "AIRFLOW__OPENLINEAGE__EXECUTE_IN_THREAD": "True",
        "AIRFLOW__OPENLINEAGE__DISABLE_SOURCE_CODE": "True",
    }


def _quiet() -> dict[str, str]:
    """Nothing leaves the machine: no usage data, no telemetry."""
    return {
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "SCARF_ANALYTICS": "false",
        "AIRFLOW__METRICS__STATSD_ON": "False",
        **QUIET,
    }
