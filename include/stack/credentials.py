"""The platform's secrets: generated on the first start, kept in one file that only its owner can read."""

import base64
import json
import os
import secrets
import tempfile
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from include.stack.errors import CredentialsError

#: Came later than platforms that are running, whose data was not made with it: generated where it is missing.
ADDED = frozenset(
    {
        "pseudonym_key",
        "gateway_admin_token",
        "s3_admin_password",
        "mlflow_password",
        "kafka_password",
        "kafka_admin_password",
        "serving_key",
    }
)
#: Who all of the platform is to MLflow, and to Kafka.
MLFLOW_USER = KAFKA_USER = "podium"


def _secret() -> SecretStr:
    return SecretStr(secrets.token_urlsafe(24))


def _fernet_key() -> SecretStr:
    return SecretStr(base64.urlsafe_b64encode(secrets.token_bytes(32)).decode())


class Credentials(BaseModel):
    """Every secret of the embedded platform. Printing it shows none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    s3_access_key: str = Field(default_factory=lambda: "podium" + secrets.token_hex(7))
    s3_secret_key: SecretStr = Field(default_factory=_secret)
    postgres_password: SecretStr = Field(default_factory=_secret)
    airflow_database_password: SecretStr = Field(default_factory=_secret)
    mlflow_database_password: SecretStr = Field(default_factory=_secret)
    lake_database_password: SecretStr = Field(default_factory=_secret)
    kubernetes_token: SecretStr = Field(default_factory=_secret)
    airflow_fernet_key: SecretStr = Field(default_factory=_fernet_key)
    airflow_jwt_secret: SecretStr = Field(default_factory=lambda: SecretStr(secrets.token_urlsafe(64)))
    airflow_api_secret_key: SecretStr = Field(default_factory=_secret)
    airflow_admin_password: SecretStr = Field(default_factory=lambda: SecretStr(secrets.token_urlsafe(12)))
    supervisor_password: SecretStr = Field(default_factory=_secret)
    pseudonym_key: SecretStr = Field(default_factory=_secret)
    gateway_admin_token: SecretStr = Field(default_factory=_secret)
    s3_admin_password: SecretStr = Field(default_factory=_secret)
    mlflow_password: SecretStr = Field(default_factory=_secret)
    kafka_password: SecretStr = Field(default_factory=_secret)
    kafka_admin_password: SecretStr = Field(default_factory=_secret)
    serving_key: SecretStr = Field(default_factory=_secret)

    @property
    def gateway_admin(self) -> SecretStr:
        """The header `Authorization` that opens the gateway's admin port."""
        return SecretStr(f"Bearer {self.gateway_admin_token.get_secret_value()}")

    @property
    def mlflow(self) -> SecretStr:
        """The header `Authorization` that opens MLflow."""
        login = f"{MLFLOW_USER}:{self.mlflow_password.get_secret_value()}"
        return SecretStr(f"Basic {base64.b64encode(login.encode()).decode()}")


def load(path: Path) -> Credentials:
    """Read the credentials, or generate and keep them when there are none.

    :raises CredentialsError: the file is broken, or can be neither read nor written. It is never overwritten: the
        databases were made with what it held.
    """
    try:
        text = path.read_text()
    except FileNotFoundError:
        return _generate(path)
    except OSError as error:
        raise CredentialsError(
            f"{path} cannot be read: {error.strerror}. Give it back to you: chmod 600 {path}"
        ) from error
    try:
        credentials = Credentials.model_validate_json(text)
        missing = _plain(credentials).keys() - json.loads(text).keys()
        if missing - ADDED:
            raise CredentialsError(f"{path} lacks some of the credentials. {_mend(path)}")
    except ValidationError as error:
        # The error's own text would show the secrets that it read.
        kinds = ", ".join(
            sorted({f"{'.'.join(map(str, e['loc'])) or 'the file'}: {e['type']}" for e in error.errors()})
        )
        raise CredentialsError(f"{path} is no credentials file ({kinds}). {_mend(path)}") from error
    if missing:
        _write(path, credentials, os.replace)
    path.chmod(0o600)
    return credentials


def _mend(path: Path) -> str:
    return (
        "Restore it from a backup; without one, remove it together with the data that was made with it "
        f"(rm -r {path.parent}) and start again."
    )


def _plain(credentials: Credentials) -> dict[str, str]:
    values = credentials.model_dump()
    return {name: v.get_secret_value() if isinstance(v, SecretStr) else v for name, v in values.items()}


def _generate(path: Path) -> Credentials:
    if (path.parent / "data" / "postgres").exists():
        raise CredentialsError(f"{path} is gone, but the data made with it is there. {_mend(path)}")
    credentials = Credentials()
    try:
        _write(path, credentials, os.link)
    except FileExistsError:  # another start was first, and its credentials count
        return load(path)
    return credentials


def _write(path: Path, credentials: Credentials, put: Callable[[str, Path], None]) -> None:
    """Write the file beside its place, whole, and put it there."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
        try:
            with open(handle, "w") as file:
                json.dump(_plain(credentials), file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            put(draft, path)
        finally:
            Path(draft).unlink(missing_ok=True)
    except FileExistsError:
        raise
    except OSError as error:
        raise CredentialsError(
            f"{path} cannot be written: {error.strerror}. Free or mend the disk, then retry"
        ) from error
