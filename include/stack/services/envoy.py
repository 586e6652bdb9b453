"""Envoy, the gateway in front of the predictors. The InferenceService controller writes its dynamic part."""

import json

from include.devcluster.controllers import gateway
from include.stack.health import http
from include.stack.service import Platform, Service

NAME = "gateway"
PREPARE = "gateway-config"
CONFIG = "envoy.json"


def service(platform: Platform) -> Service:
    """The proxy."""
    return Service(
        name=NAME,
        command=command(platform, CONFIG),
        health=http(platform.ports.gateway_admin, "/ready"),
        ports=("gateway", "gateway_admin"),
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
    """Write the static part of the configuration."""
    ports = platform.ports
    bootstrap = gateway.bootstrap(platform.paths.gateway, ports.gateway, ports.gateway_admin)
    (platform.paths.run / CONFIG).write_text(json.dumps(bootstrap, indent=1))
