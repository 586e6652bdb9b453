"""The manifests: pinned, least-privilege, and of one mind with the settings."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from include.config import load_settings

ROOT = Path(__file__).parents[2]
BASE = sorted((ROOT / "k8s" / "base").glob("*.yaml"))
PINNED = re.compile(r"^[\w./-]+:(?!latest\b|main\b|master\b)[\w.-]*\d[\w.-]*(@sha256:[0-9a-f]{64})?$")


def objects() -> list[dict[str, Any]]:
    return [row for path in BASE for row in yaml.safe_load_all(path.read_text()) if row]


def test_kustomization_lists_every_file() -> None:
    listed = yaml.safe_load((ROOT / "k8s/base/kustomization.yaml").read_text())["resources"]
    assert sorted(listed) == [path.name for path in BASE if path.name != "kustomization.yaml"]


def test_no_role_grants_everything_or_reads_secrets() -> None:
    roles = [row for row in objects() if row["kind"] == "Role"]
    assert roles
    for rule in (rule for role in roles for rule in role["rules"]):
        assert "*" not in rule["verbs"] + rule["resources"] + rule["apiGroups"]
        assert "secrets" not in rule["resources"]


def test_namespace_enforces_the_restricted_standard() -> None:
    (namespace,) = [row for row in objects() if row["kind"] == "Namespace"]
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize("environment", ["dev", "staging", "prod"])
def test_gpu_quota_of_an_overlay_is_its_pool(environment: str) -> None:
    overlay = yaml.safe_load((ROOT / f"k8s/overlays/{environment}/kustomization.yaml").read_text())
    (patch,) = yaml.safe_load(overlay["patches"][0]["patch"])
    settings = load_settings(environment)
    assert int(patch["value"]) == sum(pool.total_gpus for pool in settings.node_pools.values())


@pytest.mark.parametrize("environment", ["dev", "staging", "prod"])
def test_what_kserve_runs_before_a_predictor_is_the_predictors_image(environment: str) -> None:
    overlay = yaml.safe_load((ROOT / f"k8s/overlays/{environment}/kustomization.yaml").read_text())
    assert "../../operators" in overlay["resources"]
    (patch,) = yaml.safe_load(overlay["patches"][1]["patch"])
    assert patch["value"] == load_settings(environment).images["serving"]


def test_compose_images_are_pinned_ports_are_loopback_and_secrets_are_not_in_it() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yaml").read_text())["services"]
    for name, service in services.items():
        assert PINNED.match(service["image"]), f"{name}: {service['image']} is not pinned"
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        for key, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|_KEY", key):
                assert str(value).startswith("${"), f"{name}.{key} is written out"


@pytest.mark.parametrize("environment", ["dev", "staging", "prod"])
def test_images_of_clusters_are_pinned(environment: str) -> None:
    for name, reference in load_settings(environment).images.items():
        assert PINNED.match(reference), f"{name}: {reference}"
