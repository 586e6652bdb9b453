"""Envoy: the gateway in front of the predictors, and the door of MLflow, which asks nobody who they are.

The InferenceService controller writes its dynamic part.
"""

import hashlib
import json

from include.devcluster.controllers import gateway
from include.stack.files import write_private
from include.stack.health import http
from include.stack.service import Platform, Service
from include.stack.services import mlflow_door

NAME = "gateway"
PREPARE = "gateway-config"
CONFIG = "envoy.json"


def service(platform: Platform) -> Service:
    """The proxy."""
    return Service(
        name=NAME,
        command=command(platform, CONFIG),
        health=http(platform.ports.gateway_admin, "/ready", authorization=platform.credentials.gateway_admin),
        directory=platform.paths.run,
        environment={"CONFIGURED_FOR": hashlib.sha256(_static_part(platform).encode()).hexdigest()[:16]},
        ports=("gateway", "gateway_admin", "mlflow"),
        needs=frozenset({PREPARE}),
        stage=2,
    )


def command(platform: Platform, config: str) -> tuple[str, ...]:
    """How Envoy is started with a configuration in the folder `run`."""
    # The package's own program is a Python process in between.
    program = platform.environments.launcher.site_packages / "envoy" / "_bin" / "envoy"
    return (
        str(program),
        *("-c", str(platform.paths.run / config)),
        # It would share memory with any other Envoy of this machine.
        "--disable-hot-restart",
        *("--concurrency", "2", "--log-level", "warning"),
    )


def prepare(platform: Platform) -> None:
    """Write the static part of the configuration, and what requests must show.

    There is nothing to serve yet when no controller has written anything.
    """
    gateway.prepare(platform.paths.gateway)
    write_private(platform.paths.run / CONFIG, _static_part(platform))
    key = platform.credentials.serving_key.get_secret_value()
    write_private(platform.paths.serving_header, f"Authorization: Bearer {key}\n")


def _static_part(platform: Platform) -> str:
    ports = platform.ports
    token = platform.credentials.gateway_admin_token.get_secret_value()
    bootstrap = gateway.bootstrap(platform.paths.gateway, ports.gateway, ports.gateway_admin, token)
    listener, cluster = mlflow_door.listener_and_cluster(ports.mlflow, platform.credentials.mlflow_password)
    bootstrap["static_resources"]["listeners"].append(listener)
    bootstrap["static_resources"]["clusters"].append(cluster)
    return json.dumps(bootstrap, indent=1)
