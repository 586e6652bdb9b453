"""Connections: from the environment and files, never with a secret in sight."""

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from include.jobs.lake.connections import (
    Connections,
    ConnectionSettingsError,
    kafka_bootstrap_servers,
    kafka_security,
    mlflow_tracking,
    schema_registry,
)

NAMES = ("aws_access_key_id", "aws_secret_access_key", "catalog_user", "catalog_password")


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    for name in NAMES:
        (tmp_path / name).write_text(f"{name} with @:/% in it\n")
    return {
        "PODIUM_CREDENTIALS_DIR": str(tmp_path),
        "S3_ENDPOINT_URL": "http://127.0.0.1:8333",
        "LAKE_WAREHOUSE": "s3://lake/warehouse/",
        "LAKE_CATALOG_URI": "postgresql://127.0.0.1:5432/lake",
    }


def test_credentials_come_from_files_and_do_not_print(environ: dict[str, str]) -> None:
    connections = Connections.from_environment(environ)
    assert connections.secret_access_key == "aws_secret_access_key with @:/% in it"
    assert "with @" not in repr(connections)
    assert connections.warehouse == "s3://lake/warehouse"
    assert connections.s3_region == "us-east-1"


def test_a_password_with_special_characters_survives_the_uri(environ: dict[str, str]) -> None:
    uri = urlsplit(Connections.from_environment(environ).catalog_properties()["uri"])
    assert (uri.hostname, uri.port, uri.path) == ("127.0.0.1", 5432, "/lake")
    assert unquote(uri.password or "") == "catalog_password with @:/% in it"


@pytest.mark.parametrize("name", ["PODIUM_CREDENTIALS_DIR", "S3_ENDPOINT_URL", "LAKE_WAREHOUSE", "LAKE_CATALOG_URI"])
def test_a_missing_variable_is_named(environ: dict[str, str], name: str) -> None:
    del environ[name]
    with pytest.raises(ConnectionSettingsError, match=f"{name} is not set"):
        Connections.from_environment(environ)


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_or_empty_credential_is_named(environ: dict[str, str], tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("\n")
    with pytest.raises(ConnectionSettingsError, match=rf"{name} is empty"):
        Connections.from_environment(environ)
    (tmp_path / name).unlink()
    with pytest.raises(ConnectionSettingsError, match=rf"{name} cannot be read \(No such file"):
        Connections.from_environment(environ)


def test_kafka_is_required() -> None:
    with pytest.raises(ConnectionSettingsError, match="KAFKA_BOOTSTRAP_SERVERS is not set"):
        kafka_bootstrap_servers({})


def test_an_open_kafka_needs_nothing() -> None:
    assert kafka_security({}) == {}


def test_files_let_into_kafka(environ: dict[str, str], tmp_path: Path) -> None:
    environ |= {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512"}
    with pytest.raises(ConnectionSettingsError, match="kafka_username cannot be read"):
        kafka_security(environ)
    for name, value in {"kafka_username": "podium", "kafka_password": "p w\n", "kafka_ca.pem": "pem"}.items():
        (tmp_path / name).write_text(value)
    assert kafka_security(environ) == {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "podium",
        "sasl.password": "p w",
        "ssl.ca.location": str(tmp_path / "kafka_ca.pem"),
    }
    (tmp_path / "kafka_client.crt").write_text("pem")
    with pytest.raises(ConnectionSettingsError, match=r"kafka_client\.key cannot be read"):
        kafka_security(environ)
    with pytest.raises(ConnectionSettingsError, match="is none of PLAINTEXT, SSL, SASL_SSL"):
        kafka_security(environ | {"KAFKA_SECURITY_PROTOCOL": "SASL"})


def test_a_password_goes_over_no_connection_without_tls(environ: dict[str, str], tmp_path: Path) -> None:
    for name in ("kafka_username", "kafka_password"):
        (tmp_path / name).write_text("podium")
    environ |= {"KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT", "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512"}
    assert kafka_security(environ)["security.protocol"] == "SASL_PLAINTEXT", "SCRAM proves it and does not send it"
    with pytest.raises(ConnectionSettingsError, match="would send the password"):
        kafka_security(environ | {"KAFKA_SASL_MECHANISM": "PLAIN"})


def test_files_let_into_mlflow(environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("URI", "USERNAME", "PASSWORD", "TOKEN")
    for name in (*(f"MLFLOW_TRACKING_{name}" for name in names), "MLFLOW_REGISTRY_URI"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    with pytest.raises(ConnectionSettingsError, match="MLFLOW_TRACKING_URI is not set"):
        mlflow_tracking(environ)
    environ["MLFLOW_TRACKING_URI"] = "https://mlflow.example.com"
    assert mlflow_tracking(environ) == "https://mlflow.example.com"
    assert [os.environ.get(f"MLFLOW_TRACKING_{name}") for name in names] == ["https://mlflow.example.com", *[None] * 3]
    (tmp_path / "mlflow_username").write_text("podium")
    (tmp_path / "mlflow_password").write_text("p w\n")
    mlflow_tracking(environ)
    assert [os.environ.get(f"MLFLOW_TRACKING_{name}") for name in names[1:]] == ["podium", "p w", None]


def test_no_credentials_in_the_address_of_mlflow(environ: dict[str, str]) -> None:
    with pytest.raises(ConnectionSettingsError, match="mlflow_username and mlflow_password") as caught:
        mlflow_tracking(environ | {"MLFLOW_TRACKING_URI": "https://podium:secret@mlflow.example.com"})
    assert "secret" not in str(caught.value)


def test_files_let_into_the_schema_registry(environ: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(ConnectionSettingsError, match="SCHEMA_REGISTRY_URL is not set"):
        schema_registry(environ)
    environ["SCHEMA_REGISTRY_URL"] = "http://registry:8081"
    assert schema_registry(environ) == {"url": "http://registry:8081"}
    (tmp_path / "schema_registry_username").write_text("podium")
    with pytest.raises(ConnectionSettingsError, match="a password goes over https alone"):
        schema_registry(environ)
    environ["SCHEMA_REGISTRY_URL"] = "https://registry:8081"
    with pytest.raises(ConnectionSettingsError, match="schema_registry_password cannot be read"):
        schema_registry(environ)
    (tmp_path / "schema_registry_password").write_text("p:w\n")
    (tmp_path / "schema_registry_ca.pem").write_text("pem")
    assert schema_registry(environ) == {
        "url": "https://registry:8081",
        "ssl.ca.location": str(tmp_path / "schema_registry_ca.pem"),
        "basic.auth.user.info": "podium:p:w",
    }
