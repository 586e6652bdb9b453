from typing import Any

import pytest
from podium.kinds import INFERENCE_SERVICE, MPI_JOB, SPARK_APPLICATION, Kind, Phase


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
        (SPARK_APPLICATION, state("SUCCEEDING"), Phase.PENDING),
        (SPARK_APPLICATION, state("COMPLETED"), Phase.SUCCEEDED),
        (SPARK_APPLICATION, state("SUBMISSION_FAILED"), Phase.PENDING),
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
