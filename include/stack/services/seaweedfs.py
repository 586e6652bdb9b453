"""SeaweedFS: the S3 store of the embedded platform."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from include.stack.errors import ServiceError
from include.stack.files import write_private
from include.stack.health import every, http, tcp
from include.stack.ports import HOST
from include.stack.service import Platform, Service

if TYPE_CHECKING:
    from botocore.client import BaseClient

NAME = "s3"
PREPARE = "s3-config"
BUCKETS_STEP = "buckets"
BUCKETS = ("lake", "mlflow")
IDENTITIES = "s3.json"


def service(platform: Platform) -> Service:
    """Master, volume, filer and S3 server in one process."""
    ports = platform.ports
    options = {
        "dir": platform.data(NAME),
        "ip": HOST,
        "ip.bind": HOST,
        # On by default upstream.
        "master.telemetry": "false",
        "master.volumeSizeLimitMB": 1024,
        "master.port": ports.s3_master,
        "master.port.grpc": ports.s3_master_grpc,
        "volume.port": ports.s3_volume,
        "volume.port.grpc": ports.s3_volume_grpc,
        "filer.port": ports.s3_filer,
        "filer.port.grpc": ports.s3_filer_grpc,
        "s3.port": ports.s3,
        "s3.port.grpc": ports.s3_grpc,
        "s3.config": platform.paths.run / IDENTITIES,
        # By default below /tmp, where another user's leftovers stop it. Relative, because such paths must be short.
        "s3.localSocket": "s3.sock",
        "filer.localSocket": "s3-filer.sock",
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "s3.allowDeleteBucketNotEmpty": "false",
        "admin.ui": "false",
        "webdav": "false",
    }
    return Service(
        name=NAME,
        command=(
            str(platform.environments.launcher.bin / "weed"),
            "-logtostderr=true",
            "mini",
            *(f"-{name}={value}" for name, value in options.items()),
        ),
        health=every(tcp(ports.s3), http(ports.s3, "/healthz"), http(ports.s3_filer, "/healthz")),
        directory=platform.paths.run,
        # It grows to more than 1 GiB under load unless its collector is told.
        environment={"GOMEMLIMIT": "384MiB", "GOGC": "50"},
        ports=(
            "s3",
            "s3_grpc",
            "s3_master",
            "s3_master_grpc",
            "s3_volume",
            "s3_volume_grpc",
            "s3_filer",
            "s3_filer_grpc",
        ),
        needs=frozenset({PREPARE}),
        stop_timeout_s=15.0,
    )


def prepare(platform: Platform) -> None:
    """Write the one identity that may use the store."""
    credentials = platform.credentials
    key = {"accessKey": credentials.s3_access_key, "secretKey": credentials.s3_secret_key.get_secret_value()}
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    identities = {"identities": [{"name": "podium", "credentials": [key], "actions": actions}]}
    write_private(platform.paths.run / IDENTITIES, json.dumps(identities))
    platform.data(NAME).mkdir(parents=True, exist_ok=True)
    remove_sockets(platform)


def remove_sockets(platform: Platform) -> None:
    """Remove the sockets that the store leaves below /tmp, where no option moves them. It must not run.

    :raises ServiceError: one belongs to somebody else, and would keep the store from starting.
    """
    keys = {"s3": "s3_grpc", "master": "s3_master_grpc", "volume": "s3_volume_grpc", "filer": "s3_filer_grpc"}
    for name, key in keys.items():
        path = Path(f"/tmp/seaweedfs-{name}-grpc-{getattr(platform.ports, key)}.sock")
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise ServiceError(
                f"{path}, left by another user, keeps the S3 store from starting: {error.strerror}. Have it removed, "
                f"or take another port: PODIUM_PORTS__{key.upper()}=<port> make up"
            ) from error


def client(platform: Platform) -> "BaseClient":
    """An S3 client of the store."""
    return boto3.client(
        "s3",
        endpoint_url=f"http://{HOST}:{platform.ports.s3}",
        region_name=platform.settings.endpoints.s3_region,
        aws_access_key_id=platform.credentials.s3_access_key,
        aws_secret_access_key=platform.credentials.s3_secret_key.get_secret_value(),
        config=Config(retries={"max_attempts": 5, "mode": "standard"}, s3={"addressing_style": "path"}, proxies={}),
    )


def create_buckets(platform: Platform, buckets: Iterable[str] = BUCKETS) -> None:
    """Create the buckets that are not there.

    :raises ServiceError: the store refuses.
    """
    s3 = client(platform)
    for bucket in buckets:
        try:
            try:
                s3.head_bucket(Bucket=bucket)
            except ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
                    raise
                s3.create_bucket(Bucket=bucket)
        except (BotoCoreError, ClientError) as error:
            raise ServiceError(
                f"bucket {bucket} cannot be created: {error}. See {platform.paths.logs / 's3.log'}"
            ) from error
