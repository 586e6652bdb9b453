"""A schema registry: who is let in, what it is asked, and what is said when it does not answer."""

import json
import socket
from pathlib import Path

import pytest

from include.jobs.ingest.registry import Registry, RegistryUnavailableError, WrongRegistryError
from include.jobs.lake.connections import schema_registry
from tests.jobs.ingest.schemas import Served, gate

PASSWORD = "correct horse: battery staple"
LONG = {"type": "record", "name": "one", "fields": [{"name": "a", "type": "long"}]}


@pytest.fixture
def environ(tmp_path: Path, served: Served) -> dict[str, str]:
    """What a pod finds; the address is of no use yet."""
    (tmp_path / "schema_registry_ca.pem").write_bytes(served.certificate.read_bytes())
    (tmp_path / "schema_registry_username").write_text("podium")
    (tmp_path / "schema_registry_password").write_text(PASSWORD + "\n")
    return {"PODIUM_CREDENTIALS_DIR": str(tmp_path)}


def test_schemas_are_asked_for_once_with_tls_a_user_and_a_password(served: Served, environ: dict[str, str]) -> None:
    number = served.register(LONG, "AVRO")
    with gate(served, "podium", PASSWORD) as keeper:
        registry = Registry(schema_registry(environ | {"SCHEMA_REGISTRY_URL": keeper.url}), "AVRO")
        assert keeper.asked == []
        for _ in range(2):
            schema = registry.schema(number)
            assert schema is not None
            assert (schema.schema_type, json.loads(schema.schema_str or "")) == ("AVRO", LONG)
            assert registry.schema(999_999) is None
        assert keeper.asked == [f"/apis/ccompat/v7/schemas/ids/{each}" for each in (number, 999_999)]


def test_the_registry_s_own_tls_is_enough_without_a_password(
    served: Served, environ: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "schema_registry_username").unlink()
    url = f"https://127.0.0.1:{served.tls_port}/apis/ccompat/v7"
    assert Registry(schema_registry(environ | {"SCHEMA_REGISTRY_URL": url}), "AVRO").schema(999_999) is None


@pytest.mark.parametrize(
    ("case", "why"),
    [
        ("a wrong password", "401"),
        ("an authority that nobody knows", "certificate"),
        ("a wrong path", "404"),
        ("nobody there", "refused"),
    ],
)
def test_who_is_not_answered_learns_why_and_the_password_shows_nowhere(
    served: Served, environ: dict[str, str], tmp_path: Path, case: str, why: str
) -> None:
    with gate(served, "podium", "another" if case == "a wrong password" else PASSWORD) as keeper:
        url = keeper.url
        if case == "an authority that nobody knows":
            (tmp_path / "schema_registry_ca.pem").unlink()
        elif case == "a wrong path":
            url = url.replace("/apis/", "/nosuch/")
        elif case == "nobody there":
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                url = f"https://127.0.0.1:{free.getsockname()[1]}"
        registry = Registry(schema_registry(environ | {"SCHEMA_REGISTRY_URL": url}), "AVRO")
        with pytest.raises(RegistryUnavailableError, match=why) as caught:
            registry.schema(1)
    said = str(caught.value)
    assert f"schema registry {url} does not answer" in said
    assert "schema_registry.url in the settings" in said
    assert "schema_registry_* of the Secret podium-credentials" in said
    assert PASSWORD not in said


def test_values_that_name_nothing_but_unknown_schemas_stop_the_run(served: Served) -> None:
    """Random bytes would else be a request each."""
    registry = served.open("AVRO")
    assert [registry.schema(10**6 + number) for number in range(100)] == [None] * 100
    with pytest.raises(WrongRegistryError, match=f"{served.url} does not know 100 schemas and more"):
        registry.schema(10**6 + 100)
