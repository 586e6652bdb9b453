from typing import Any

import pytest
from podium.kinds import INFERENCE_SERVICE, MPI_JOB, SPARK_APPLICATION, Kind, Manifest, Phase


def conditions(*held: str, **reasons: str) -> dict[str, Any]:
    return {"conditions": [{"type": name, "status": "True", "reason": reasons.get(name, "")} for name in held]}


def state(name: str, message: str = "") -> dict[str, Any]:
    return {"applicationState": {"state": name, "errorMessage": message}}


@pytest.mark.parametrize(
    ("kind", "status", "phase"),
    [
        (MPI_JOB, {}, Phase.PENDING),
        (MPI_JOB, conditions("Created"), Phase.PENDING),
        (MPI_JOB, conditions("Created", "Running"), Phase.RUNNING),
        (MPI_JOB, conditions("Created", "Succeeded"), Phase.SUCCEEDED),
        (MPI_JOB, conditions("Created", "Running", "Failed"), Phase.FAILED),
        (SPARK_APPLICATION, {}, Phase.PENDING),
        (SPARK_APPLICATION, state("SUBMITTED"), Phase.PENDING),
        (SPARK_APPLICATION, state("RUNNING"), Phase.RUNNING),
        (SPARK_APPLICATION, state("SUCCEEDING"), Phase.RUNNING),
        (SPARK_APPLICATION, state("FAILING", "exit 1"), Phase.RUNNING),
        (SPARK_APPLICATION, state("COMPLETED"), Phase.SUCCEEDED),
        (SPARK_APPLICATION, state("SUBMISSION_FAILED"), Phase.PENDING),
        (SPARK_APPLICATION, state("PENDING_RERUN"), Phase.PENDING),
        (SPARK_APPLICATION, state("INVALIDATING"), Phase.PENDING),
        (SPARK_APPLICATION, state("SUSPENDING"), Phase.PENDING),
        (SPARK_APPLICATION, state("SUSPENDED"), Phase.PENDING),
        (SPARK_APPLICATION, state("RESUMING"), Phase.PENDING),
        (SPARK_APPLICATION, state("UNKNOWN"), Phase.RUNNING),
        (MPI_JOB, conditions("Created", "Suspended"), Phase.PENDING),
        (SPARK_APPLICATION, state("FAILED", "exit 1"), Phase.FAILED),
        (INFERENCE_SERVICE, conditions("PredictorReady"), Phase.PENDING),
        (INFERENCE_SERVICE, conditions("PredictorReady", "Ready"), Phase.SUCCEEDED),
    ],
)
def test_phase(kind: Kind, status: dict[str, Any], phase: Phase) -> None:
    assert kind.judge({"metadata": {"generation": 1}, "status": status}).phase is phase


def test_a_status_of_an_earlier_spec_proves_nothing() -> None:
    status = conditions("Ready") | {"observedGeneration": 1}
    judged = INFERENCE_SERVICE.judge({"metadata": {"generation": 2}, "status": status})
    assert (judged.phase, judged.reason) == (Phase.PENDING, "NotObserved")


def test_the_reason_of_a_failure_is_the_controllers() -> None:
    status = conditions("Failed", Failed="MPIJobFailed")
    assert MPI_JOB.judge({"metadata": {}, "status": status}).reason == "MPIJobFailed"


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (state("SUSPENDED"), "spec.suspend"),
        (state("UNKNOWN"), "node does not answer"),
        (state("SUBMISSION_FAILED", "no such image"), "no such image"),
        (state("HIBERNATING"), "does not know the state"),
    ],
)
def test_a_state_that_needs_an_explanation_has_one(status: dict[str, Any], said: str) -> None:
    judged = SPARK_APPLICATION.judge({"metadata": {}, "status": status})
    assert not judged.phase.is_final
    assert said in judged.message


def test_a_suspended_job_says_so_while_it_waits() -> None:
    status = conditions("Created", "Suspended", Suspended="MPIJobSuspended")
    assert MPI_JOB.judge({"metadata": {}, "status": status}).reason == "MPIJobSuspended"


def standard(generation: int, predictor: str, canary: dict[str, int], shown: dict[str, int], address: str) -> Manifest:
    """An InferenceService as KServe in Standard mode leaves it: observedGeneration is that of a Deployment."""
    return {
        "metadata": {"name": "recommender", "namespace": "podium", "generation": generation},
        "spec": {
            "predictor": {"name": predictor},
            "canary": [{"predictor": {"name": name}, "trafficPercent": share} for name, share in canary.items()],
        },
        "status": {
            **conditions("PredictorReady", "Ready"),
            "deploymentMode": "Standard",
            "observedGeneration": 1,
            "address": {"url": f"http://recommender-{address}-predictor.podium.svc.cluster.local"},
            "canaryStatuses": [{"name": name, "trafficPercent": share} for name, share in shown.items()],
        },
    }


@pytest.mark.parametrize(
    ("manifest", "phase"),
    [
        (standard(1, "v1", {}, {}, "v1"), Phase.SUCCEEDED),
        (standard(2, "v1", {"v2": 10}, {}, "v1"), Phase.PENDING),
        (standard(2, "v1", {"v2": 10}, {"v2": 10}, "v1"), Phase.SUCCEEDED),
        (standard(3, "v1", {"v2": 50}, {"v2": 10}, "v1"), Phase.PENDING),
        (standard(4, "v2", {}, {"v2": 50}, "v1"), Phase.PENDING),
        (standard(4, "v2", {}, {}, "v1"), Phase.PENDING),
        (standard(4, "v2", {}, {}, "v2"), Phase.SUCCEEDED),
    ],
    ids=["new", "canary-unseen", "canary", "share-unseen", "promotion-unseen", "predictor-unseen", "promoted"],
)
def test_kserves_standard_mode_shows_by_other_signs_what_it_has_seen(manifest: Manifest, phase: Phase) -> None:
    assert INFERENCE_SERVICE.judge(manifest).phase is phase


def test_what_an_inference_service_says_went_wrong_last() -> None:
    """kserve pkg/apis/serving/v1beta1 FailureInfo."""
    info = {"reason": "ModelLoadFailed", "message": "no such file: model.pt", "exitCode": 1}
    manifest = {"metadata": {}, "status": {"modelStatus": {"lastFailureInfo": info}}}
    assert INFERENCE_SERVICE.last_failure(manifest) == "ModelLoadFailed: exit code 1: no such file: model.pt"
    assert INFERENCE_SERVICE.last_failure({"metadata": {}}) == ""
    assert MPI_JOB.last_failure(manifest) == ""
