"""Where the platform's services are and with which credentials: environment variables and mounted files.

Addresses come from the ConfigMap `podium-platform` (environment), credentials from the Secret
`podium-credentials`, mounted as files in `$PODIUM_CREDENTIALS_DIR`. Credentials are never environment values and
never arguments, because both show in `ps` and in pod specs.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import quote, urlsplit

from include.jobs.lake.errors import LakeError

if TYPE_CHECKING:
    from pyarrow.fs import S3FileSystem

#: Name of the catalog. PyIceberg's SqlCatalog and Spark's JdbcCatalog share tables only under one name.
CATALOG_NAME = "lake"


class ConnectionSettingsError(LakeError):
    """A connection setting or credential file is missing."""


def require(environ: Mapping[str, str], name: str) -> str:
    """The value of an environment variable of the platform.

    Raises:
        ConnectionSettingsError: it is unset or empty.
    """
    value = environ.get(name, "")
    if not value:
        raise ConnectionSettingsError(
            f"environment variable {name} is not set: pods get it from the ConfigMap podium-platform (envFrom)"
        )
    return value


def kafka_bootstrap_servers(environ: Mapping[str, str] | None = None) -> str:
    """Kafka's bootstrap servers, `host:port[,host:port…]`."""
    return require(os.environ if environ is None else environ, "KAFKA_BOOTSTRAP_SERVERS")


def kafka_security(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """What librdkafka needs to get into Kafka: protocol and mechanism from the environment, the rest from files.

    Nothing of it may be logged: it holds the password.

    Raises:
        ConnectionSettingsError: a setting is none of those that are allowed, or a file is missing or empty.
    """
    environ = os.environ if environ is None else environ
    protocol, mechanism = environ.get("KAFKA_SECURITY_PROTOCOL") or "PLAINTEXT", environ.get("KAFKA_SASL_MECHANISM")
    if protocol == "PLAINTEXT":
        return {}
    if protocol not in ("SSL", "SASL_SSL", "SASL_PLAINTEXT"):
        raise ConnectionSettingsError(
            f"KAFKA_SECURITY_PROTOCOL={protocol!r} is none of PLAINTEXT, SSL, SASL_SSL, SASL_PLAINTEXT: correct "
            "kafka.security_protocol in the settings"
        )
    if protocol == "SASL_PLAINTEXT" and mechanism == "PLAIN":
        raise ConnectionSettingsError(
            "KAFKA_SECURITY_PROTOCOL=SASL_PLAINTEXT with KAFKA_SASL_MECHANISM=PLAIN would send the password over a "
            "connection without TLS: give kafka.sasl_mechanism SCRAM-SHA-512, or security_protocol SASL_SSL"
        )
    folder = Path(require(environ, "PODIUM_CREDENTIALS_DIR"))
    found = {"security.protocol": protocol}
    if (folder / "kafka_ca.pem").is_file():
        found["ssl.ca.location"] = str(folder / "kafka_ca.pem")
    if (folder / "kafka_client.crt").is_file():
        read_credential(folder, "kafka_client.key")
        found["ssl.certificate.location"] = str(folder / "kafka_client.crt")
        found["ssl.key.location"] = str(folder / "kafka_client.key")
    if protocol.startswith("SASL_"):
        found["sasl.mechanism"] = mechanism or require(environ, "KAFKA_SASL_MECHANISM")
        found["sasl.username"] = read_credential(folder, "kafka_username")
        found["sasl.password"] = read_credential(folder, "kafka_password")
    return found


def schema_registry(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """What Confluent's client needs to get into the schema registry: its address, and the rest from files.

    Nothing of it may be logged: it holds the password.

    Raises:
        ConnectionSettingsError: the address is unset, a file is missing or empty, or a password would go over a
            connection without TLS.
    """
    environ = os.environ if environ is None else environ
    url, folder = require(environ, "SCHEMA_REGISTRY_URL"), Path(require(environ, "PODIUM_CREDENTIALS_DIR"))
    found = {"url": url}
    if (folder / "schema_registry_ca.pem").is_file():
        found["ssl.ca.location"] = str(folder / "schema_registry_ca.pem")
    if (folder / "schema_registry_username").is_file():
        if not url.startswith("https://"):
            raise ConnectionSettingsError(
                f"schema_registry.url in the settings is {url}, and there is a key schema_registry_username in the "
                "Secret podium-credentials: a password goes over https alone, give such an address or drop the key"
            )
        names = ("schema_registry_username", "schema_registry_password")
        found["basic.auth.user.info"] = ":".join(read_credential(folder, name) for name in names)
    return found


def kafka_client(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """What every client of Kafka begins with: bootstrap servers, and what `kafka_security` gives.

    Raises:
        ConnectionSettingsError: see `kafka_security`, or the address is unset.
    """
    return {"bootstrap.servers": kafka_bootstrap_servers(environ), **kafka_security(environ)}


def mlflow_tracking(environ: Mapping[str, str] | None = None) -> str:
    """The address of MLflow; its client in this process is told what MLflow asks for, from files of the Secret.

    `mlflow_username` and `mlflow_password`, or `mlflow_token`; none of them where it asks for nothing.

    Raises:
        ConnectionSettingsError: the address is unset or holds credentials, or a file is empty.
    """
    environ = os.environ if environ is None else environ
    address = require(environ, "MLFLOW_TRACKING_URI")
    if "@" in urlsplit(address).netloc:
        raise ConnectionSettingsError(
            "MLFLOW_TRACKING_URI holds credentials, which would stand in logs and links: give "
            "endpoints.mlflow_tracking_uri in the settings without them, and mlflow_username and mlflow_password in "
            "the Secret podium-credentials"
        )
    # `models:/…` addresses are resolved by the registry of the process, not by that of a client.
    os.environ["MLFLOW_TRACKING_URI"] = os.environ["MLFLOW_REGISTRY_URI"] = address
    folder = Path(environ.get("PODIUM_CREDENTIALS_DIR") or "/nonexistent")
    for name in ("mlflow_username", "mlflow_password", "mlflow_token"):
        if (folder / name).is_file():
            os.environ[f"MLFLOW_TRACKING_{name.removeprefix('mlflow_').upper()}"] = read_credential(folder, name)
    return address


@dataclass(frozen=True, slots=True)
class Connections:
    """The lake's object store and catalog database."""

    s3_endpoint_url: str
    s3_region: str
    warehouse: str
    catalog_uri: str
    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)
    catalog_user: str = field(repr=False)
    catalog_password: str = field(repr=False)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Read addresses from the environment and credentials from their files.

        Raises:
            ConnectionSettingsError: a variable is unset, or a credential file is missing or empty.
        """
        environ = os.environ if environ is None else environ
        folder = Path(require(environ, "PODIUM_CREDENTIALS_DIR"))
        return cls(
            s3_endpoint_url=require(environ, "S3_ENDPOINT_URL"),
            s3_region=environ.get("AWS_REGION") or "us-east-1",
            warehouse=require(environ, "LAKE_WAREHOUSE").rstrip("/"),
            catalog_uri=require(environ, "LAKE_CATALOG_URI"),
            access_key_id=read_credential(folder, "aws_access_key_id"),
            secret_access_key=read_credential(folder, "aws_secret_access_key"),
            catalog_user=read_credential(folder, "catalog_user"),
            catalog_password=read_credential(folder, "catalog_password"),
        )

    def catalog_properties(self) -> dict[str, str]:
        """Properties for PyIceberg's SqlCatalog."""
        parts = urlsplit(self.catalog_uri)
        user, password = quote(self.catalog_user, safe=""), quote(self.catalog_password, safe="")
        return {
            "uri": f"postgresql+psycopg2://{user}:{password}@{parts.netloc}{parts.path}",
            "schema_version": "v1",
            "pool_pre_ping": "true",
            "warehouse": self.warehouse,
            "s3.endpoint": self.s3_endpoint_url,
            "s3.region": self.s3_region,
            "s3.access-key-id": self.access_key_id,
            "s3.secret-access-key": self.secret_access_key,
        }

    def filesystem(self) -> "S3FileSystem":
        """The object store as an Arrow file system; paths are `bucket/key`."""
        from pyarrow.fs import S3FileSystem

        endpoint = urlsplit(self.s3_endpoint_url)
        return S3FileSystem(
            access_key=self.access_key_id,
            secret_key=self.secret_access_key,
            endpoint_override=endpoint.netloc,
            scheme=endpoint.scheme,
            region=self.s3_region,
        )


def read_credential(folder: Path, name: str) -> str:
    """The content of a credential file.

    Raises:
        ConnectionSettingsError: it is missing or empty.
    """
    path = folder / name
    try:
        value = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConnectionSettingsError(
            f"credential file {path} cannot be read ({error.strerror}): mount the Secret podium-credentials there "
            "and set PODIUM_CREDENTIALS_DIR to the folder"
        ) from error
    if not value:
        raise ConnectionSettingsError(
            f"credential file {path} is empty: fill the key {name} of the Secret podium-credentials"
        )
    return value
