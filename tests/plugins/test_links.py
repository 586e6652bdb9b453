"""Where the links of a task lead; that Airflow shows them is shown with a real one (live/)."""

from types import SimpleNamespace
from typing import Any

import pytest
from podium.links import InferenceServiceLink, MlflowRunLink, PodLogLink, SparkUiLink
from podium.platform import settings

from include.config import ConfigError, load_settings

OPERATOR: Any = SimpleNamespace(retries=1)


def instance(result: Any = None) -> Any:
    ti = SimpleNamespace(dag_id="dag", run_id="r1", task_id="work", map_index=-1, try_number=1, max_tries=1)
    ti.log_url = "http://airflow/log"
    ti.xcom_pull = lambda **_: result
    return ti


@pytest.fixture
def addresses(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("PODIUM_LINKS__POD_LOGS", "https://grafana/logs?ns={namespace}&pod={name}")
    monkeypatch.setenv("PODIUM_LINKS__SPARK_UI", "https://spark/{namespace}/{name}")
    settings.cache_clear()
    yield
    monkeypatch.undo()
    settings.cache_clear()


def test_addresses_of_the_settings_get_namespace_and_name(addresses: None) -> None:
    assert PodLogLink().get_link(OPERATOR, ti_key=instance()).startswith("https://grafana/logs?ns=podium&pod=dag-work-")
    assert SparkUiLink().get_link(OPERATOR, ti_key=instance()).startswith("https://spark/podium/dag-work-")


def test_without_them_the_log_is_the_tasks_own_and_there_is_no_spark_ui() -> None:
    settings.cache_clear()
    assert PodLogLink().get_link(OPERATOR, ti_key=instance()) == "http://airflow/log"
    assert SparkUiLink().get_link(OPERATOR, ti_key=instance()) == ""


def test_links_of_results() -> None:
    settings.cache_clear()
    run = MlflowRunLink().get_link(OPERATOR, ti_key=instance({"mlflow_run_id": "abc"}))
    assert run == f"{settings().reach.mlflow_tracking_uri}/#/runs/abc"
    assert InferenceServiceLink().get_link(OPERATOR, ti_key=instance({"url": "http://svc"})) == "http://svc"
    for link in (MlflowRunLink(), InferenceServiceLink()):
        assert [link.get_link(OPERATOR, ti_key=instance(result)) for result in (None, {}, "text")] == ["", "", ""]


def test_an_unknown_place_in_an_address_fails_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PODIUM_LINKS__POD_LOGS", "https://grafana/{pod}")
    with pytest.raises(ConfigError, match=r"links\.pod_logs.*neither \{namespace\} nor \{name\}"):
        load_settings("local")
