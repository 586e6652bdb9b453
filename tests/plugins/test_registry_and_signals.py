import asyncio
import base64
import http.server
import json
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException
from podium.assets import DRIFT, DRIFT_FOUND
from podium.errors import MetricsUnavailableError
from podium.hooks.mlflow import ModelRegistryHook, RegistryError
from podium.metrics import EnvoyMetrics, read, read_async
from podium.operators.drift import SignalDriftOperator
from podium.triggers.rollout import MetricsTrigger, RolloutStepTrigger, RolloutTrigger

from tests.plugins.cluster import free_port
from tests.plugins.harness import call_with


@pytest.fixture
def answers() -> Iterator[Any]:
    """A server that gives one answer; yields its address and a place for status and body."""
    place = SimpleNamespace(status=200, body={}, url="")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            place.shown = self.headers.get("Authorization")
            body = json.dumps(place.body).encode()
            self.send_response(place.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    place.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield place
    server.shutdown()


def test_alias_names_a_version(answers: Any) -> None:
    answers.body = {"model_version": {"version": "7"}}
    assert ModelRegistryHook(answers.url).version_of_alias("recommender", "champion") == "7"


def test_alias_that_names_nothing(answers: Any) -> None:
    answers.status, answers.body = 404, {"error_code": "RESOURCE_DOES_NOT_EXIST"}
    assert ModelRegistryHook(answers.url).version_of_alias("recommender", "champion") is None


def test_a_refusal_of_the_registry_is_shown(answers: Any) -> None:
    answers.status, answers.body = 500, {"error_code": "INTERNAL_ERROR", "message": "disk full"}
    with pytest.raises(RegistryError, match="disk full"):
        ModelRegistryHook(answers.url).version_of_alias("recommender", "champion")


@pytest.mark.parametrize(
    ("connection", "shown"),
    [
        ({"login": "podium", "password": "p@ss"}, "Basic " + base64.b64encode(b"podium:p@ss").decode()),
        ({"password": "t0ken"}, "Bearer t0ken"),
    ],
)
def test_the_connection_lets_into_the_registry(
    answers: Any, monkeypatch: pytest.MonkeyPatch, connection: dict[str, str], shown: str
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_PODIUM_MLFLOW", json.dumps({"conn_type": "generic", **connection}))
    answers.body = {"model_version": {"version": "7"}}
    ModelRegistryHook(answers.url, "podium_mlflow").version_of_alias("recommender", "champion")
    assert answers.shown == shown
    answers.status, answers.body = 401, {}
    with pytest.raises(RegistryError, match="mlflow_connection_id") as refused:
        ModelRegistryHook(answers.url, "podium_mlflow").version_of_alias("recommender", "champion")
    assert connection["password"] not in str(refused.value)


def test_the_connection_lets_read_the_counters(answers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_PODIUM_METRICS", json.dumps({"conn_type": "generic", "password": "t0ken"}))
    read(EnvoyMetrics(answers.url), "c")
    assert answers.shown == "Bearer t0ken"
    answers.shown = None
    asyncio.run(read_async(EnvoyMetrics(answers.url), "c"))
    assert answers.shown == "Bearer t0ken"


def test_an_unreachable_registry_says_what_to_check() -> None:
    with pytest.raises(RegistryError, match=r"cannot be reached.*mlflow_tracking_uri"):
        ModelRegistryHook(f"http://127.0.0.1:{free_port()}").set_alias("recommender", "champion", "1")


def test_unreachable_metrics_say_what_to_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_PODIUM_METRICS", json.dumps({"conn_type": "generic", "password": "t0ken"}))
    source = EnvoyMetrics(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(MetricsUnavailableError, match="metrics_url"):
        read(source, "c")
    with pytest.raises(MetricsUnavailableError, match="metrics_url"):
        asyncio.run(read_async(source, "c"))


STEP_TRIGGER = {
    "namespace": "podium",
    "service": "rec",
    "predictor": "v2",
    "champion": "v1",
    "conn_id": "kubernetes_default",
    "metrics": "envoy",
    "step": {"traffic_percent": 10, "min_seconds": 0, "max_seconds": 1},
    "limits": {"max_error_rate": 0.01, "max_p99_ms": 50, "min_requests": 10, "alpha": 0.01},
    "steps": 3,
    "watch": {},
    "poll_seconds": 0.1,
}


def fired(trigger: RolloutTrigger) -> dict[str, Any]:
    async def first() -> Any:
        async for event in trigger.run():
            return event.payload

    found: dict[str, Any] = asyncio.run(first())
    return found


@pytest.mark.parametrize("gateway", ["away", "without the series"])
def test_without_data_nothing_is_judged_until_the_steps_time_is_over(
    answers: Any, capsys: pytest.CaptureFixture[str], gateway: str
) -> None:
    url = answers.url if gateway == "without the series" else f"http://127.0.0.1:{free_port()}"
    trigger = RolloutStepTrigger(metrics_url=url, started=time.time(), **STEP_TRIGGER)
    payload = fired(trigger)
    assert payload["verdict"] == "fail"
    assert payload["reason"].startswith("no data to judge by")
    assert payload["ended"] - trigger.started >= 1
    told = capsys.readouterr().out
    assert told.count("No data, so nothing is judged; the canary keeps its 10 %") == 1, "at the first look, and once"


def test_a_step_that_cannot_begin_waits_for_the_metrics(answers: Any) -> None:
    where = {key: STEP_TRIGGER[key] for key in STEP_TRIGGER.keys() - {"limits", "steps", "watch"}}
    assert fired(MetricsTrigger(metrics_url=answers.url, started=time.time(), **where)) == {"readable": True}
    nowhere = f"http://127.0.0.1:{free_port()}"
    assert fired(MetricsTrigger(metrics_url=nowhere, started=time.time(), **where)) == {"readable": False}


class Alias:
    def __init__(self) -> None:
        self.added: list[Any] = []

    def add(self, asset: Any, extra: Any) -> None:
        self.added.append((asset, extra))


FEATURES = [{"name": "spend", "drifted": True}, {"name": "baskets", "drifted": False}]


def test_drift_is_signalled_with_the_features_that_drifted() -> None:
    alias = Alias()
    written = {"kind": "table", "name": "monitoring.drift", "snapshot_id": "7", "rows": 2}
    check = {"drifted": True, "features": FEATURES, "datasets": {"inputs": [], "outputs": [written]}}
    operator = SignalDriftOperator(task_id="signal", check=check)
    call_with(operator, {"outlet_events": {DRIFT_FOUND: alias}})
    assert alias.added == [(DRIFT, {"features": ["spend"]})]
    told = operator.get_openlineage_facets_on_complete(None)
    assert [dataset.name for dataset in told.inputs] == ["monitoring.drift"]


def test_without_drift_there_is_no_signal() -> None:
    alias = Alias()
    operator = SignalDriftOperator(task_id="signal", check={"drifted": False, "features": FEATURES})
    with pytest.raises(AirflowSkipException):
        call_with(operator, {"outlet_events": {DRIFT_FOUND: alias}})
    assert alias.added == []
