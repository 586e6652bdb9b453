"""The dev cluster, its controllers, and what the platform puts into it: configuration, credentials, an identity."""

import hashlib
from pathlib import Path
from typing import Any

import httpx
import yaml

from include.config.platform import NodePool
from include.devcluster.controllers import gateway_admin, gateway_listeners
from include.stack import kubeconfig
from include.stack.credentials import KAFKA_USER, MLFLOW_USER
from include.stack.errors import ServiceError
from include.stack.files import write_private
from include.stack.health import http
from include.stack.ports import HOST
from include.stack.service import Platform, Service
from include.stack.services import envoy, spark
from include.stack.venvs import Venv

NAME = "kubernetes"
CONTROLLERS = "controllers"
CONFIG = "kubernetes-config"
OBJECTS = "cluster-objects"
APP = "/app"
FIELD_MANAGER = "podium"


def service(platform: Platform) -> Service:
    """API server, scheduler and kubelet in one process."""
    return Service(
        name=NAME,
        command=(platform.python, "-m", "include.devcluster", "--config", str(platform.paths.devcluster_config)),
        health=http(platform.ports.kubernetes, "/readyz", authority=_authority(platform)),
        environment=platform.checkout_python() | {"CONFIGURED_FOR": _fingerprint(platform)},
        ports=("kubernetes",),
        needs=frozenset({CONFIG}),
        stage=2,
    )


def _fingerprint(platform: Platform) -> str:
    """Changes with what the configuration is made from, so that a change starts the server anew. Pods go on."""
    locks = "".join(venv.digest for venv in platform.environments.images.values())
    return hashlib.sha256((platform.settings.model_dump_json() + locks).encode()).hexdigest()[:16]


def _authority(platform: Platform) -> Path:
    """The certificate that the dev cluster makes for itself at its first start."""
    return platform.paths.home / "devcluster" / "tls" / "server.crt"


def controllers(platform: Platform) -> Service:
    """The controllers of SparkApplication, MPIJob and InferenceService."""
    ports = platform.ports
    return Service(
        name=CONTROLLERS,
        command=(
            *(platform.python, "-m", "include.devcluster.controllers"),
            *("--kubeconfig", str(platform.kubeconfig), "--namespace", platform.settings.kubernetes.namespace),
            *("--gateway-dir", str(platform.paths.gateway)),
            *("--gateway-url", f"http://{HOST}:{ports.gateway}"),
            *("--gateway-admin-url", f"http://{HOST}:{ports.gateway_admin}"),
        ),
        health=lambda: None,
        environment=platform.checkout_python()
        | {gateway_admin.TOKEN: platform.credentials.gateway_admin_token.get_secret_value()},
        needs=steps_before(platform) | {envoy.PREPARE},
        stage=3,
    )


def steps_before(platform: Platform) -> frozenset[str]:
    """What must be there before anything is asked of the cluster."""
    return frozenset() if platform.own_cluster else frozenset({NAME})


def prepare(platform: Platform) -> None:
    """Write the dev cluster's configuration: nodes from the pools, images from their environments."""
    paths, settings = platform.paths, platform.settings
    spark.prepare(platform)
    images = platform.environments.images
    config = {
        "root": str(paths.home / "devcluster"),
        "host": HOST,
        "port": platform.ports.kubernetes,
        "token": platform.credentials.kubernetes_token.get_secret_value(),
        "kubeconfig": str(paths.kubeconfig),
        # Credentials, databases and the broker's data: pods get what they may have as volumes and variables.
        "hidden": [str(paths.home)],
        "nodes": [node for name, pool in settings.node_pools.items() for node in _nodes(name, pool)],
        "images": {_repository(settings.images[name]): _image(platform, venv) for name, venv in images.items()}
        # Airflow's XCom side-car, which the dev cluster plays itself: it needs none of the image's content.
        | {"alpine": {}},
    }
    write_private(paths.devcluster_config, yaml.safe_dump(config, sort_keys=False))


def create_objects(platform: Platform) -> None:
    """Put the platform's configuration, credentials, service account and gateway into the namespace.

    :raises ServiceError: the API refuses.
    """
    kubernetes = platform.settings.kubernetes
    config, secrets = platform.settings.platform_environment(), secrets_of(platform)
    space = f"/api/v1/namespaces/{kubernetes.namespace}"
    objects: list[tuple[str, dict[str, Any]]] = [
        (f"{space}/serviceaccounts", _object("ServiceAccount", kubernetes.service_account)),
        (f"{space}/serviceaccounts", _object("ServiceAccount", kubernetes.spark_service_account)),
        (f"{space}/configmaps", _object("ConfigMap", kubernetes.platform_config_map) | {"data": config}),
        (
            f"{space}/secrets",
            _object("Secret", kubernetes.credentials_secret) | {"type": "Opaque", "stringData": secrets},
        ),
        *_gateway(platform),
    ]
    with kubeconfig.client(platform.kubeconfig) as api:
        for collection, body in objects:
            path = f"{collection}/{body['metadata']['name']}"
            try:
                api.patch(
                    path,
                    content=yaml.safe_dump(body),
                    headers={"Content-Type": "application/apply-patch+yaml"},
                    params={"fieldManager": FIELD_MANAGER, "force": "true"},
                ).raise_for_status()
            except httpx.HTTPError as error:
                where = platform.kubeconfig if platform.own_cluster else platform.paths.logs / f"{NAME}.log"
                raise ServiceError(f"the cluster does not take {path}: {error}. See {where}") from error


def _gateway(platform: Platform) -> list[tuple[str, dict[str, Any]]]:
    """The GatewayClass and the Gateway that HTTPRoutes name; a cluster of one's own may not know the kinds."""
    if platform.own_cluster:
        return []
    return [
        (resource.path(space), _object(resource.kind, gateway_listeners.CLASS, resource.api_version) | {"spec": spec})
        for resource, space, spec in gateway_listeners.wanted(
            platform.settings.kubernetes.namespace, platform.ports.gateway
        )
    ]


def secrets_of(platform: Platform) -> dict[str, str]:
    """What the Secret `podium-credentials` holds, which jobs find as files."""
    credentials = platform.credentials
    return {
        "aws_access_key_id": credentials.s3_access_key,
        "aws_secret_access_key": credentials.s3_secret_key.get_secret_value(),
        "catalog_user": "lake",
        "catalog_password": credentials.lake_database_password.get_secret_value(),
        "pseudonym_key": credentials.pseudonym_key.get_secret_value(),
        "kafka_username": KAFKA_USER,
        "kafka_password": credentials.kafka_password.get_secret_value(),
        "serving_key": credentials.serving_key.get_secret_value(),
        "mlflow_username": MLFLOW_USER,
        "mlflow_password": credentials.mlflow_password.get_secret_value(),
    }


def _object(kind: str, name: str, api_version: str = "v1") -> dict[str, Any]:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}}


def _nodes(name: str, pool: NodePool) -> list[dict[str, Any]]:
    capacity = {"cpu": pool.cpu, "memory": pool.memory, "pods": "110"}
    if pool.gpus:
        capacity["nvidia.com/gpu"] = str(pool.gpus)
    taints = [
        {"key": t.key, "value": t.value or "present", "effect": t.effect or "NoSchedule"} for t in pool.tolerations
    ]
    return [
        {"name": f"{name}-{index}", "labels": dict(pool.node_selector), "taints": taints, "capacity": capacity}
        for index in range(pool.nodes)
    ]


def _image(platform: Platform, venv: Venv) -> dict[str, Any]:
    env = {"VIRTUAL_ENV": str(venv.path), "PYTHONPATH": APP}
    mounts = {f"{APP}/include": platform.paths.checkout / "include"}
    if venv.name in spark.IMAGES:
        env |= spark.environment(platform)
        mounts |= spark.mounts(platform)
    return {
        "digest": f"sha256:{venv.digest}",
        "marker": str(venv.marker),
        "path": [str(venv.bin)],
        "env": env,
        "mounts": {inside: str(path) for inside, path in mounts.items()},
        "workdir": APP,
        "entrypoint": [],
    }


def _repository(image: str) -> str:
    """An image reference without its tag or digest."""
    name = image.partition("@")[0]
    head, _, last = name.rpartition("/")
    return str(Path(head) / last.partition(":")[0]) if head else last.partition(":")[0]
