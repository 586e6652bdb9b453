"""The state machine of a SparkApplication: from its status and its driver pod to the next step.

The states and their order are those of kubeflow/spark-operator 2 (internal/controller/sparkapplication).
"""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass
from typing import Any, Literal

from include.devcluster.controllers.objects import (
    Manifest,
    failure_text,
    from_rfc3339,
    labels_of,
    phase,
    terminated_state,
    to_rfc3339,
)
from include.devcluster.controllers.spark_driver import CONTAINER, SUBMISSION_LABEL, driver_pod

DRIVER_GRACE_S = 10.0
"""How long a submitted driver pod may be missing (the operator's --driver-pod-creation-grace-period)."""

TERMINAL = ("COMPLETED", "FAILED")
SUSPENDABLE = ("", "SUBMITTED", "RUNNING", "UNKNOWN", "PENDING_RERUN", "RESUMING")
STOPPING = {"INVALIDATING": "PENDING_RERUN", "SUSPENDING": "SUSPENDED"}
"""States in which the driver is being ended, and what comes after."""


@dataclass(frozen=True)
class Step:
    """What to do now: an action on the driver or the application, the status to write, when to look again."""

    status: Manifest
    action: Literal["none", "submit", "delete driver", "delete application"] = "none"
    again: float | None = None


def state_of(status: Manifest) -> str:
    """The application's state; empty while it is new."""
    return str((status.get("applicationState") or {}).get("state") or "")


def submission_id(app: Manifest, attempt: int) -> str:
    """The id of the n-th submission: derived, so that a controller that died half-way finds its own driver again."""
    return str(uuid.uuid5(uuid.UUID(app["metadata"]["uid"]), str(attempt)))


def next_step(app: Manifest, driver: Manifest | None, now: dt.datetime, *, changed: bool = False) -> Step:
    """One transition of the state machine, from the application's status and its driver pod (or none).

    :param changed: whether the spec has changed since it was last looked at: what runs is ended and run again.
    """
    status = app.get("status") or {}
    state = state_of(status)
    if changed and state:
        return Step(_in_state(status, "INVALIDATING"))
    if app["spec"].get("suspend") and state in SUSPENDABLE:
        return Step(_in_state(status, "SUSPENDING"))
    if state in STOPPING:
        return Step(status, "delete driver") if driver is not None else Step(_in_state(status, STOPPING[state]))
    if state == "SUSPENDED":
        return Step(status if app["spec"].get("suspend") else _in_state(status, "RESUMING"))
    if state in ("", "PENDING_RERUN", "RESUMING"):
        return _submit(app, status, driver, now)
    if state in ("SUBMITTED", "RUNNING", "UNKNOWN"):
        return _observe(status, driver, now)
    if state == "SUCCEEDING" and (app["spec"].get("restartPolicy") or {}).get("type") != "Always":
        return Step(_in_state(status, "COMPLETED"))
    if state in ("SUCCEEDING", "FAILING", "SUBMISSION_FAILED"):
        return _retry_or_fail(app, status, state, driver, now)
    return _expire(app, status, now)


def _submit(app: Manifest, status: Manifest, driver: Manifest | None, now: dt.datetime) -> Step:
    attempt = int(status.get("submissionAttempts") or 0) + 1
    identity = submission_id(app, attempt)
    if driver is not None and labels_of(driver).get(SUBMISSION_LABEL) != identity:
        return Step(status, "delete driver")
    kept = {key: value for key, value in status.items() if key != "terminationTime"}
    submitted = {
        **kept,
        "applicationState": {"state": "SUBMITTED"},
        "driverInfo": {"podName": driver_pod(app, identity)["metadata"]["name"]},
        "executionAttempts": int(status.get("executionAttempts") or 0) + 1,
        "lastSubmissionAttemptTime": to_rfc3339(now),
        "sparkApplicationId": f"spark-{uuid.UUID(identity).hex}",
        "submissionAttempts": attempt,
        "submissionID": identity,
    }
    return Step(submitted, "submit")


def _observe(status: Manifest, driver: Manifest | None, now: dt.datetime) -> Step:
    if driver is None:
        age = (now - from_rfc3339(status["lastSubmissionAttemptTime"])).total_seconds()
        if state_of(status) == "SUBMITTED" and age <= DRIVER_GRACE_S:
            return Step(status, again=DRIVER_GRACE_S - age + 1)
        return Step(_ended(status, "FAILING", now, "driver pod not found"))
    ended = terminated_state(driver, CONTAINER)
    # Side-cars may outlive the driver: its container decides, the pod's phase only when that says nothing.
    if (ended is not None and ended.get("exitCode") == 0) or phase(driver) == "Succeeded":
        return Step(_ended(status, "SUCCEEDING", now))
    if ended is not None or phase(driver) == "Failed":
        return Step(_ended(status, "FAILING", now, _driver_failure(driver, ended)))
    return Step(_in_state(status, {"Pending": "SUBMITTED", "Running": "RUNNING"}.get(phase(driver), "UNKNOWN")))


def _driver_failure(driver: Manifest, ended: Manifest | None) -> str:
    if ended is None:
        return f"driver container status missing: {failure_text(driver)}"
    text = f"driver container failed with ExitCode: {ended.get('exitCode')}, Reason: {ended.get('reason')}"
    return f"{text}: {ended['message'].strip()}" if ended.get("message") else text


def _retry_or_fail(app: Manifest, status: Manifest, state: str, driver: Manifest | None, now: dt.datetime) -> Step:
    policy = app["spec"].get("restartPolicy") or {}
    refused = state == "SUBMISSION_FAILED"
    prefix = "onSubmissionFailure" if refused else "onFailure"
    tries = int(status.get("submissionAttempts" if refused else "executionAttempts") or 0)
    left = policy.get("type") == "OnFailure" and tries <= int(policy.get(f"{prefix}Retries") or 0)
    if not left and policy.get("type") != "Always":
        ended = status.get("terminationTime") or to_rfc3339(now)
        return Step({**_in_state(status, "FAILED"), "terminationTime": ended})
    # Linear back-off, as the operator's TimeUntilNextRetryDue.
    wait = int(policy.get(f"{prefix}RetryInterval") or 0) * int(status.get("submissionAttempts") or 1)
    elapsed = (now - from_rfc3339(status["lastSubmissionAttemptTime"])).total_seconds()
    if state != "SUCCEEDING" and elapsed < wait:
        return Step(status, again=wait - elapsed)
    return Step(_in_state(status, "PENDING_RERUN"), "delete driver" if driver else "none")


def _expire(app: Manifest, status: Manifest, now: dt.datetime) -> Step:
    seconds = app["spec"].get("timeToLiveSeconds")
    if state_of(status) not in TERMINAL or not seconds or not status.get("terminationTime"):
        return Step(status)
    left = int(seconds) - (now - from_rfc3339(status["terminationTime"])).total_seconds()
    return Step(status, again=left) if left > 0 else Step(status, "delete application")


def _in_state(status: Manifest, state: str) -> Manifest:
    return {**status, "applicationState": {**(status.get("applicationState") or {}), "state": state}}


def _ended(status: Manifest, state: str, now: dt.datetime, error: str = "") -> Manifest:
    application: dict[str, Any] = {"state": state}
    if error:
        application["errorMessage"] = error
    return {**status, "applicationState": application, "terminationTime": to_rfc3339(now)}
