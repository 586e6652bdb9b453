"""A server forgets a household that was erased, and answers every request meanwhile."""

import dataclasses
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from mlflow.tracking import MlflowClient

from include.jobs.ranking import fingerprints
from include.jobs.ranking.model import RankerModel
from include.jobs.ranking.registry import ERASED_TAG, Registry, RunRecord
from tests.jobs.serving.test_server import Server, start, wait_until_ready

PATIENCE_S = 60


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """MLflow's own client on a store of files, as the server's process gets it too."""
    address = (tmp_path / "mlflow").as_uri()
    for name, value in {"MLFLOW_ALLOW_FILE_STORE": "true", "MLFLOW_TRACKING_URI": address}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", address)
    return Registry(MlflowClient(tracking_uri=address, registry_uri=address), "recommender")


@pytest.fixture
def server(registry: Registry, model_folder: Path, tmp_path: Path) -> Iterator[Server]:
    registry.register("tests", "once", RunRecord("tests"), RankerModel.load(model_folder))
    server = start("models:/recommender/1", "127.0.0.13", tmp_path / "credentials", "--erasures-s", "0.2")
    try:
        wait_until_ready(server)
        yield server
    finally:
        server.process.kill()
        server.process.communicate()


def test_an_erased_household_gets_what_everybody_gets_and_no_request_is_refused(
    server: Server, registry: Registry, model_folder: Path, tmp_path: Path
) -> None:
    body = json.dumps({"instances": [{"household_id": 9, "k": 5}, {"household_id": 3, "k": 3}]}).encode()
    answers: list[tuple[int, int, int]] = []
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():
            status, reply = server.predict(body)
            answers.append((status, *(one["personal"] for one in reply.get("predictions", ()))))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        until(lambda: len(answers) > 20)
        erase(registry, RankerModel.load(model_folder), 9, tmp_path)
        until(lambda: answers[-1] == (200, 0, 3))
    finally:
        ended.set()
        asking.join()
    assert set(answers) == {(200, 5, 3), (200, 0, 3)}
    assert answers == sorted(answers, reverse=True), "once forgotten, it stays so"


def erase(registry: Registry, model: RankerModel, household: int, folder: Path) -> None:
    """As the erasure leaves it: files without the household, and the tag."""
    candidates = model.candidates
    kept = candidates.household_id != household
    rows = np.repeat(kept, np.diff(candidates.offsets))
    left = dataclasses.replace(
        candidates,
        household_id=candidates.household_id[kept],
        offsets=np.concatenate([[0], np.cumsum(np.diff(candidates.offsets)[kept])]),
        product_id=candidates.product_id[rows],
        inputs=candidates.inputs[rows],
    )
    (folder / "without").mkdir()
    dataclasses.replace(model, candidates=left).save(folder / "without")
    client = MlflowClient()
    run_id = client.get_model_version("recommender", "1").run_id
    before = Path(client.download_artifacts(run_id, "model", str(folder)))
    for tags in (fingerprints.replacing(before, folder / "without", client.get_run(run_id).data.tags), None):
        for name, value in (tags or fingerprints.of_files(folder / "without")).items():
            client.set_tag(run_id, name, value)
        client.log_artifacts(run_id, str(folder / "without"), "model")
    client.set_model_version_tag("recommender", "1", ERASED_TAG, "2026-11-30T00:00:00+00:00")


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, f"not within {PATIENCE_S} s"
        time.sleep(0.01)
