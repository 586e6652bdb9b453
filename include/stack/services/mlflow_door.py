"""The way into MLflow: it listens on a Unix socket of its owner, and Envoy lets through who has the password."""

import base64
import hashlib
from typing import Any

from pydantic import SecretStr

from include.devcluster.controllers import gateway
from include.stack.credentials import MLFLOW_USER
from include.stack.ports import HOST

#: In the folder that Envoy and MLflow are started in, because the path of a Unix socket must be short.
SOCKET = "mlflow.sock"
NAME = "mlflow"


def listener_and_cluster(port: int, password: SecretStr) -> tuple[dict[str, Any], dict[str, Any]]:
    """What Envoy listens on, and what it leads to. Files of models take as long as they take."""
    # Envoy knows no other hash; a password of 192 random bits needs none that is slow.
    digest = base64.b64encode(hashlib.sha1(password.get_secret_value().encode(), usedforsecurity=False).digest())
    asks = {
        "@type": f"{gateway.TYPES}.extensions.filters.http.basic_auth.v3.BasicAuth",
        "users": {"inline_string": f"{MLFLOW_USER}:{{SHA}}{digest.decode()}"},
    }
    route = {"match": {"prefix": "/"}, "route": {"cluster": NAME, "timeout": "0s"}}
    host = {
        "name": NAME,
        "domains": ["*"],
        "routes": [route],
        "request_headers_to_remove": ["authorization"],
    }
    listener = gateway.http_listener(
        NAME,
        HOST,
        port,
        {"route_config": {"name": NAME, "virtual_hosts": [host]}},
        [{"name": "envoy.filters.http.basic_auth", "typed_config": asks}],
    )
    return listener, gateway.socket_cluster(NAME, SOCKET)
