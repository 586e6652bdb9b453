"""The whole pipeline on a slice of the data, with the real scheduler and real services."""

import json
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from include.demo.cluster import Cluster, PodFailedError
from tests.gates import listeners, walk
from tests.pipeline.conftest import Platform
from tests.pipeline.running import BROKEN, MONTHS

PREDICTORS = 8080


def test_the_demonstration_ends_well(platform: Platform) -> None:
    assert platform.report["ok"], platform.transcript


def test_every_run_succeeded_and_each_dag_ran_as_often_as_it_should(platform: Platform) -> None:
    runs = platform.report["runs"]
    assert {run["state"] for run in runs} == {"success"}
    counts = {dag_id: sum(run["dag_id"] == dag_id for run in runs) for dag_id in {run["dag_id"] for run in runs}}
    assert counts == {
        "ingest_transactions": MONTHS,
        "build_features": 1,  # one event sums the backfill up
        "train_recommender": 1,
        "rollout_recommender": 1,
        "check_drift": 1,
    }


def test_every_record_is_accounted_for(platform: Platform) -> None:
    ingest = platform.report["ingest"]
    assert ingest["produced"] == ingest["read"] == ingest["accepted"] + ingest["quarantined"]
    assert ingest["quarantined"] == ingest["broken"] == BROKEN
    assert ingest["accepted"] > 10_000


def test_features_training_and_gate_report_their_figures(platform: Platform) -> None:
    report = platform.report
    assert set(report["features"]["tables"]) == {
        "features.demand",
        "features.interactions",
        "features.items",
        "features.preferences",
        "features.users",
    }
    recommender = report["recommender"]
    assert recommender["workers"] >= 2
    assert 0 < recommender["baselines"]["popularity"] < recommender["recall_at_20"] < 1


def test_the_canary_was_promoted_without_a_failed_request(platform: Platform) -> None:
    rollout = platform.report["rollout"]
    assert rollout["outcome"] == "promoted"
    assert rollout["failed"] == 0
    assert [step["traffic"] for step in rollout["steps"]] == [10, 50, 100]
    assert all(step["requests"] >= platform.settings.rollout.min_requests for step in rollout["steps"])


def test_the_promoted_model_answers_through_the_gateway(platform: Platform) -> None:
    settings = platform.settings
    url = (
        f"{settings.reach.gateway_url}/serving/{settings.kubernetes.namespace}/{settings.rollout.inference_service}"
        f"/v1/models/{settings.recommender.model_name}:predict"
    )
    body = json.dumps({"instances": [{"household_id": 1, "k": 20}, {"household_id": 987654321, "k": 3}]}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json", **_shown(platform.home)})
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(urllib.request.Request(url, body, {"Content-Type": "application/json"}), timeout=30)
    with urllib.request.urlopen(request, timeout=30) as answer:
        known, unknown = json.load(answer)["predictions"]
    assert len(set(known["products"])) == 20
    assert len(unknown["products"]) == 3, "a household that nobody knows gets what is popular"
    assert str(known["model_version"]) == str(platform.report["recommender"]["model_version"])


def test_every_port_refuses_strangers(platform: Platform) -> None:
    ports = {key: port for key, port in platform.settings.ports.model_dump().items() if not key.endswith("_pods")}
    found = listeners(platform.home)
    if platform.settings.kubernetes.kubeconfig:
        # Its own API and its pods are elsewhere.
        del ports["kubernetes"]
    else:
        assert [listener for listener in found if listener.port == PREDICTORS], "a predictor listens"
    # Kafka's listener for pods is there whoever runs the pods; that of the others is only where another cluster does.
    inside = [listener for listener in found if listener.address.startswith("127.")]
    assert walk(inside, ports | {"kafka_pods": platform.settings.ports.kafka_pods}, {PREDICTORS: "model server"}) == []
    assert {ports[key] for key in ports} <= {listener.port for listener in inside}


def test_drift_was_judged_on_the_latest_interval(platform: Platform) -> None:
    drift = platform.report["drift"]
    assert len(drift["features"]) >= 5
    assert isinstance(drift["drifted"], bool)
    assert (drift["event"] is not None) == drift["drifted"]


def test_the_report_is_a_page_that_needs_nothing_else(platform: Platform) -> None:
    page = (platform.output / "report.html").read_text()
    assert page.count("<svg") == 5
    assert "src=" not in page
    assert "<link" not in page


@pytest.mark.skipif(
    subprocess.run(["unshare", "-Urm", "true"], check=False).returncode != 0,
    reason="without namespaces a container shares this machine's files",
)
def test_pods_do_not_see_the_platforms_own_files(platform: Platform) -> None:
    script = f"ls -A {platform.home}; test -e {platform.home / 'credentials.json'} || echo hidden; exit 1"
    kubeconfig = platform.settings.kubernetes.kubeconfig or platform.home / "kubeconfig"
    with Cluster(kubeconfig, platform.settings) as cluster:
        cluster.start_command("curious", "ingest", ["sh", "-c", script])
        with pytest.raises(PodFailedError) as failure:
            cluster.result("curious")
        cluster.delete("curious")
    _, *lines = str(failure.value).splitlines()
    assert [line for line in lines if not line.startswith("ls: cannot access")] == ["hidden"]


def test_no_credential_is_in_any_log(platform: Platform) -> None:
    values = [
        value for value in _strings(json.loads((platform.home / "credentials.json").read_text())) if len(value) > 11
    ]
    assert values
    for path in _logs(platform.home):
        text = path.read_text(errors="replace")
        leaked = [value[:3] for value in values if value in text]
        assert not leaked, f"{path} holds a credential that starts with {leaked}"


def _shown(home: Path) -> dict[str, str]:
    """The header that requests to the models show."""
    name, _, value = (home / "run" / "serving.header").read_text().strip().partition(": ")
    return {name: value}


def _strings(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for each in value.values() for text in _strings(each)]
    return [value] if isinstance(value, str) else []


def _logs(home: Path) -> list[Path]:
    return [
        path for path in home.rglob("*") if path.is_file() and path.suffix in (".log", ".json") and "logs" in path.parts
    ]
