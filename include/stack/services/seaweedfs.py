"""SeaweedFS: the S3 store of the embedded platform.

Only its S3 port is for clients, who sign their requests. All its other ports, HTTP and gRPC, take nobody but the store
itself: they speak TLS and ask for its own certificate, whose key its owner alone can read.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from include.devcluster import tls
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
TLS = "s3-tls"
# SeaweedFS looks for it by this name where it is started.
SECURITY = "security.toml"
_OVER_GRPC = ("master", "volume", "filer", "s3", "admin", "worker", "client")
_OVER_HTTP = ("master", "volume", "filer", "admin")


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
        # No page's: by default any page's.
        "s3.allowedOrigins": "https://nobody.invalid",
        # It cannot be left out; its worker keeps the volumes in order.
        "admin.port": ports.s3_admin,
        "admin.port.grpc": ports.s3_admin_grpc,
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
        health=every(
            tcp(ports.s3),
            http(ports.s3, "/healthz"),
            http(ports.s3_filer, "/healthz", authority=_own(platform).certificate, identity=_own(platform).key),
        ),
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
            "s3_admin",
            "s3_admin_grpc",
        ),
        needs=frozenset({PREPARE}),
        stop_timeout_s=15.0,
    )


def prepare(platform: Platform) -> None:
    """Write the one identity that may use the store, and what closes all ports but its own."""
    credentials = platform.credentials
    key = {"accessKey": credentials.s3_access_key, "secretKey": credentials.s3_secret_key.get_secret_value()}
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    identities = {"identities": [{"name": "podium", "credentials": [key], "actions": actions}]}
    write_private(platform.paths.run / IDENTITIES, json.dumps(identities))
    write_private(platform.paths.run / SECURITY, _security(platform))
    platform.data(NAME).mkdir(parents=True, exist_ok=True)
    remove_sockets(platform)


def _own(platform: Platform) -> tls.Certificate:
    folder = platform.paths.run / TLS
    return tls.Certificate(folder / "server.crt", folder / "server.key")


def _security(platform: Platform) -> str:
    made = tls.ensure(platform.paths.run / TLS, HOST, name="podium object store", clients=True)
    # Relative to where it is started.
    own = f'cert = "{TLS}/{made.certificate.name}"\nkey = "{TLS}/{made.key.name}"\n'
    authority = f'ca = "{TLS}/{made.certificate.name}"\n'
    sections = [
        f"# Written by `make up`.\n[grpc]\n{authority}",
        *(f"[grpc.{part}]\n{own}" for part in _OVER_GRPC),
        *(f"[https.{part}]\n{own}{authority}" for part in _OVER_HTTP),
        f"[https.client]\nenabled = true\n{own}{authority}",
        f'[admin]\nuser = "podium"\npassword = "{platform.credentials.s3_admin_password.get_secret_value()}"\n',
    ]
    return "\n".join(sections)


def remove_sockets(platform: Platform) -> None:
    """Remove the sockets that the store leaves below /tmp, where no option moves them. It must not run.

    :raises ServiceError: one belongs to somebody else, and would keep the store from starting.
    """
    for name in ("s3", "master", "volume", "filer", "admin"):
        key = "s3_grpc" if name == "s3" else f"s3_{name}_grpc"
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
