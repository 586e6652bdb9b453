"""Two real workers on a real lake and a real registry: what comes out, that it is the same again, that it resumes."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from mlflow.tracking import MlflowClient
from pyarrow.fs import FileSelector

from include.jobs.lake.result import read_object
from include.jobs.ranking.features import FEATURES
from include.jobs.ranking.registry import CANDIDATE, FEATURE_VIEW_TAG, Registry
from tests.jobs.model_platform import RESULT_MARK, Platform, result_of
from tests.services import ROOT

HOROVODRUN = (
    *(str(Path(sys.executable).with_name("horovodrun")), "--gloo", "--disable-cache"),
    *("-np", "2", "-H", "localhost:2"),
)
TRAIN = (
    *("include.jobs.recommender", "train", "--train-cutoffs", "2017-03-01,2017-04-01"),
    *("--validation-cutoff", "2017-05-01", "--epochs", "8", "--patience", "8", "--batch-size", "200"),
    *("--layers", "16,8", "--seed", "5"),
)
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def first(platform: Platform) -> dict[str, Any]:
    """A training's result; its identity is that of the run `first`."""
    return result_of(
        platform.run(
            *TRAIN,
            *("--result", "s3://lake/results/train/first.json"),
            before=HOROVODRUN,
            PODIUM_RUN_ID="first",
            PODIUM_DAG_ID="train_recommender",
            PODIUM_IMAGE="podium/recommender:dev",
        )
    )


def test_a_candidate_comes_out_with_all_that_made_it(platform: Platform, first: dict[str, Any]) -> None:
    registry = Registry.connect("recommender", platform.environment)
    version = registry.version("1")
    assert registry.alias(CANDIDATE) == first["model_version"] == "1"
    run = MlflowClient(platform.environment["MLFLOW_TRACKING_URI"]).get_run(version.run_id).data
    assert run.params["train_cutoffs"] == "2017-03-01,2017-04-01"
    assert run.params["workers"] == "2"
    assert {name: run.tags[name] for name in ("seed", "run_id", "dag_id", "image")} == {
        "seed": "5",
        "run_id": "first",
        "dag_id": "train_recommender",
        "image": "podium/recommender:dev",
    }
    assert run.tags["labels_to"] == "2017-06-01T00:00:00-04:00"
    assert run.tags["snapshot.features.interactions"] == first["snapshots"]["features.interactions"]
    assert run.tags["snapshot.sales.transactions"] == first["snapshots"]["sales.transactions"]
    assert run.tags["snapshot.features.serving"] == first["feature_view"] == version.tags[FEATURE_VIEW_TAG]
    assert first["workers"] == 2
    assert first["validation_recall_at_20"] > 0
    assert read_object("s3://lake/results/train/first.json", platform.connections) == first


def test_its_model_is_whole_and_finite(platform: Platform, first: dict[str, Any]) -> None:
    model = Registry.connect("recommender", platform.environment).load(first["model_version"])
    assert model.ranker.features == FEATURES
    assert [layer.kernel.shape[1] for layer in model.ranker.layers] == [16, 8, 1]
    assert np.isfinite(model.ranker.score(model.candidates.inputs)).all()
    assert model.cutoff.isoformat() == "2017-06-01"
    assert model.feature_view == first["feature_view"]


def test_checkpoints_go_when_the_model_is_registered(platform: Platform, first: dict[str, Any]) -> None:
    folder = FileSelector("lake/checkpoints/recommender", recursive=True, allow_not_found=True)
    files = [item for item in platform.connections.filesystem().get_file_info(folder) if item.is_file]
    assert [item.path for item in files if first["run_key"] in item.path] == []


def test_a_killed_worker_ends_the_job_and_the_next_try_goes_on_to_the_same_weights(
    platform: Platform, first: dict[str, Any]
) -> None:
    job = subprocess.Popen(
        [*HOROVODRUN, sys.executable, "-m", *TRAIN],
        cwd=ROOT,
        env={**os.environ, **platform.environment, "PYTHONPATH": str(ROOT), "PODIUM_RUN_ID": "killed"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert job.stdout is not None
    printed = []
    for line in job.stdout:
        printed.append(line)
        if "epoch 3:" in line:
            _ranks(job.pid)[-1].kill()
            break
    rest, _ = job.communicate(timeout=120)
    assert job.returncode != 0, "".join(printed) + rest
    assert RESULT_MARK not in rest

    # The same training in another run is another one; a second try of this run goes on.
    resumed = result_of(platform.run(*TRAIN, before=HOROVODRUN, PODIUM_RUN_ID="killed"))
    assert 2 <= resumed["resumed_from_epoch"] < 8
    assert resumed["weights_sha256"] == first["weights_sha256"]
    assert resumed["validation_recall_at_20"] == first["validation_recall_at_20"]
    assert resumed["model_version"] != first["model_version"]


def test_a_repeated_try_of_a_finished_run_registers_nothing_new(platform: Platform, first: dict[str, Any]) -> None:
    again = result_of(
        platform.run(
            *TRAIN,
            before=HOROVODRUN,
            PODIUM_RUN_ID="first",
            PODIUM_DAG_ID="train_recommender",
            PODIUM_IMAGE="podium/recommender:dev",
        )
    )
    assert again["model_version"] == first["model_version"]
    assert again["weights_sha256"] == first["weights_sha256"]


def test_a_cutoff_without_features_ends_all_workers_with_the_mend(platform: Platform) -> None:
    arguments = [argument.replace("2017-03-01", "2016-03-01") for argument in TRAIN]
    done = platform.run(*arguments, before=HOROVODRUN, check=False)
    assert done.returncode != 0
    assert "holds no rows of cutoff 2016-03-01: build the features with this cutoff first" in done.stdout + done.stderr


def test_a_plan_that_leaks_is_refused_before_anything_starts(platform: Platform) -> None:
    arguments = [argument.replace("2017-04-01", "2017-05-01") for argument in TRAIN]
    done = platform.run(*arguments, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("PlanError: training cutoff 2017-05-01 has labels up to 2017-06-01")


def _ranks(launcher: int) -> list[psutil.Process]:
    """The workers' processes: those that run the job and have no child that does."""
    found = [
        process
        for process in psutil.Process(launcher).children(recursive=True)
        if "include.jobs.recommender" in process.cmdline() and "python" in Path(process.cmdline()[0]).name
    ]
    return [process for process in found if not set(process.children()) & set(found)]
