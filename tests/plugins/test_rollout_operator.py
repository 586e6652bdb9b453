"""Rollouts on real controllers, a real Envoy and real requests; only the models and MLflow are stood in for."""

import http.server
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from airflow.sdk.exceptions import AirflowSkipException, TaskDeferred
from podium.assets import CHAMPION
from podium.errors import RolledBackError, WorkFailedError
from podium.hooks.mlflow import RegistryError
from podium.platform import settings

from tests.plugins.cluster import Platform, free_port, wait_for
from tests.plugins.harness import Ti, begin, call, call_with, finish, fire, run

pytestmark = pytest.mark.timeout(240)


MISSING = "RESOURCE_DOES_NOT_EXIST"


class Registry:
    """The part of MLflow's REST API that rollouts use."""

    def __init__(self) -> None:
        self.aliases: dict[str, str] = {}
        self.tags: dict[str, str] = {}
        registry = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if self.path.endswith("/registered-models/alias"):
                    registry.aliases[sent["alias"]] = sent["version"]
                else:
                    registry.tags[sent["key"]] = sent["value"]
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def do_GET(self) -> None:
                asks_for_tags = "/model-versions/get?" in self.path
                version = "2" if asks_for_tags else registry.aliases.get("champion")
                tags = [{"key": key, "value": value} for key, value in registry.tags.items()]
                found = {"model_version": {"version": version, "tags": tags}}
                answer = found if version else {"error_code": MISSING}
                body = json.dumps(answer).encode()
                self.send_response(200 if version else 404)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def registry(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    made = Registry()
    monkeypatch.setenv("PODIUM_PORTS__MLFLOW", str(made.port))
    settings.cache_clear()
    yield made
    settings.cache_clear()
    made.server.shutdown()


class Shoppers:
    """Sends requests until told to stop, and counts the answers."""

    def __init__(self, url: str) -> None:
        self.url, self.stop = url, threading.Event()
        self.versions: list[str] = []
        self.failures: list[str] = []

    def run(self) -> None:
        with httpx.Client(trust_env=False, timeout=10) as client:
            while not self.stop.is_set():
                try:
                    answer = client.get(self.url)
                except httpx.HTTPError as error:
                    self.failures.append(repr(error))
                    continue
                if answer.status_code == 200:
                    self.versions.append(answer.text)
                else:
                    self.failures.append(f"{answer.status_code} {answer.text}")
                time.sleep(0.005)


@contextmanager
def shoppers(platform: Platform, service: str) -> Iterator[Shoppers]:
    made = Shoppers(f"{platform.gateway_url}/serving/podium/{service}/predict")
    threads = [threading.Thread(target=made.run, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    yield made
    made.stop.set()
    for thread in threads:
        thread.join()


def serve(service: str, version: str, **arguments: Any) -> Any:
    from podium.operators.inference_service import InferenceServiceOperator

    return InferenceServiceOperator(
        task_id="serve", service=service, model_name="recommender", version=version, serving=SMALL, **arguments
    )


def rollout(service: str, version: str, **arguments: Any) -> Any:
    from podium.operators.rollout import RolloutOperator

    return RolloutOperator(
        task_id="rollout", service=service, model_name="recommender", version=version, serving=SMALL, **arguments
    )


SMALL = {"cpu": "100m", "memory": "128Mi"}


@pytest.fixture
def service(platform: Platform, registry: Registry, request: pytest.FixtureRequest) -> Iterator[str]:
    """A service that serves version 1."""
    name = f"rec-{abs(hash(request.node.name)) % 10**6}"
    assert run(lambda: serve(name, "1"), Ti("serve", run_id=name))["version"] == "1"
    yield name
    path = f"/apis/serving.kserve.io/v1beta1/namespaces/podium/inferenceservices/{name}"
    platform.call("DELETE", path)
    wait_for(lambda: not any(pod.startswith(name) for pod in platform.pods()), "its pods to go")


def spec(platform: Platform, service: str) -> dict[str, Any]:
    found: dict[str, Any] = services(platform)[service]["spec"]
    return found


def services(platform: Platform) -> dict[str, dict[str, Any]]:
    return platform.objects("serving.kserve.io", "v1beta1", "inferenceservices")


def test_a_good_canary_is_promoted_without_a_failed_request_or_a_restart(
    platform: Platform, service: str, registry: Registry
) -> None:
    with shoppers(platform, service) as crowd:
        record = run(lambda: rollout(service, "2"), Ti("rollout", run_id=service))
        pods_then = {name for name in platform.pods() if name.startswith(f"{service}-v2")}
        wait_for(lambda: crowd.versions[-20:] == ["2"] * 20, "all requests to go to the new version")
    assert record["outcome"] == "promoted"
    assert [(step["traffic"], step["verdict"]) for step in record["steps"]] == [(25, "pass"), (100, "pass")]
    assert record["failed"] == 0
    assert record["requests"] >= 40
    assert record["service"]["requests"] >= record["requests"]
    assert 0 < record["p99_ms"] < 200
    assert crowd.failures == []
    assert registry.aliases == {"champion": "2"}
    assert spec(platform, service)["predictor"]["name"] == "v2"
    assert not spec(platform, service).get("canary")
    assert pods_then <= set(platform.pods()), "promoting restarts nothing"


@pytest.mark.parametrize(
    ("version", "reason"),
    [("3", "requests failed"), ("4", "requests took longer than 200 ms"), ("404", "requests were refused")],
)
def test_a_bad_canary_is_taken_back(
    platform: Platform, service: str, registry: Registry, version: str, reason: str
) -> None:
    with shoppers(platform, service) as crowd:
        made: list[Any] = []
        record = run(lambda: made.append(rollout(service, version)) or made[-1], Ti("rollout", run_id=service))
        wait_for(lambda: crowd.versions[-20:] == ["1"] * 20, "all requests to go back")
    assert made[-1].reported.inputs == [{"kind": "model", "name": "recommender", "version": version}]
    assert made[-1].reported.outputs == [{"kind": "service", "name": service, "version": "1"}]
    assert record["outcome"] == "rolled_back"
    assert reason in record["reason"]
    assert [step["verdict"] for step in record["steps"]] == ["fail"]
    assert registry.aliases == {}
    assert spec(platform, service)["predictor"]["name"] == "v1"
    assert not spec(platform, service).get("canary")


def test_a_canary_that_never_starts_gets_no_traffic(platform: Platform, service: str, registry: Registry) -> None:
    with shoppers(platform, service) as crowd:
        record = run(lambda: rollout(service, "5", ready_within_s=5), Ti("rollout", run_id=service))
    assert (record["outcome"], record["steps"]) == ("rolled_back", [])
    assert "did not become ready" in record["reason"]
    assert crowd.failures == []


def test_without_requests_there_is_no_promotion(
    platform: Platform, service: str, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = [{"traffic_percent": 100, "min_seconds": 0.5, "max_seconds": 2}]
    monkeypatch.setenv("PODIUM_ROLLOUT__STEPS", json.dumps(steps))
    settings.cache_clear()
    record = run(lambda: rollout(service, "2"), Ti("rollout", run_id=service))
    assert record["outcome"] == "rolled_back"
    assert "too few to judge by" in record["reason"]


def test_another_attempt_goes_on_where_the_first_one_was(platform: Platform, service: str, registry: Registry) -> None:
    ti = Ti("rollout", run_id=service)
    with shoppers(platform, service) as crowd:
        starting = begin(lambda: rollout(service, "2"), ti)
        event = {"status": "succeeded"}
        assert fire(starting)["status"] == event["status"]
        with pytest.raises(TaskDeferred):
            call(rollout(service, "2"), "resume_ready", ti, event=event)
        # The worker dies here, in the middle of the first step. Its successor starts from the beginning of the task.
        again = begin(lambda: rollout(service, "2"), ti.retried())
        assert again.method_name == "resume_step", "the canary is not started a second time"
        record = finish(lambda: rollout(service, "2"), ti.retried(), again)
    assert record["outcome"] == "promoted"
    assert len(record["steps"]) == 2
    assert crowd.failures == []
    # A third attempt, after the end: the record, and nothing done twice.
    assert begin(lambda: rollout(service, "2"), ti.retried()) == record


@contextmanager
def without_metrics() -> Iterator[None]:
    """The metrics lead nowhere, as when their source is away."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PODIUM_PORTS__GATEWAY_ADMIN", str(free_port()))
        settings.cache_clear()
        yield
    settings.cache_clear()


def test_while_metrics_are_away_the_share_stays_and_the_rollout_goes_on_when_they_are_back(
    platform: Platform, service: str, registry: Registry
) -> None:
    ti = Ti("rollout", run_id=service)
    with shoppers(platform, service):
        first = begin(lambda: rollout(service, "2"), ti)
        with pytest.raises(TaskDeferred) as stepping:
            call(rollout(service, "2"), "resume_ready", ti, event=fire(first))
        passed = fire(stepping.value)
        with without_metrics():
            with pytest.raises(TaskDeferred) as waiting:
                call(rollout(service, "2"), "resume_step", ti, event=passed)
            assert waiting.value.method_name == "resume_metrics"
            assert spec(platform, service)["canary"][0]["trafficPercent"] == 25, "the share that was in force"
        # The task fails, for any reason, and somebody clears it.
        record = run(lambda: rollout(service, "2"), ti.cleared())
    assert record["outcome"] == "promoted"
    assert [step["traffic"] for step in record["steps"]] == [25, 100], "no step was gone through twice"


def test_a_step_that_finds_no_metrics_in_its_time_takes_the_canary_back(
    platform: Platform, service: str, registry: Registry
) -> None:
    ti = Ti("rollout", run_id=service)
    first = begin(lambda: rollout(service, "2"), ti)
    with without_metrics():
        with pytest.raises(TaskDeferred) as waiting:
            call(rollout(service, "2"), "resume_ready", ti, event=fire(first))
        assert waiting.value.method_name == "resume_metrics"
        record = call(rollout(service, "2"), "resume_metrics", ti, event={"readable": False})
    assert record["outcome"] == "rolled_back"
    assert "no data to judge by" in record["reason"]
    assert not spec(platform, service).get("canary")


def test_the_close_needs_no_metrics_and_a_cleared_task_still_tells_of_the_new_champion(
    platform: Platform, service: str, registry: Registry
) -> None:
    ti = Ti("rollout", run_id=service)
    with shoppers(platform, service):
        first = begin(lambda: rollout(service, "2"), ti)
        with pytest.raises(TaskDeferred) as at_25:
            call(rollout(service, "2"), "resume_ready", ti, event=fire(first))
        with pytest.raises(TaskDeferred) as at_100:
            call(rollout(service, "2"), "resume_step", ti, event=fire(at_25.value))
        passed = fire(at_100.value)
    with without_metrics():
        record = call(rollout(service, "2"), "resume_step", ti, event=passed)
        assert (record["outcome"], registry.aliases) == ("promoted", {"champion": "2"})
        # The worker dies before Airflow knows; somebody clears the task.
        assert begin(lambda: rollout(service, "2"), ti.cleared()) == record


def test_a_killed_rollout_leaves_the_stable_version_alone(platform: Platform, service: str, registry: Registry) -> None:
    import asyncio

    from tests.plugins.harness import trigger_of

    ti = Ti("rollout", run_id=service)
    starting = begin(lambda: rollout(service, "2"), ti)
    with pytest.raises(TaskDeferred) as stepping:
        call(rollout(service, "2"), "resume_ready", ti, event=fire(starting))
    asyncio.run(trigger_of(stepping.value).on_kill())
    assert not spec(platform, service).get("canary")


def test_what_serves_already_is_left_alone(platform: Platform, service: str, registry: Registry) -> None:
    operator = rollout(service, "1")
    assert begin(lambda: operator, Ti("rollout", run_id=service))["outcome"] == "unchanged"
    serving = {"kind": "service", "name": service, "version": "1"}
    assert operator.reported.inputs == [{"kind": "model", "name": "recommender", "version": "1"}]
    assert operator.reported.outputs == [serving]
    assert operator.get_openlineage_facets_on_complete(None).outputs[0].namespace == "kserve://podium"
    before = services(platform)[service]["metadata"]["generation"]
    operator = serve(service, "1")
    assert begin(lambda: operator, Ti("serve", run_id=f"{service}-again"))["version"] == "1"
    assert operator.reported.outputs == [serving]
    assert services(platform)[service]["metadata"]["generation"] == before


def test_the_champion_is_brought_back_at_once(platform: Platform, service: str, registry: Registry) -> None:
    registry.aliases["champion"] = "6"
    with shoppers(platform, service) as crowd:
        assert run(lambda: serve(service, "@champion"), Ti("serve", run_id=f"{service}-back"))["version"] == "6"
        wait_for(lambda: crowd.versions[-20:] == ["6"] * 20, "all requests to go to it")
    assert crowd.failures == []


def test_a_service_that_never_gets_ready_says_why(platform: Platform, registry: Registry) -> None:
    ti = Ti("serve", run_id="rec-broken")
    assert isinstance(begin(lambda: serve("rec-broken", "5"), ti), TaskDeferred)

    def has_crashed() -> bool:
        pods = [pod for name, pod in platform.pods().items() if name.startswith("rec-broken-v5")]
        return any(status.get("lastState") for pod in pods for status in pod["status"].get("containerStatuses", ()))

    wait_for(has_crashed, "the model server to crash")
    with pytest.raises(WorkFailedError, match="no such model"):
        call(serve("rec-broken", "5"), "resume", ti, event={"status": "timeout"})
    platform.call("DELETE", "/apis/serving.kserve.io/v1beta1/namespaces/podium/inferenceservices/rec-broken")


def test_without_a_champion_there_is_nothing_to_serve(platform: Platform, registry: Registry) -> None:
    with pytest.raises(RegistryError, match="no version with the alias 'champion'"):
        run(lambda: serve("rec-none", "@champion"), Ti("serve", run_id="rec-none"))


def test_a_decision_to_take_back_is_carried_out_by_the_next_attempt(
    platform: Platform, service: str, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    from podium.hooks.inference_service import InferenceServiceHook

    ti = Ti("rollout", run_id=service)

    def die(*_: Any) -> None:
        raise SystemExit

    with shoppers(platform, service), monkeypatch.context() as dying:
        dying.setattr(InferenceServiceHook, "drop_canary", die)
        with pytest.raises(SystemExit):
            run(lambda: rollout(service, "3"), ti)
    assert spec(platform, service)["canary"]
    record = begin(lambda: rollout(service, "3"), ti.retried())
    assert (record["outcome"], len(record["steps"])) == ("rolled_back", 1)
    assert not spec(platform, service).get("canary")


RECORD = {"outcome": "promoted", "reason": "fine", "version": "2", "replaced": "v1"}
RECORD |= {"requests": 40, "failed": 0, "p99_ms": 3.0}  # type: ignore[dict-item]


def recorder(record: dict[str, Any], **arguments: Any) -> Any:
    from podium.operators.rollout import RecordRolloutOperator

    return RecordRolloutOperator(task_id="record", model_name="recommender", rollout=record, **arguments)


def test_the_outcome_is_written_to_the_models_version(registry: Registry) -> None:
    ti = Ti("record", run_id="run-7")
    operator = recorder(RECORD)
    assert call(operator, "execute", ti) == "promoted"
    assert operator.reported.outputs == [{"kind": "model", "name": "recommender", "version": "2"}]
    assert registry.tags == {"rollout.outcome": "promoted", "rollout.reason": "fine", "rollout.run_id": "run-7"}


@pytest.mark.parametrize("view", ["4711", None])
def test_a_new_champion_is_announced_with_the_view_of_the_features_that_it_serves_from(
    registry: Registry, view: str | None
) -> None:
    if view:
        registry.tags["podium.feature_view"] = view
    announced = SimpleNamespace(extra={})
    operator = recorder(RECORD, outlets=[CHAMPION])
    call_with(operator, {"run_id": "run-7", "outlet_events": {CHAMPION: announced}})
    assert announced.extra == {
        **{key: RECORD[key] for key in ("outcome", "version", "requests", "failed", "p99_ms")},
        "feature_view": view,
    }


def test_a_rollout_that_had_nothing_to_do_announces_nothing(registry: Registry) -> None:
    with pytest.raises(AirflowSkipException):
        call(recorder(RECORD | {"outcome": "unchanged"}), "execute", Ti("record"))


def test_a_rollout_that_took_itself_back_fails_the_run_and_says_why(registry: Registry) -> None:
    taken_back = RECORD | {"outcome": "rolled_back", "reason": "at 10 % of the traffic: 9 of 40 requests failed"}
    with pytest.raises(RolledBackError, match="v1 serves on: at 10 %"):
        call(recorder(taken_back), "execute", Ti("record"))
    assert registry.tags["rollout.outcome"] == "rolled_back"
