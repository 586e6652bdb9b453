import json
import stat
from pathlib import Path

import pytest
import yaml

from include.airflow.__main__ import main
from include.airflow.settings import PROCESSES, Credentials, assets, environment, faults, lineage, prepare
from include.config import load_settings
from include.config.settings import ENVIRONMENTS

CREDENTIALS = Credentials(
    postgres_user="airflow",
    postgres_password="p@ss/word",
    fernet_key="fernet",
    jwt_secret="j" * 64,
    api_secret_key="api",
    admin_password="let-me-in",
    s3_access_key="key",
    s3_secret_key="s3cret",
    pseudonym_key="pseudo",
    gateway_admin_token="token",
    kafka_user="podium",
    kafka_password="kafka",
    mlflow_user="podium",
    mlflow_password="mlflow",
)


def test_database_address_survives_awkward_passwords(tmp_path: Path) -> None:
    found = environment(load_settings("local"), tmp_path, CREDENTIALS)["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]
    assert "airflow:p%40ss%2Fword@127.0.0.1:" in found


def test_everything_listens_on_loopback_only(tmp_path: Path) -> None:
    found = environment(load_settings("local"), tmp_path, CREDENTIALS)
    assert found["AIRFLOW__API__HOST"] == "127.0.0.1"
    # Their log servers would listen on every interface.
    assert all("--skip-serve-logs" in PROCESSES[name] for name in ("scheduler", "triggerer"))


def test_settings_of_the_environment_reach_the_dag_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PODIUM_PORTS__MLFLOW", "12345")
    found = environment(load_settings("local"), tmp_path, CREDENTIALS)
    assert found["PODIUM_PORTS__MLFLOW"] == "12345"
    assert found["PODIUM_ENV"] == "local"


def test_kubernetes_is_reached_by_the_connection_alone(tmp_path: Path) -> None:
    found = environment(load_settings("local"), tmp_path, CREDENTIALS)
    connection = json.loads(found["AIRFLOW_CONN_KUBERNETES_DEFAULT"])
    assert connection["extra"]["kube_config_path"] == str(tmp_path / "kubeconfig")
    # The deferrable operators refuse both at once.
    assert "KUBECONFIG" not in found


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_what_the_dead_leave_is_taken_up_before_airflow_s_own_five_minutes(name: str) -> None:
    found = {key.rpartition("__")[2].lower(): float(value) for key, value in faults(load_settings(name)).items()}
    assert found["task_instance_heartbeat_timeout"] < 300
    assert found["scheduler_health_check_threshold"] + found["orphaned_tasks_check_interval"] < 300
    # The pauses between the provider's attempts, which are not configured one by one, bear the outage.
    pauses = [min(2**attempt, 15) for attempt in range(int(found["api_retries"]) - 1)]
    assert sum(pauses) >= load_settings(name).faults.api_outage_s


def test_a_chart_gets_them_as_a_config_map(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["include.airflow", "prod"])
    assert main() == 0
    manifest = yaml.safe_load(capsys.readouterr().out)
    assert (manifest["kind"], manifest["metadata"]["name"]) == ("ConfigMap", "podium-airflow")
    assert (assets() | faults(load_settings("prod"))).items() <= manifest["data"].items()
    transport = json.loads(manifest["data"]["AIRFLOW__OPENLINEAGE__TRANSPORT"])
    assert (transport["type"], transport["topic"]) == ("kafka", "platform.lineage")
    monkeypatch.setattr("sys.argv", ["include.airflow", "nowhere"])
    assert main() == 2
    assert "local, dev, staging, prod" in capsys.readouterr().err


def test_a_cluster_has_no_such_environment(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Helm chart"):
        environment(load_settings("prod"), tmp_path, CREDENTIALS)


def test_lineage_goes_where_the_settings_say_and_an_erasure_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = environment(load_settings("local"), tmp_path, CREDENTIALS)
    transport = json.loads(found["AIRFLOW__OPENLINEAGE__TRANSPORT"])
    assert transport == {"type": "file", "log_file_path": f"{tmp_path}/logs/lineage/events.jsonl", "append": True}
    monkeypatch.setenv("PODIUM_LINEAGE__TRANSPORT", "kafka")
    monkeypatch.setenv("PODIUM_LINEAGE__TOPIC", "lineage")
    found = environment(load_settings("local"), tmp_path, CREDENTIALS)
    servers = {"bootstrap.servers": "127.0.0.1:26092"}
    assert json.loads(found["AIRFLOW__OPENLINEAGE__TRANSPORT"])["config"] == servers | {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "podium",
        "sasl.password": "kafka",
    }
    assert json.loads(lineage(load_settings("local"), tmp_path)["AIRFLOW__OPENLINEAGE__TRANSPORT"])["config"] == (
        servers | {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "SCRAM-SHA-512"}
    ), "what the chart gets holds no password"
    monkeypatch.setenv("PODIUM_KAFKA", '{"security_protocol": "PLAINTEXT", "sasl_mechanism": null}')
    found = environment(load_settings("local"), tmp_path, CREDENTIALS)
    assert json.loads(found["AIRFLOW__OPENLINEAGE__TRANSPORT"])["config"] == servers | {
        "security.protocol": "PLAINTEXT"
    }
    monkeypatch.setenv("PODIUM_LINEAGE__TRANSPORT", "none")
    assert environment(load_settings("local"), tmp_path, CREDENTIALS)["AIRFLOW__OPENLINEAGE__DISABLED"] == "True"


def test_password_file_is_the_owners_alone(tmp_path: Path) -> None:
    prepare(tmp_path, CREDENTIALS)
    prepare(tmp_path, CREDENTIALS)
    file = tmp_path / "airflow" / "passwords.json"
    assert json.loads(file.read_text()) == {"admin": "let-me-in"}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
