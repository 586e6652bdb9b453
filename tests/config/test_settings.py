"""The settings: every environment is valid, and a mistake names its file, key and mend."""

import datetime as dt
import shutil
from pathlib import Path

import pytest

from include.config import ConfigError, load_settings
from include.config.settings import CONFIG_DIR, ENVIRONMENTS


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A copy of the configuration folder that a test may spoil."""
    return Path(shutil.copytree(CONFIG_DIR, tmp_path / "config"))


def spoil(directory: Path, old: str, new: str) -> None:
    path = directory / "local.yaml"
    text = path.read_text()
    if old not in text:
        raise LookupError(f"{old!r} is not in {path}")
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_environment_is_valid_and_reaches_all_services(environment: str) -> None:
    settings = load_settings(environment)
    assert settings.env == environment
    assert all(settings.platform_environment().values())
    # Jobs tell nobody outside what they do.
    assert settings.platform_environment()["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert set(settings.images) == set(load_settings("local").images)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_no_month_that_judges_a_model_is_among_those_that_train_it(environment: str) -> None:
    recommender = load_settings(environment).recommender
    assert max(*recommender.train_cutoffs, recommender.validation_cutoff) < recommender.evaluation_cutoff


def test_local_endpoints_follow_the_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PODIUM_PORTS__KAFKA", "31234")
    settings = load_settings("local")
    assert settings.reach.kafka_bootstrap_servers == "127.0.0.1:31234"
    assert settings.platform_environment()["KAFKA_BOOTSTRAP_SERVERS"] == "127.0.0.1:31234"


def test_a_variable_overrides_one_key_of_a_section(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PODIUM_FEATURES__CUTOFFS", '["2017-02-01", "2017-03-01"]')
    features = load_settings("local").features
    assert features.cutoffs == (dt.date(2017, 2, 1), dt.date(2017, 3, 1))
    assert features.driver_cores == 2


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("kafka: 26092", "kafka: 80", "ports.kafka: Input should be greater than or equal to 1024, found 80"),
        ("kafka: 26092", "kafka: 26093", "ports: Value error, kafka_controller and kafka both use port 26093"),
        ("  sasl_mechanism: SCRAM-SHA-512\n", "", "sasl_mechanism belongs to"),
        ("SCRAM-SHA-512", "PLAIN", "by PLAIN the password would go over"),
        (
            "contract: transactions.v1",
            "contract: transactions.v1\n      value_format: registry_json",
            "ingest.topics.transactions.value_format: registry_json needs a schema registry: give schema_registry.url",
        ),
        (
            "contract: transactions.v1",
            "contract: transactions.v1\n      value_format: avro",
            "ingest.topics.transactions.value_format: Input should be 'json', 'registry_json' or 'registry_avro'",
        ),
        (
            "namespace: podium",
            "namespace: podium\nschema_registry: {url: 'registry:8081'}",
            "schema_registry.url: Value error, give an address like https://registry.example.com:8081",
        ),
        ("seed: 20171201", "sed: 20171201", "recommender.sed: Extra inputs are not permitted"),
        ("max_error_rate: 0.0005", "max_error_rate: 1.5", "rollout.max_error_rate"),
        ("traffic_percent: 50", "traffic_percent: 5", "traffic_percent must rise from step to step and end at 100"),
        ("America/New_York", "America/New_Yrok", "no IANA time zone"),
        ("validation_cutoff: 2017-11-01", "validation_cutoff: 2018-01-01", "leaks into training"),
        ("job_timeout_s: 30", "job_timeout_s: 14", "job_timeout_s must be at least three times job_heartbeat_s"),
        ("node_pool: gpu-a100", "node_pool: gpu-h100", "no pool 'gpu-h100' under node_pools"),
        ("cutoffs: [2017-08-01", "cutoffs: [2017-08-02", "cutoffs are first days of months"),
    ],
)
def test_a_mistake_is_named_with_file_and_key(directory: Path, old: str, new: str, expected: str) -> None:
    spoil(directory, old, new)
    with pytest.raises(ConfigError) as error:
        load_settings("local", directory)
    assert expected in str(error.value)
    assert str(directory / "local.yaml") in str(error.value)


def test_a_schema_registry_is_optional_and_its_address_reaches_the_jobs(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "SCHEMA_REGISTRY_URL" not in load_settings("local").platform_environment()
    spoil(directory, "contract: transactions.v1", "contract: transactions.v1\n      value_format: registry_json")
    monkeypatch.setenv("PODIUM_SCHEMA_REGISTRY__URL", "https://registry.example.com:8081")
    settings = load_settings("local", directory)
    assert settings.ingest.transactions.value_format == "registry_json"
    assert settings.platform_environment()["SCHEMA_REGISTRY_URL"] == "https://registry.example.com:8081"


@pytest.mark.parametrize("environment", ["local", "prod"])
def test_credentials_in_the_address_of_a_service_are_refused_and_not_repeated(
    environment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PODIUM_ENDPOINTS__MLFLOW_TRACKING_URI", "https://podium:secret@mlflow.example.com")
    with pytest.raises(ConfigError, match=r"endpoints\.mlflow_tracking_uri(.|\n)*mlflow_token") as caught:
        load_settings(environment)
    assert "secret@" not in str(caught.value)


def test_credentials_in_the_address_are_refused_and_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PODIUM_SCHEMA_REGISTRY__URL", "https://podium:secret@registry.example.com")
    with pytest.raises(ConfigError, match=r"schema_registry\.url(.|\n)*schema_registry_password") as caught:
        load_settings("local")
    assert "secret@" not in str(caught.value)


def test_a_wrong_variable_is_named_as_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PODIUM_DRIFT__P_VALUE", "often")
    with pytest.raises(ConfigError, match=r"drift\.p_value(.|\n)*PODIUM_DRIFT__P_VALUE"):
        load_settings("local")


def test_all_mistakes_are_reported_at_once(directory: Path) -> None:
    spoil(directory, "max_error_rate: 0.0005", "max_error_rate: 1.5")
    spoil(directory, "epochs: 4", "epochs: 0")
    with pytest.raises(ConfigError, match=r"2 mistake\(s\)"):
        load_settings("local", directory)


def test_production_tells_somebody_of_failures(directory: Path) -> None:
    assert load_settings("prod").notifications.any
    path = directory / "prod.yaml"
    path.write_text(path.read_text().replace("alertmanager_connection_id: podium_alertmanager", "slow_after_s: 60"))
    with pytest.raises(ConfigError, match=r"prod\.yaml.*(?s:.)*nobody is told of failures"):
        load_settings("prod", directory)


def test_an_unknown_environment_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="local, dev, staging, prod"):
        load_settings("production")


def test_a_missing_file_and_broken_yaml_are_clear(directory: Path) -> None:
    (directory / "local.yaml").write_text("ports: [")
    with pytest.raises(ConfigError, match=r"local\.yaml: cannot be read"):
        load_settings("local", directory)
    (directory / "local.yaml").unlink()
    with pytest.raises(ConfigError, match="restore it from the repository"):
        load_settings("local", directory)


def test_operators_run_on_a_cluster_of_your_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PODIUM_KUBERNETES__OPERATORS", "true")
    with pytest.raises(ConfigError, match="give its kubeconfig and host_address"):
        load_settings("local")


def test_a_cluster_of_your_own_needs_an_address_for_its_pods(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PODIUM_KUBERNETES__KUBECONFIG", "my/kubeconfig")
    with pytest.raises(ConfigError, match="kubeconfig and host_address belong together"):
        load_settings("local")
    monkeypatch.setenv("PODIUM_KUBERNETES__HOST_ADDRESS", "192.0.2.7")
    settings = load_settings("local")
    assert settings.kubernetes.kubeconfig == Path.cwd() / "my" / "kubeconfig"
    assert settings.platform_environment()["S3_ENDPOINT_URL"] == "http://192.0.2.7:26433"
    assert settings.platform_environment()["KAFKA_BOOTSTRAP_SERVERS"] == "192.0.2.7:26192"
    assert settings.reach.s3_endpoint_url == "http://127.0.0.1:26333"
