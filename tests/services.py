"""Real services for tests: Kafka, S3 and Postgres, on free ports and in a folder of their own, once a session.

Standard library and pytest only: the suites run in the images' environments.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PORTS = (
    *("kafka", "kafka_controller", "postgres", "mlflow", "gateway", "gateway_admin", "kubernetes"),
    *("s3", "s3_grpc", "s3_master", "s3_master_grpc", "s3_volume", "s3_volume_grpc", "s3_filer", "s3_filer_grpc"),
    *("s3_admin", "s3_admin_grpc"),
    *("airflow", "supervisor", "kafka_pods", "s3_pods", "postgres_pods", "mlflow_pods", "gateway_pods"),
)


# Who gets in is the subject of other tests.
OPEN_BROKER = {"PODIUM_KAFKA": '{"security_protocol": "PLAINTEXT", "sasl_mechanism": null}'}


@dataclass(frozen=True)
class Services:
    """Where the services are, and what opens them.

    :param ports: by their key in the settings.
    :param home: the state folder of the platform that they form.
    """

    ports: dict[str, int]
    home: Path
    credentials: dict[str, str] = field(repr=False)

    @property
    def platform_environment(self) -> dict[str, str]:
        """What a pod gets from the ConfigMap `podium-platform`."""
        return {
            "PODIUM_ENV": "local",
            "KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{self.ports['kafka']}",
            "S3_ENDPOINT_URL": f"http://127.0.0.1:{self.ports['s3']}",
            "AWS_REGION": "us-east-1",
            "LAKE_WAREHOUSE": "s3://lake/warehouse",
            "LAKE_CATALOG_URI": f"postgresql://127.0.0.1:{self.ports['postgres']}/lake",
        }

    def write_credentials(self, folder: Path) -> Path:
        """Write the files that a pod finds mounted from the Secret `podium-credentials`; return the folder."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, value in {
            "aws_access_key_id": self.credentials["s3_access_key"],
            "aws_secret_access_key": self.credentials["s3_secret_key"],
            "catalog_user": "lake",
            "catalog_password": self.credentials["lake_database_password"],
            "pseudonym_key": self.credentials["pseudonym_key"],
            "mlflow_username": "podium",
            "mlflow_password": self.credentials["mlflow_password"],
        }.items():
            (folder / name).write_text(value)
        return folder


def free_ports() -> dict[str, int]:
    """Ports that nothing listens on, distinct because all are held until the last is known."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in PORTS]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return {name: int(one.getsockname()[1]) for name, one in zip(PORTS, sockets, strict=True)}


def stack(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the launcher, in its own environment whatever runs the test."""
    python = os.environ.get("PODIUM_STACK_PYTHON", sys.executable)
    return subprocess.run(
        [python, "-m", "include.stack", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def ask_launcher(code: str, *arguments: str) -> str:
    """What a piece of Python prints in the launcher's environment, which knows Java and where the images' are."""
    python = os.environ.get("PODIUM_STACK_PYTHON", sys.executable)
    command = [python, "-c", code, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


_IMAGE = """
import sys
from include.config import load_settings
from include.stack.environments import Environments
from include.stack.paths import Paths
print(Environments(Paths.from_environment(), load_settings("local")).images[sys.argv[1]].path)
"""


def image_environment(name: str) -> Path:
    """The folder of an image's environment, which must have been built."""
    folder = Path(ask_launcher(_IMAGE, name))
    assert folder.is_dir(), f"{folder} is missing: run `make setup`"
    return folder


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """Kafka, S3 and Postgres, freshly made; gone when the session ends."""
    home = tmp_path_factory.mktemp("platform")
    ports = free_ports()
    environment = {f"PODIUM_PORTS__{name.upper()}": str(port) for name, port in ports.items()}
    environment["PODIUM_HOME"] = str(home)
    environment |= OPEN_BROKER
    try:
        started = stack(environment, "up", "--only", "kafka", "s3", "postgres")
        if started.returncode:
            pytest.fail(f"the services do not start:\n{started.stdout}")
        yield Services(ports, home, json.loads((home / "credentials.json").read_text()))
    finally:
        stopped = stack(environment, "down")
    assert stopped.returncode == 0, stopped.stdout


@pytest.fixture(scope="session")
def kafka(services: Services) -> str:
    """Bootstrap servers of a real broker."""
    return services.platform_environment["KAFKA_BOOTSTRAP_SERVERS"]


@pytest.fixture(scope="session")
def s3(services: Services) -> str:
    """Endpoint of a real S3 store with the buckets `lake` and `mlflow`; its keys are in `services.credentials`."""
    return services.platform_environment["S3_ENDPOINT_URL"]


@pytest.fixture(scope="session")
def postgres(services: Services) -> str:
    """URI of a real, empty lake catalog, with its log-in."""
    password = services.credentials["lake_database_password"]
    return f"postgresql://lake:{password}@127.0.0.1:{services.ports['postgres']}/lake"
