"""Where the links of a task lead; that Airflow shows them is shown with a real one (live/)."""

import json
from types import SimpleNamespace
from typing import Any

import boto3
import httpx
import pytest
from podium.identity import Identity
from podium.links import DataDocsLink, InferenceServiceLink, MlflowRunLink, PodLogLink, SparkUiLink
from podium.platform import settings

from include.config import ConfigError, load_settings
from tests.services import Services

OPERATOR: Any = SimpleNamespace(identity=Identity("dag", "r1", "work"))


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


PAGES = {"data_docs": ["s3://lake/warehouse/data_docs/t/20170101T000000Z.html", "s3://lake/other.html"]}


def test_the_first_page_of_data_docs_opens_in_a_browser_without_a_log_in(
    services: Services, s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = services.credentials["s3_access_key"], services.credentials["s3_secret_key"]
    lake = {"conn_type": "aws", "login": keys[0], "password": keys[1], "extra": {"endpoint_url": s3}}
    monkeypatch.setenv("AIRFLOW_CONN_PODIUM_LAKE", json.dumps(lake))
    settings.cache_clear()
    client = boto3.client("s3", endpoint_url=s3, aws_access_key_id=keys[0], aws_secret_access_key=keys[1])
    client.put_object(Bucket="lake", Key="warehouse/data_docs/t/20170101T000000Z.html", Body=b"<p>Failed</p>")
    address = DataDocsLink().get_link(OPERATOR, ti_key=instance(PAGES))
    assert keys[1] not in address
    answer = httpx.get(address, trust_env=False)
    assert (answer.status_code, answer.text) == (200, "<p>Failed</p>")
    assert answer.headers["content-type"].startswith("text/html")
    assert httpx.get(address.replace("20170101", "20170102"), trust_env=False).status_code == 403


def test_pages_may_have_an_address_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PODIUM_LINKS__DATA_DOCS", "https://docs/{bucket}?page={key}")
    settings.cache_clear()
    link = DataDocsLink()
    address = "https://docs/lake?page=warehouse/data_docs/t/20170101T000000Z.html"
    assert link.get_link(OPERATOR, ti_key=instance(PAGES)) == address
    assert [link.get_link(OPERATOR, ti_key=instance(result)) for result in (None, {"data_docs": []})] == ["", ""]
    monkeypatch.undo()
    settings.cache_clear()


@pytest.mark.parametrize(
    ("name", "address", "problem"),
    [
        ("POD_LOGS", "https://grafana/{pod}", r"links\.pod_logs.*neither \{namespace\} nor \{name\}"),
        ("DATA_DOCS", "https://docs/{name}", r"links\.data_docs.*neither \{bucket\} nor \{key\}"),
    ],
)
def test_an_unknown_place_in_an_address_fails_the_settings(
    monkeypatch: pytest.MonkeyPatch, name: str, address: str, problem: str
) -> None:
    monkeypatch.setenv(f"PODIUM_LINKS__{name}", address)
    with pytest.raises(ConfigError, match=problem):
        load_settings("local")
