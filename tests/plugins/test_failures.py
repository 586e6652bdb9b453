from typing import Any

import pytest
from podium.failures import explain_pod
from podium.redaction import redacted

METADATA = {"name": "fit-1", "namespace": "podium"}


def pod(state: dict[str, Any] | None = None, phase: str = "Failed", **status: Any) -> dict[str, Any]:
    containers = [{"name": "base", "state": state}] if state else []
    secret = {"containers": [{"name": "base", "env": [{"name": "TOKEN", "value": "hunter2"}]}]}
    return {"metadata": METADATA, "spec": secret, "status": {"phase": phase, "containerStatuses": containers, **status}}


def test_exit_code_log_and_what_to_do() -> None:
    text = explain_pod(pod({"terminated": {"exitCode": 3, "reason": "Error"}}), "base", [], ["one", "boom: 7 of 10"])
    assert text.splitlines() == [
        "boom: 7 of 10",
        "Pod podium/fit-1: container base ended with exit code 3.",
        "Last log lines:",
        "  one",
        "  boom: 7 of 10",
        "Follow the runbook of this task in the DAG's docs, mend the cause, then clear the task.",
    ]


@pytest.mark.parametrize(
    ("state", "phase", "words"),
    [
        ({"terminated": {"exitCode": 137, "reason": "OOMKilled"}}, "Failed", ["OOMKilled", "more `memory`"]),
        ({"waiting": {"reason": "ImagePullBackOff"}}, "Pending", ["ImagePullBackOff", "images in include/config"]),
        ({"waiting": {"reason": "CreateContainerConfigError"}}, "Pending", ["ConfigMap or Secret"]),
    ],
)
def test_known_reasons_say_what_to_do(state: dict[str, Any], phase: str, words: list[str]) -> None:
    text = explain_pod(pod(state, phase), "base")
    assert all(word in text for word in words)


def test_a_pod_that_fits_nowhere_says_why() -> None:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}
    event = {"type": "Warning", "reason": "FailedScheduling", "message": "0/3 nodes are available: 3 Insufficient gpu"}
    text = explain_pod(pod(phase="Pending", conditions=[condition]), "base", [event])
    assert "Unschedulable" in text
    assert "FailedScheduling: 0/3 nodes are available: 3 Insufficient gpu" in text


def test_a_container_that_restarts_again_and_again() -> None:
    status = {"name": "base", "ready": False, "restartCount": 4, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}
    status["lastState"] = {"terminated": {"exitCode": 7}}
    text = explain_pod({"metadata": METADATA, "status": {"containerStatuses": [status]}}, "base", [], ["no such model"])
    assert "has restarted 4 time(s), last after exit code 7" in text
    assert "no such model" in text


def test_only_warnings_and_only_the_last_of_them() -> None:
    events = [{"type": "Normal", "reason": "Pulled", "message": "x"}]
    events += [{"type": "Warning", "reason": "BackOff", "message": str(n)} for n in range(20)]
    text = explain_pod(pod({"terminated": {"exitCode": 1}}), "base", events)
    assert "Pulled" not in text
    assert text.count("BackOff") == 5


def test_never_the_spec() -> None:
    assert "hunter2" not in explain_pod(pod({"terminated": {"exitCode": 1}}), "base")


def test_long_lines_and_long_logs_are_cut() -> None:
    text = explain_pod(pod({"terminated": {"exitCode": 1}}), "base", [], ["x" * 10_000] * 1000)
    assert len(text) < 10_000


def test_a_pod_that_is_gone() -> None:
    assert "gone" in explain_pod(None, "base")


@pytest.mark.parametrize(
    "line",
    [
        "cannot reach postgresql://lake:hunter2@db:5432/lake",
        "PASSWORD=hunter2 was refused",
        "{'aws_secret_access_key': 'hunter2', 'region': 'us-east-1'}",
        "api-key: hunter2",
        "Authorization: Bearer hunter2",
    ],
)
def test_no_credential_of_a_log_or_an_event_is_repeated(line: str) -> None:
    event = {"type": "Warning", "reason": "Failed", "message": line}
    assert "hunter2" not in explain_pod(pod({"terminated": {"exitCode": 1}}), "base", [event], [line])


def test_what_is_no_credential_stays_readable() -> None:
    line = "s3://lake/warehouse: 3 tokens in 2 files, key not found: user_id"
    assert redacted(line) == line
