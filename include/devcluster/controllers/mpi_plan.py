"""What follows from an MPIJob and its pods: which pods to make and to delete, and the status.

The rules are those of kubeflow/mpi-operator (pkg/controller/mpi_job_controller.go), also where they are harsh:

- Only the launcher ends a job. One whose worker has failed before there is a launcher waits for ever, and a worker that
  fails later is not replaced: the launcher has to notice. A worker pod that was deleted is made anew.
- An evicted worker sets the condition Failed, and no more: launcher and workers go on, and hold what they hold.
- Deadline, retries and time to live are the launcher's, which is a batch/v1 Job there: none of them ends a job that
  waits for its workers. A retry (``runPolicy.backoffLimit``) is a new launcher pod.
- What it cannot work with is told by an event, and never by the status.

Two things are kinder: the launcher waits for its workers under either ``launcherCreationPolicy``, as the host file
holds their addresses, and a failed job's message tells what the launcher said last.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from include.devcluster.controllers import mpi_pods
from include.devcluster.controllers.mpi_status import (
    count,
    finish,
    is_finished,
    with_condition,
    with_evicted,
    with_replicas,
)
from include.devcluster.controllers.objects import (
    Manifest,
    failure_text,
    from_rfc3339,
    has_condition,
    is_ready,
    labels_of,
    phase,
    shorten,
    to_rfc3339,
)

DEFAULT_BACKOFF_LIMIT = 6  # of a batch/v1 Job, which the launcher is under the mpi-operator
FIRST_RETRY_S = 10.0
LAST_RETRY_S = 360.0


@dataclass(frozen=True)
class Plan:
    """What to do now: pods to make and to delete, the status to write, when to look again."""

    status: Manifest
    create_workers: list[int] = field(default_factory=list)
    launcher_attempt: int | None = None
    delete: list[Manifest] = field(default_factory=list)
    again: float | None = None


def plan(job: Manifest, pods: Sequence[Manifest], now: dt.datetime, *, vanished: bool = False) -> Plan:
    """Everything that follows from the job and its pods at this moment.

    :param vanished: whether a launcher is known to have gone that no status has counted yet.
    """
    launchers = [p for p in pods if labels_of(p).get(mpi_pods.ROLE_LABEL) == "launcher"]
    workers = [p for p in pods if labels_of(p).get(mpi_pods.ROLE_LABEL) == "worker"]
    policy = job["spec"].get("runPolicy") or {}
    status = dict(job.get("status") or {})
    name = "/".join((job["metadata"]["namespace"], job["metadata"]["name"]))
    if not status.get("conditions"):
        status = with_condition(status, "Created", "True", "MPIJobCreated", f"MPIJob {name} is created.", now)
    if is_finished(status) and status.get("completionTime"):
        replicas = {**(status.get("replicaStatuses") or {}), "Worker": count(workers)}
        left = _time_to_live(policy, status, now) if launchers else None
        expired = launchers if left is not None and left <= 0 else []
        again = None if expired else left
        return Plan(
            {**status, "replicaStatuses": replicas}, delete=[*_to_clean(policy, workers), *expired], again=again
        )
    status = with_evicted(status, workers, now)
    if policy.get("suspend"):
        status = with_condition(status, "Suspended", "True", "MPIJobSuspended", "MPIJob suspended", now)
        return Plan(with_replicas(status, [], []), delete=[*launchers, *workers])
    if not has_condition(status.get("conditions") or [], "Suspended"):
        status.setdefault("startTime", to_rfc3339(now))
    else:
        status = with_condition(status, "Suspended", "False", "MPIJobResumed", "MPIJob resumed", now)
        status["startTime"] = to_rfc3339(now)

    missing = sorted(set(range(mpi_pods.worker_count(job))) - {index_of(p) for p in workers})
    if any(phase(p) == "Succeeded" for p in launchers):
        status = with_replicas(status, launchers, workers)
        status = finish(status, "Succeeded", "MPIJobSucceeded", f"MPIJob {name} successfully completed.", now)
        return Plan(status, delete=_to_clean(policy, workers))
    if vanished:
        status["replicaStatuses"] = {**(status.get("replicaStatuses") or {}), "Launcher": {"active": 1}}
    if failure := _failure(job, status, launchers, now):
        status = finish(with_replicas(status, launchers, workers), "Failed", *failure, now)
        return Plan(
            status, delete=_to_clean(policy, workers) + [p for p in launchers if phase(p) in ("Pending", "Running")]
        )

    attempt, again = _next_attempt(launchers, now)
    ready = not missing and all(is_ready(p) for p in workers)
    if any(phase(p) == "Running" for p in launchers) and all(phase(p) == "Running" for p in workers) and not missing:
        status = with_condition(status, "Running", "True", "MPIJobRunning", f"MPIJob {name} is running.", now)
    deadline = _deadline(policy, launchers, now)
    waits = [seconds for seconds in (again, deadline) if seconds is not None]
    return Plan(
        with_replicas(status, launchers, workers),
        create_workers=missing,
        launcher_attempt=attempt if ready and again is None else None,
        again=min(waits) if waits else None,
    )


def _failure(
    job: Manifest, status: Manifest, launchers: Sequence[Manifest], now: dt.datetime
) -> tuple[str, str] | None:
    """Reason and message when the launcher's Job has failed for good."""
    policy = job["spec"].get("runPolicy") or {}
    left = _deadline(policy, launchers, now)
    if left is not None and left <= 0:
        return "DeadlineExceeded", "Job was active longer than specified deadline"
    failed = [p for p in launchers if phase(p) == "Failed"]
    limit = int(policy.get("backoffLimit", DEFAULT_BACKOFF_LIMIT))
    # A Job counts a pod that was deleted under it as a failed one.
    was_active = bool(((status.get("replicaStatuses") or {}).get("Launcher") or {}).get("active"))
    if was_active and not launchers and limit == 0:
        return "BackoffLimitExceeded", "Job has reached the specified backoff limit: its launcher pod is gone"
    if len(failed) > limit:
        text = failure_text(max(failed, key=attempt_of))
        return "BackoffLimitExceeded", shorten(f"Job has reached the specified backoff limit: {text}")
    return None


def _next_attempt(launchers: Sequence[Manifest], now: dt.datetime) -> tuple[int | None, float | None]:
    """The launcher to start, or how long its back-off still lasts (doubling from 10 s, as a Job's)."""
    if any(phase(p) != "Failed" for p in launchers):
        return None, None
    if not launchers:
        return 0, None
    last = max(launchers, key=attempt_of)
    finished = [
        state["finishedAt"]
        for status in (last.get("status") or {}).get("containerStatuses") or []
        if (state := (status.get("state") or {}).get("terminated")) and state.get("finishedAt")
    ]
    ended = max((from_rfc3339(text) for text in finished), default=from_rfc3339(last["metadata"]["creationTimestamp"]))
    wait = min(LAST_RETRY_S, FIRST_RETRY_S * 2 ** (len(launchers) - 1)) - (now - ended).total_seconds()
    return (attempt_of(last) + 1, None) if wait <= 0 else (None, wait)


def _deadline(policy: Manifest, launchers: Sequence[Manifest], now: dt.datetime) -> float | None:
    """How long the launcher's Job may still take; it begins with the first launcher, not with the workers."""
    if not policy.get("activeDeadlineSeconds") or not launchers:
        return None
    began = min(from_rfc3339(p["metadata"]["creationTimestamp"]) for p in launchers)
    return float(policy["activeDeadlineSeconds"]) - (now - began).total_seconds()


def _time_to_live(policy: Manifest, status: Manifest, now: dt.datetime) -> float | None:
    """How long the launcher of a finished job, and with it the log, still stays."""
    if policy.get("ttlSecondsAfterFinished") is None:
        return None
    return float(policy["ttlSecondsAfterFinished"]) - (now - from_rfc3339(status["completionTime"])).total_seconds()


def _to_clean(policy: Manifest, workers: Sequence[Manifest]) -> list[Manifest]:
    """Workers that cleanPodPolicy takes: All, Running (which includes Pending), or by default None."""
    keep = {"All": (), "Running": ("Succeeded", "Failed")}.get(policy.get("cleanPodPolicy") or "None")
    return [] if keep is None else [p for p in workers if phase(p) not in keep]


def index_of(pod: Manifest) -> int:
    """The rank of a worker."""
    return int(labels_of(pod)[mpi_pods.INDEX_LABEL])


def attempt_of(launcher: Mapping[str, Any]) -> int:
    """Which launcher of its job this is, from 0."""
    tail = str(launcher["metadata"]["name"]).rpartition("-launcher")[2]
    return int(tail.lstrip("-") or 0)
