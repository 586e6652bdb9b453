"""The MLflow tracking server and model registry: runs in Postgres, artifacts proxied to S3."""

from urllib.parse import quote

from include.config.settings import QUIET
from include.stack.environments import step_of
from include.stack.health import http
from include.stack.ports import HOST
from include.stack.service import Platform, Service
from include.stack.services import envoy, postgres, seaweedfs
from include.stack.services.mlflow_door import SOCKET

NAME = "mlflow"


def service(platform: Platform) -> Service:
    """The server, one worker."""
    ports, credentials = platform.ports, platform.credentials
    venv = platform.environments.mlflow
    password = quote(credentials.mlflow_database_password.get_secret_value(), safe="")
    return Service(
        name=NAME,
        command=(
            str(venv.python),
            *("-P", "-m", "mlflow", "server", "--workers", "1"),
            # A socket instead of host and port: it asks nobody who they are, so all come through the gateway.
            *("--uvicorn-opts", f"--log-level warning --uds {SOCKET}"),
            *("--artifacts-destination", "s3://mlflow/artifacts"),
        ),
        health=http(ports.mlflow, "/health", authorization=credentials.mlflow),
        directory=platform.paths.run,
        environment={
            "MLFLOW_BACKEND_STORE_URI": f"postgresql+psycopg2://mlflow:{password}@{HOST}:{ports.postgres}/mlflow",
            # It hands out signed addresses of artifacts, which the jobs' pods must reach as well.
            "MLFLOW_S3_ENDPOINT_URL": platform.settings.reach_from_pods.s3_endpoint_url,
            "AWS_ACCESS_KEY_ID": credentials.s3_access_key,
            "AWS_SECRET_ACCESS_KEY": credentials.s3_secret_key.get_secret_value(),
            "AWS_DEFAULT_REGION": platform.settings.endpoints.s3_region,
            # Names it is called by; any other is taken for DNS rebinding.
            "MLFLOW_SERVER_ALLOWED_HOSTS": ",".join(_names(platform)),
            # Eight more processes and as much memory again, for what Podium leaves to Airflow.
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            **QUIET,
            "PATH": f"{venv.bin}:/usr/bin:/bin",
        },
        ports=("mlflow",),
        needs=frozenset({step_of(venv), postgres.DATABASES, seaweedfs.BUCKETS_STEP, envoy.NAME}),
        stage=1,
        start_timeout_s=300.0,
    )


def _names(platform: Platform) -> list[str]:
    ports, address = platform.ports, platform.settings.kubernetes.host_address
    from_pods = [f"{address}:{ports.mlflow_pods}"] if address else []
    return [f"localhost:{ports.mlflow}", f"{HOST}:{ports.mlflow}", *from_pods]
