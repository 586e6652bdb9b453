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
    ports = platform.ports
    # The package's own program is a Python process in between.
    program = platform.environments.launcher.site_packages / "envoy" / "_bin" / "envoy"
    return Service(
        name=NAME,
        command=(
            str(program),
            *("-c", str(platform.paths.run / CONFIG)),
            # It would share memory with any other Envoy of this machine.
            "--disable-hot-restart",
            *("--concurrency", "2", "--log-level", "warning"),
        ),
        health=http(ports.gateway_admin, "/ready"),
        ports=("gateway", "gateway_admin"),
        needs=frozenset({PREPARE}),
        stage=2,
    )


def prepare(platform: Platform) -> None:
    """Write the static part of the configuration."""
    ports = platform.ports
    bootstrap = gateway.bootstrap(platform.paths.gateway, ports.gateway, ports.gateway_admin)
    (platform.paths.run / CONFIG).write_text(json.dumps(bootstrap, indent=1))
