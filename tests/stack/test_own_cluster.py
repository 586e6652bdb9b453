"""A cluster of the user's instead of the dev cluster: what starts, and what its pods can reach."""

import base64
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
import yaml

from include.stack import kubeconfig
from include.stack.errors import StackError
from include.stack.services import catalogue, devcluster
from tests.stack.conftest import Sandbox

# A second loopback address stands for the one by which pods see this machine.
ADDRESS = "127.0.0.2"


@pytest.fixture
def own(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    monkeypatch.setenv("PODIUM_KUBERNETES__KUBECONFIG", str(tmp_path / "kubeconfig"))
    monkeypatch.setenv("PODIUM_KUBERNETES__HOST_ADDRESS", ADDRESS)
    return sandbox


def test_its_pods_reach_the_services_and_no_dev_cluster_starts(own: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    platform = own.platform(monkeypatch)
    names = {service.name for service in catalogue.services(platform)}
    assert "exposure" in names
    assert "kubernetes" not in names
    assert "controllers" in names
    outcome = own.run("up", "--only", "s3", "exposure")
    assert outcome.returncode == 0, outcome.stdout
    secret = platform.credentials.s3_secret_key.get_secret_value()
    client = boto3.client(
        "s3",
        endpoint_url=platform.settings.reach_from_pods.s3_endpoint_url,
        region_name="us-east-1",
        aws_access_key_id=platform.credentials.s3_access_key,
        aws_secret_access_key=secret,
    )
    assert ADDRESS in client.meta.endpoint_url
    assert {bucket["Name"] for bucket in client.list_buckets()["Buckets"]} == {"lake", "mlflow"}


def test_where_the_operators_are_podiums_controllers_stay_off(own: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PODIUM_KUBERNETES__OPERATORS", "true")
    names = {service.name for service in catalogue.services(own.platform(monkeypatch))}
    assert "exposure" in names
    assert "controllers" not in names


def _created(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """What start-up puts into the cluster, by path."""
    asked: dict[str, dict[str, Any]] = {}

    def handle(request: httpx.Request) -> httpx.Response:
        asked[request.url.path] = yaml.safe_load(request.content)
        return httpx.Response(200, json={})

    api = httpx.Client(base_url="https://cluster.test", transport=httpx.MockTransport(handle))
    monkeypatch.setattr(kubeconfig, "client", lambda _: api)
    devcluster.create_objects(sandbox.platform(monkeypatch))
    return asked


def test_the_dev_cluster_has_a_gateway_that_routes_can_name(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    created = _created(sandbox, monkeypatch)
    group = "/apis/gateway.networking.k8s.io/v1"
    gateway = created[f"{group}/namespaces/podium/gateways/podium"]
    assert (gateway["apiVersion"], gateway["kind"]) == ("gateway.networking.k8s.io/v1", "Gateway")
    assert [listener["port"] for listener in gateway["spec"]["listeners"]] == [sandbox.ports["gateway"]]
    assert f"{group}/gatewayclasses/{gateway['spec']['gatewayClassName']}" in created
    assert "/api/v1/namespaces/podium/secrets/podium-credentials" in created


def test_a_cluster_of_ones_own_is_asked_for_no_kind_that_it_may_not_have(
    own: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    created = _created(own, monkeypatch)
    assert created
    assert all(path.startswith("/api/v1/namespaces/podium/") for path in created)


def _config(**user: str) -> str:
    cluster = {"server": "https://192.0.2.1:6443", "certificate-authority-data": base64.b64encode(b"no PEM").decode()}
    return yaml.safe_dump(
        {
            "current-context": "here",
            "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": user}],
        }
    )


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("clusters: [", "ParserError"),
        ("{}", "KeyError: 'contexts'"),
        (_config(), "KeyError: 'token'"),
        (_config(token="secret-token"), "SSLError"),
    ],
)
def test_a_kubeconfig_that_cannot_be_used_says_what_it_lacks(tmp_path: Path, text: str, wrong: str) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(text)
    with pytest.raises(StackError) as failure:
        kubeconfig.client(path)
    assert wrong in str(failure.value)
    assert "kubectl create token" in str(failure.value)
    assert "secret-token" not in str(failure.value)


def test_a_kubeconfig_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="FileNotFoundError"):
        kubeconfig.client(tmp_path / "none")
