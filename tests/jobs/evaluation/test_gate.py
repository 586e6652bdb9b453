"""The gate on a real lake and a real registry."""

import datetime as dt
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from mlflow.tracking import MlflowClient
from pyiceberg.expressions import EqualTo

from include.jobs.evaluation.gate import K
from include.jobs.lake.catalog import load_table, open_catalog
from include.jobs.lake.feature_view import published_view
from include.jobs.lake.tables import FEATURES_INTERACTIONS, TRANSACTIONS
from include.jobs.ranking.features import FEATURES
from include.jobs.ranking.fingerprints import TamperedModelError
from include.jobs.ranking.lists import Purchases, popular_products, rank, recall_at_k
from include.jobs.ranking.model import Candidates, Layer, Ranker, RankerModel
from include.jobs.ranking.registry import CANDIDATE, CHAMPION, FEATURE_VIEW_TAG, Registry, RunRecord, load_uri
from tests.jobs.model_platform import Platform, result_of
from tests.jobs.published import publish_view

JUNE, JULY = dt.date(2017, 6, 1), dt.date(2017, 7, 1)
pytestmark = pytest.mark.slow


def linear(**weights: float) -> Ranker:
    kernel = np.array([[weights.get(name, 0.0)] for name in FEATURES], np.float32)
    zero, one = np.zeros(len(FEATURES), np.float32), np.ones(len(FEATURES), np.float32)
    return Ranker(FEATURES, zero, one, (Layer(kernel, np.zeros(1, np.float32)),))


@pytest.fixture(scope="module")
def registry(platform: Platform) -> Registry:
    return Registry.connect("recommender", platform.environment)


def register(platform: Platform, registry: Registry, key: str, ranker: Ranker, **tags: str) -> str:
    rows = platform.shop.interactions(JUNE, JULY)
    model = RankerModel("network", ranker, JUNE, Candidates.of(ranker, rows))
    return str(registry.register("recommender", key, RunRecord(key, tags=tags), model, CANDIDATE).version)


def gate(platform: Platform, *arguments: str) -> dict[str, Any]:
    return result_of(platform.run("include.jobs.evaluation", "gate", "--cutoff", "2017-06-01", *arguments))


def test_the_first_gate_makes_the_baseline_champion_and_judges_by_the_definition(
    platform: Platform, registry: Registry
) -> None:
    # What was bought lately and often: better than popularity alone on any shop with habits.
    version = register(platform, registry, "good", linear(log_decay_90=1.0))
    assert registry.alias(CHAMPION) is None
    result = gate(platform, "--required-baselines", "popularity")

    rows = platform.shop.interactions(JUNE, JULY)
    bought = platform.shop.between(JUNE, JULY)
    pairs = np.unique(np.stack([bought.household, bought.product], axis=1), axis=0)
    purchases = Purchases(pairs[:, 0], pairs[:, 1])
    popular = popular_products(rows, 2 * K)[0]
    expected = {
        name: recall_at_k(rank(rows, rows.columns[column], K, popular), purchases).value
        for name, column in (("own_frequency", "purchases"), ("decayed_frequency", "decay_90"))
    }
    assert {name: result["baselines"][name] for name in expected} == pytest.approx(expected)
    assert result["recall_at_20"] == pytest.approx(expected["decayed_frequency"], abs=1e-3)
    assert result["passed"] is True
    assert result["reasons"] == []
    assert result["candidate_version"] == version
    assert result["champion_version"] == registry.alias(CHAMPION) != version
    assert result["champion_recall_at_20"] == pytest.approx(expected["own_frequency"])
    champion = registry.load(str(result["champion_version"]))
    assert champion.name == "own_frequency"
    assert champion.feature_view == str(published_view(open_catalog(platform.connections)).snapshot_id)
    assert registry.version(str(result["champion_version"])).tags[FEATURE_VIEW_TAG] == champion.feature_view
    tags = registry.version(version).tags
    assert (tags["gate"], tags["gate.cutoff"]) == ("passed", "2017-06-01")
    metrics = MlflowClient(platform.environment["MLFLOW_TRACKING_URI"]).get_run(registry.version(version).run_id).data
    assert metrics.metrics["recall_at_20"] == pytest.approx(result["recall_at_20"])


def test_a_bad_candidate_is_refused_with_reasons_and_the_champion_stays(platform: Platform, registry: Registry) -> None:
    gate(platform, "--required-baselines", "popularity")
    champion = registry.alias(CHAMPION)
    version = register(platform, registry, "bad", linear(purchases=-1.0))
    result = gate(platform, "--required-baselines", "popularity,own_frequency,champion")
    assert result["passed"] is False
    assert any("of own_frequency is a lift of -" in reason for reason in result["reasons"])
    assert result["champion_version"] == champion == registry.alias(CHAMPION)
    assert registry.version(version).tags["gate"] == "refused"


def test_a_candidate_that_has_learned_the_judged_month_is_refused(platform: Platform, registry: Registry) -> None:
    version = register(platform, registry, "leak", linear(log_decay_90=1.0), labels_to="2017-07-01T00:00:00-04:00")
    result = gate(platform, "--candidate-version", version, "--required-baselines", "popularity")
    assert result["passed"] is False
    assert "reach into the judged month" in result["reasons"][0]


def test_registering_twice_with_one_key_gives_one_version(platform: Platform, registry: Registry) -> None:
    first = register(platform, registry, "twice", linear(purchases=1.0))
    assert register(platform, registry, "twice", linear(purchases=1.0)) == first


def test_a_version_that_is_not_there_is_told_in_one_line(platform: Platform) -> None:
    done = platform.run(
        "include.jobs.evaluation", "gate", "--cutoff", "2017-06-01", "--candidate-version", "999", check=False
    )
    assert done.returncode == 1
    assert "RegistryError: model recommender has no version 999" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_cutoff_without_features_is_told_with_the_mend(platform: Platform, registry: Registry) -> None:
    register(platform, registry, "good", linear(log_decay_90=1.0))
    done = platform.run("include.jobs.evaluation", "gate", "--cutoff", "2017-11-01", check=False)
    assert done.returncode == 1
    assert "holds no rows of cutoff 2017-11-01: build the features with this cutoff first" in done.stderr


def test_a_month_that_is_not_complete_is_not_judged(platform: Platform, registry: Registry) -> None:
    register(platform, registry, "good", linear(log_decay_90=1.0))
    catalog = open_catalog(platform.connections)
    table = load_table(catalog, FEATURES_INTERACTIONS)
    rows = table.scan(row_filter=EqualTo("cutoff", "2017-06-01")).to_arrow()
    later = pa.array([dt.date(2017, 8, 1)] * rows.num_rows, pa.date32())
    names = rows.schema.names
    rows = rows.set_column(names.index("cutoff"), "cutoff", later)
    rows = rows.set_column(names.index("label"), "label", pa.nulls(rows.num_rows, pa.int32()))
    table.append(rows)
    # What is not published yet is not there.
    done = platform.run("include.jobs.evaluation", "gate", "--cutoff", "2017-08-01", check=False)
    assert "holds no rows of cutoff 2017-08-01" in done.stderr
    publish_view(catalog, FEATURES_INTERACTIONS, TRANSACTIONS)
    done = platform.run("include.jobs.evaluation", "gate", "--cutoff", "2017-08-01", check=False)
    assert done.returncode == 1
    assert "has no labels for cutoff 2017-08-01" in done.stderr


def test_a_model_whose_files_were_changed_is_not_loaded(platform: Platform, registry: Registry, tmp_path: Path) -> None:
    version = registry.version(register(platform, registry, "changed", linear(log_decay_90=1.0)))
    assert registry.load(version.version).name == "network"
    client = MlflowClient(platform.environment["MLFLOW_TRACKING_URI"])
    file = Path(client.download_artifacts(version.run_id, "model/weights.npz", str(tmp_path)))
    stored = dict(np.load(file))
    np.savez(file, **{name: values + 1 for name, values in stored.items()})
    client.log_artifact(version.run_id, str(file), "model")
    for uri in (f"models:/recommender/{version.version}", f"runs:/{version.run_id}/model"):
        with pytest.raises(
            TamperedModelError, match=rf"run {version.run_id} .*weights\.npz has SHA-256 [0-9a-f]{{64}}"
        ):
            load_uri(uri)


def test_who_has_no_password_neither_reads_nor_changes_the_registry(platform: Platform, registry: Registry) -> None:
    address = platform.environment["MLFLOW_TRACKING_URI"]
    for method, path in (
        ("GET", "/api/2.0/mlflow/registered-models/search"),
        ("POST", "/api/2.0/mlflow/registered-models/alias"),
        ("PUT", "/api/2.0/mlflow-artifacts/artifacts/x"),
    ):
        with pytest.raises(urllib.error.HTTPError) as refusal:
            urllib.request.urlopen(urllib.request.Request(f"{address}{path}", b"{}", method=method), timeout=30)
        assert refusal.value.code == 401
