"""The SparkApplication state machine and the driver pod, without a cluster."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from include.devcluster.controllers.spark_driver import driver_pod, memory_mib, submit_arguments
from include.devcluster.controllers.spark_states import next_step, submission_id

NOW = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
UID = "6f1c1c1e-0000-4000-8000-000000000001"


def application(state: str = "", policy: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    spec = {
        "type": "Python",
        "sparkVersion": "4.1.1",
        "image": "podium/features:dev",
        "mainApplicationFile": "local:///app/include/jobs/features/main.py",
        "arguments": ["--cutoffs", "2017-08-01"],
        "sparkConf": {"spark.ui.enabled": "false"},
        "volumes": [{"name": "credentials", "secret": {"secretName": "podium-credentials"}}],
        "restartPolicy": policy or {"type": "Never"},
        "driver": {
            "cores": 2,
            "memory": "2g",
            "labels": {"team": "ml"},
            "env": [{"name": "PODIUM_ENV", "value": "local"}],
            "envFrom": [{"configMapRef": {"name": "podium-platform"}}],
            "volumeMounts": [{"name": "credentials", "mountPath": "/etc/podium/credentials"}],
            "serviceAccount": "podium-jobs",
            "nodeSelector": {"podium.dev/pool": "general"},
        },
        "executor": {"instances": 1, "cores": 1},
    }
    obj: dict[str, Any] = {
        "apiVersion": "sparkoperator.k8s.io/v1beta2",
        "kind": "SparkApplication",
        "metadata": {"name": "features", "namespace": "podium", "uid": UID, "labels": {"dag": "build_features"}},
        "spec": spec,
    }
    if state:
        obj["status"] = {"applicationState": {"state": state}, **status}
    return obj


def driver(phase: str, exit_code: int | None = None, attempt: int = 1, message: str = "") -> dict[str, Any]:
    pod = driver_pod(application(), submission_id(application(), attempt))
    state: dict[str, Any] = {"running": {}}
    if exit_code is not None:
        state = {"terminated": {"exitCode": exit_code, "reason": "Error", "message": message}}
    statuses = [{"name": "spark-kubernetes-driver", "state": state}] if phase != "Pending" else []
    return {**pod, "status": {"phase": phase, "containerStatuses": statuses}}


SUBMITTED: dict[str, Any] = {
    "lastSubmissionAttemptTime": "2026-01-02T03:04:00Z",
    "submissionAttempts": 1,
    "executionAttempts": 1,
}


def test_a_new_application_is_submitted_once() -> None:
    step = next_step(application(), None, NOW)
    assert step.action == "submit"
    assert step.status["applicationState"] == {"state": "SUBMITTED"}
    assert step.status["driverInfo"] == {"podName": "features-driver"}
    assert step.status["submissionID"] == submission_id(application(), 1)
    assert (step.status["submissionAttempts"], step.status["executionAttempts"]) == (1, 1)


def test_a_submission_that_was_not_recorded_adopts_its_own_driver() -> None:
    step = next_step(application(), driver("Running"), NOW)
    assert step.action == "submit"
    assert step.status["submissionID"] == driver("Running")["metadata"]["labels"]["sparkoperator.k8s.io/submission-id"]


@pytest.mark.parametrize(
    ("phase", "exit_code", "expected"),
    [
        ("Pending", None, "SUBMITTED"),
        ("Running", None, "RUNNING"),
        ("Succeeded", 0, "SUCCEEDING"),
        ("Failed", 1, "FAILING"),
        # A side-car still runs, the driver has ended.
        ("Running", 0, "SUCCEEDING"),
        ("Running", 2, "FAILING"),
        ("Unknown", None, "UNKNOWN"),
    ],
)
def test_the_state_follows_the_driver(phase: str, exit_code: int | None, expected: str) -> None:
    step = next_step(application("SUBMITTED", **SUBMITTED), driver(phase, exit_code), NOW)
    assert step.status["applicationState"]["state"] == expected


def test_a_failure_says_code_reason_and_last_words() -> None:
    step = next_step(application("RUNNING", **SUBMITTED), driver("Failed", 1, message="KeyError: 'spend'\n"), NOW)
    expected = "driver container failed with ExitCode: 1, Reason: Error: KeyError: 'spend'"
    assert step.status["applicationState"]["errorMessage"] == expected
    assert step.status["terminationTime"] == "2026-01-02T03:04:05Z"


def test_a_missing_driver_has_a_grace_period_only_while_submitted() -> None:
    fresh = next_step(application("SUBMITTED", **SUBMITTED), None, NOW)
    assert fresh.status["applicationState"]["state"] == "SUBMITTED"
    assert fresh.again is not None
    assert 5 < fresh.again < 10
    late = next_step(application("SUBMITTED", **SUBMITTED), None, NOW + dt.timedelta(seconds=30))
    lost = next_step(application("RUNNING", **SUBMITTED), None, NOW)
    for step in (late, lost):
        assert step.status["applicationState"] == {"state": "FAILING", "errorMessage": "driver pod not found"}


def test_ends_are_final_without_retries() -> None:
    assert (
        next_step(application("SUCCEEDING", **SUBMITTED), None, NOW).status["applicationState"]["state"] == "COMPLETED"
    )
    assert next_step(application("FAILING", **SUBMITTED), None, NOW).status["applicationState"]["state"] == "FAILED"
    for state in ("COMPLETED", "FAILED"):
        step = next_step(application(state, **SUBMITTED), None, NOW)
        assert (step.action, step.again, step.status["applicationState"]["state"]) == ("none", None, state)


def test_on_failure_waits_deletes_the_driver_and_submits_again() -> None:
    policy = {"type": "OnFailure", "onFailureRetries": 1, "onFailureRetryInterval": 10}
    failing = application("FAILING", policy, **SUBMITTED)
    waiting = next_step(failing, driver("Failed", 1), NOW)
    assert waiting.action == "none"
    assert waiting.again == pytest.approx(5.0)
    again = next_step(failing, driver("Failed", 1), NOW + dt.timedelta(seconds=6))
    assert (again.action, again.status["applicationState"]["state"]) == ("delete driver", "PENDING_RERUN")
    rerun = application("PENDING_RERUN", policy, **SUBMITTED)
    assert next_step(rerun, driver("Failed", 1), NOW).action == "delete driver"
    second = next_step(rerun, None, NOW)
    assert (second.action, second.status["submissionAttempts"]) == ("submit", 2)
    assert second.status["submissionID"] != submission_id(application(), 1)
    over = application("FAILING", policy, **{**SUBMITTED, "executionAttempts": 2})
    assert next_step(over, None, NOW).status["applicationState"]["state"] == "FAILED"


def test_a_changed_spec_ends_what_runs_and_runs_it_again() -> None:
    invalid = next_step(application("RUNNING", **SUBMITTED), driver("Running"), NOW, changed=True)
    assert (invalid.action, invalid.status["applicationState"]["state"]) == ("none", "INVALIDATING")
    stopping = application("INVALIDATING", **SUBMITTED)
    assert next_step(stopping, driver("Running"), NOW).action == "delete driver"
    stopped = next_step(stopping, None, NOW)
    assert stopped.status["applicationState"]["state"] == "PENDING_RERUN"
    assert next_step(application(), None, NOW, changed=True).action == "submit", "one that is new has nothing to end"


def test_a_suspended_application_gives_its_driver_up_until_it_is_resumed() -> None:
    def suspended(state: str, wanted: bool) -> dict[str, Any]:
        app = application(state, **SUBMITTED)
        app["spec"]["suspend"] = wanted
        return app

    assert (
        next_step(suspended("RUNNING", True), driver("Running"), NOW).status["applicationState"]["state"]
        == "SUSPENDING"
    )
    assert next_step(suspended("SUSPENDING", True), driver("Running"), NOW).action == "delete driver"
    assert next_step(suspended("SUSPENDING", True), None, NOW).status["applicationState"]["state"] == "SUSPENDED"
    assert next_step(suspended("SUSPENDED", True), None, NOW).status["applicationState"]["state"] == "SUSPENDED"
    assert next_step(suspended("SUSPENDED", False), None, NOW).status["applicationState"]["state"] == "RESUMING"
    resumed = next_step(suspended("RESUMING", False), None, NOW)
    assert (resumed.action, resumed.status["submissionAttempts"]) == ("submit", 2)


def test_time_to_live_deletes_the_application() -> None:
    app = application("COMPLETED", **SUBMITTED, terminationTime="2026-01-02T03:04:00Z")
    app["spec"]["timeToLiveSeconds"] = 60
    assert next_step(app, None, NOW).again == pytest.approx(55)
    assert next_step(app, None, NOW + dt.timedelta(minutes=1)).action == "delete application"


def test_the_driver_pod_has_the_operators_names_and_the_drivers_fields() -> None:
    pod = driver_pod(application(), submission_id(application(), 1))
    labels, spec = pod["metadata"]["labels"], pod["spec"]
    container = spec["containers"][0]
    assert pod["metadata"]["name"] == "features-driver"
    assert labels["spark-role"] == "driver"
    assert labels["sparkoperator.k8s.io/app-name"] == labels["spark-app-name"] == "features"
    assert labels["team"] == "ml"
    assert labels["dag"] == "build_features"
    assert labels["spark-app-selector"].startswith("spark-")
    assert container["name"] == "spark-kubernetes-driver"
    assert container["image"] == "podium/features:dev"
    assert container["volumeMounts"] == [{"name": "credentials", "mountPath": "/etc/podium/credentials"}]
    assert container["envFrom"] == [{"configMapRef": {"name": "podium-platform"}}]
    assert spec["volumes"][0]["name"] == "credentials"
    assert (spec["restartPolicy"], spec["serviceAccountName"]) == ("Never", "podium-jobs")
    assert spec["nodeSelector"] == {"podium.dev/pool": "general"}
    assert container["resources"]["requests"] == {"cpu": "2", "memory": "2868Mi"}


def test_the_drivers_fields_win_over_its_template() -> None:
    app = application()
    template = {
        "name": "spark-kubernetes-driver",
        "workingDir": "/app",
        "image": "other",
        "volumeMounts": [{"name": "x"}],
    }
    app["spec"]["driver"]["template"] = {
        "metadata": {"labels": {"team": "other", "pool": "a"}},
        "spec": {"containers": [template, {"name": "side-car"}], "serviceAccountName": "other"},
    }
    pod = driver_pod(app, UID)
    first, second = pod["spec"]["containers"]
    assert (first["workingDir"], first["image"]) == ("/app", "podium/features:dev")
    assert [mount["name"] for mount in first["volumeMounts"]] == ["x", "credentials"]
    assert second["name"] == "side-car"
    assert pod["spec"]["serviceAccountName"] == "podium-jobs"
    assert (pod["metadata"]["labels"]["team"], pod["metadata"]["labels"]["pool"]) == ("ml", "a")


def test_spark_submit_runs_locally_on_the_pods_own_address() -> None:
    arguments = submit_arguments(application())
    assert arguments[:2] == ["--master", "local[2]"]
    assert arguments[-3:] == ["/app/include/jobs/features/main.py", "--cutoffs", "2017-08-01"]
    assert "spark.ui.enabled=false" in arguments
    assert "spark.driver.bindAddress=$(SPARK_DRIVER_BIND_ADDRESS)" in arguments


@pytest.mark.parametrize(
    ("driver_fields", "kind", "expected"),
    [
        ({}, "Python", 1434),
        ({"memory": "512m"}, "Python", 896),
        ({"memory": "4g"}, "Scala", 4506),
        ({"memory": "1Gi", "memoryOverhead": "100"}, "Python", 1124),
    ],
)
def test_memory_follows_sparks_rule(driver_fields: dict[str, str], kind: str, expected: int) -> None:
    assert memory_mib({"type": kind, "driver": driver_fields}) == expected
