"""MPIJob (kubeflow.org/v2beta1): workers first, then a launcher that starts the ranks inside them.

The launcher waits for its workers under either ``launcherCreationPolicy``: the host file holds their addresses. A
retry (``runPolicy.backoffLimit``) is a new launcher pod; it is not tried once a worker is lost, for lost workers are
not replaced (nor does the mpi-operator) and it could only fail again.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from include.devcluster.controllers import mpi_pods
from include.devcluster.controllers.client import ApiError, KubeApi
from include.devcluster.controllers.informer import Informer
from include.devcluster.controllers.objects import (
    CONFIG_MAPS,
    PODS,
    SECRETS,
    Manifest,
    Resource,
    failure_text,
    from_rfc3339,
    has_condition,
    is_ready,
    key_of,
    labels_of,
    phase,
    shorten,
    to_rfc3339,
    utc_now,
)
from include.devcluster.controllers.reconciler import Controller, Key

MPI_JOBS = Resource("kubeflow.org", "v2beta1", "mpijobs", "MPIJob")
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
    if is_finished(status):
        replicas = {**(status.get("replicaStatuses") or {}), "Worker": _count(workers)}
        left = _time_to_live(policy, status, now) if launchers else None
        expired = launchers if left is not None and left <= 0 else []
        again = None if expired else left
        return Plan(
            {**status, "replicaStatuses": replicas}, delete=[*_to_clean(policy, workers), *expired], again=again
        )
    if policy.get("suspend"):
        status = with_condition(status, "Suspended", "True", "MPIJobSuspended", "MPIJob suspended", now)
        return Plan(_with_replicas(status, [], []), delete=[*launchers, *workers])
    if not has_condition(status.get("conditions") or [], "Suspended"):
        status.setdefault("startTime", to_rfc3339(now))
    else:
        status = with_condition(status, "Suspended", "False", "MPIJobResumed", "MPIJob resumed", now)
        status["startTime"] = to_rfc3339(now)

    missing = sorted(set(range(mpi_pods.worker_count(job))) - {_index(p) for p in workers})
    if any(phase(p) == "Succeeded" for p in launchers):
        status = _with_replicas(status, launchers, workers)
        status = _finish(status, "Succeeded", "MPIJobSucceeded", f"MPIJob {name} successfully completed.", now)
        return Plan(status, delete=_to_clean(policy, workers))
    if vanished:
        status["replicaStatuses"] = {**(status.get("replicaStatuses") or {}), "Launcher": {"active": 1}}
    if failure := _failure(job, status, launchers, workers, now):
        status = _finish(_with_replicas(status, launchers, workers), "Failed", *failure, now)
        return Plan(
            status, delete=_to_clean(policy, workers) + [p for p in launchers if phase(p) in ("Pending", "Running")]
        )

    attempt, again = _next_attempt(launchers, now)
    ready = not missing and all(is_ready(p) for p in workers)
    if any(phase(p) == "Running" for p in launchers) and all(phase(p) == "Running" for p in workers) and not missing:
        status = with_condition(status, "Running", "True", "MPIJobRunning", f"MPIJob {name} is running.", now)
    deadline = _deadline(policy, status, now)
    waits = [seconds for seconds in (again, deadline) if seconds is not None]
    return Plan(
        _with_replicas(status, launchers, workers),
        create_workers=missing,
        launcher_attempt=attempt if ready and again is None else None,
        again=min(waits) if waits else None,
    )


def _failure(
    job: Manifest, status: Manifest, launchers: Sequence[Manifest], workers: Sequence[Manifest], now: dt.datetime
) -> tuple[str, str] | None:
    """Reason and message when the job has failed for good."""
    policy = job["spec"].get("runPolicy") or {}
    left = _deadline(policy, status, now)
    if left is not None and left <= 0:
        return "DeadlineExceeded", f"Job was active longer than its {policy['activeDeadlineSeconds']} s deadline"
    evicted = [p for p in workers if (p.get("status") or {}).get("reason") == "Evicted"]
    if evicted:
        return "MPIJobEvicted", f"{len(evicted)}/{len(workers)} workers are evicted"
    lost = [failure_text(p) for p in workers if phase(p) in ("Failed", "Succeeded")]
    failed = [p for p in launchers if phase(p) == "Failed"]
    limit = int(policy.get("backoffLimit", DEFAULT_BACKOFF_LIMIT))
    active = any(phase(p) in ("Pending", "Running") for p in launchers)
    # While the launcher still runs it is left to notice by itself: its log then tells what the ranks saw.
    if lost and not active:
        after = f"; launcher: {failure_text(failed[-1])}" if failed else ""
        return "MPIJobFailed", shorten(f"worker lost: {'; '.join(lost)}{after}")
    # A Job counts a pod that was deleted under it as a failed one.
    was_active = bool(((status.get("replicaStatuses") or {}).get("Launcher") or {}).get("active"))
    if was_active and not launchers and limit == 0:
        return "BackoffLimitExceeded", "Job has reached the specified backoff limit: its launcher pod is gone"
    if len(failed) > limit:
        text = failure_text(max(failed, key=_attempt))
        return "BackoffLimitExceeded", shorten(f"Job has reached the specified backoff limit: {text}")
    return None


def _next_attempt(launchers: Sequence[Manifest], now: dt.datetime) -> tuple[int | None, float | None]:
    """The launcher to start, or how long its back-off still lasts (doubling from 10 s, as a Job's)."""
    if any(phase(p) != "Failed" for p in launchers):
        return None, None
    if not launchers:
        return 0, None
    last = max(launchers, key=_attempt)
    finished = [
        state["finishedAt"]
        for status in (last.get("status") or {}).get("containerStatuses") or []
        if (state := (status.get("state") or {}).get("terminated")) and state.get("finishedAt")
    ]
    ended = max((from_rfc3339(text) for text in finished), default=from_rfc3339(last["metadata"]["creationTimestamp"]))
    wait = min(LAST_RETRY_S, FIRST_RETRY_S * 2 ** (len(launchers) - 1)) - (now - ended).total_seconds()
    return (_attempt(last) + 1, None) if wait <= 0 else (None, wait)


def _deadline(policy: Manifest, status: Manifest, now: dt.datetime) -> float | None:
    if not policy.get("activeDeadlineSeconds"):
        return None
    return float(policy["activeDeadlineSeconds"]) - (now - from_rfc3339(status["startTime"])).total_seconds()


def _time_to_live(policy: Manifest, status: Manifest, now: dt.datetime) -> float | None:
    """How long the launcher of a finished job, and with it the log, still stays."""
    if policy.get("ttlSecondsAfterFinished") is None:
        return None
    return float(policy["ttlSecondsAfterFinished"]) - (now - from_rfc3339(status["completionTime"])).total_seconds()


def _to_clean(policy: Manifest, workers: Sequence[Manifest]) -> list[Manifest]:
    """Workers that cleanPodPolicy takes: All, Running (which includes Pending), or by default None."""
    keep = {"All": (), "Running": ("Succeeded", "Failed")}.get(policy.get("cleanPodPolicy") or "None")
    return [] if keep is None else [p for p in workers if phase(p) not in keep]


def _index(pod: Manifest) -> int:
    return int(labels_of(pod)[mpi_pods.INDEX_LABEL])


def _attempt(launcher: Mapping[str, Any]) -> int:
    tail = str(launcher["metadata"]["name"]).rpartition("-launcher")[2]
    return int(tail.lstrip("-") or 0)


def _with_replicas(status: Manifest, launchers: Sequence[Manifest], workers: Sequence[Manifest]) -> Manifest:
    return {**status, "replicaStatuses": {"Launcher": _count(launchers), "Worker": _count(workers)}}


def _count(pods: Sequence[Manifest]) -> dict[str, int]:
    phases = (("active", "Running"), ("succeeded", "Succeeded"), ("failed", "Failed"))
    numbers = {name: sum(phase(p) == value for p in pods) for name, value in phases}
    return {name: number for name, number in numbers.items() if number}


def _finish(status: Manifest, kind: str, reason: str, message: str, now: dt.datetime) -> Manifest:
    return {**with_condition(status, kind, "True", reason, message, now), "completionTime": to_rfc3339(now)}


def is_finished(status: Manifest) -> bool:
    """True when the job has succeeded or failed for good."""
    conditions = status.get("conditions") or []
    return has_condition(conditions, "Succeeded") or has_condition(conditions, "Failed")


def with_condition(status: Manifest, kind: str, value: str, reason: str, message: str, now: dt.datetime) -> Manifest:
    """Set a condition by the operator's rules: unchanged if status and reason are, and an end stops Running."""
    conditions = list(status.get("conditions") or [])
    current = next((c for c in conditions if c["type"] == kind), None)
    if current and (current["status"], current.get("reason")) == (value, reason):
        return status
    stamp = to_rfc3339(now)
    since = current["lastTransitionTime"] if current and current["status"] == value else stamp
    if kind in ("Succeeded", "Failed"):
        stopped = {"status": "False", "lastTransitionTime": stamp, "lastUpdateTime": stamp}
        conditions = [{**c, **stopped} if c["type"] == "Running" and c["status"] == "True" else c for c in conditions]
    new = {"type": kind, "status": value, "reason": reason, "message": message}
    new |= {"lastTransitionTime": since, "lastUpdateTime": stamp}
    return {**status, "conditions": [*(c for c in conditions if c["type"] != kind), new]}


class MPIJobController(Controller):
    """Carries out the plan: config map and credentials before the launcher, pods, status, events."""

    resource = MPI_JOBS

    def __init__(self, api: KubeApi, owners: Informer, pods: Informer) -> None:
        super().__init__(api, owners, pods)
        self._launched: dict[Key, set[tuple[str, str]]] = {}  # job -> its uid, a launcher's name

    async def reconcile(self, owner: Manifest) -> float | None:
        """Make a plan and carry it out."""
        pods = self.pods_of(owner)
        todo = plan(owner, pods, utc_now())
        if todo.launcher_attempt is not None and await self._has_vanished(owner, todo.launcher_attempt):
            todo = plan(owner, pods, utc_now(), vanished=True)
        for index in todo.create_workers:
            await self.create_child(owner, PODS, mpi_pods.worker_pod(owner, index))
        if todo.launcher_attempt is not None:
            await self._launch(owner, pods, todo.launcher_attempt)
        await self.update_status(owner, todo.status)
        for pod in todo.delete:
            await self.delete_pod(pod)
        if is_finished(todo.status) or has_condition(todo.status["conditions"], "Suspended"):
            # What goes from here on goes on purpose: after a suspension a launcher of the same name comes again.
            self._launched.pop(key_of(owner), None)
        await self._announce(owner, todo.status)
        return todo.again

    async def _has_vanished(self, owner: Manifest, attempt: int) -> bool:
        """Whether this launcher was made already and is no more: it may go before any status has counted it."""
        name = mpi_pods.launcher_name(owner, attempt)
        if (owner["metadata"]["uid"], name) not in self._launched.get(key_of(owner), ()):
            return False
        try:
            await self.api.get(PODS, owner["metadata"]["namespace"], name)
        except ApiError as error:
            if error.status != 404:
                raise
            return True
        return False

    async def _launch(self, owner: Manifest, pods: Sequence[Manifest], attempt: int) -> None:
        workers = [p for p in pods if labels_of(p).get(mpi_pods.ROLE_LABEL) == "worker"]
        await self.apply_child(owner, CONFIG_MAPS, mpi_pods.config_map(owner, sorted(workers, key=_index)))
        account = self.api.credentials
        if account.token:
            secret = mpi_pods.credentials_secret(owner, account.server, account.token, account.ca_pem)
            await self.apply_child(owner, SECRETS, secret)
        launcher = mpi_pods.launcher_pod(owner, attempt, bool(account.token))
        await self.create_child(owner, PODS, launcher)
        launched = (owner["metadata"]["uid"], launcher["metadata"]["name"])
        self._launched.setdefault(key_of(owner), set()).add(launched)

    async def gone(self, key: Key) -> None:
        """Forget the launchers of a job that was deleted."""
        self._launched.pop(key, None)

    async def _announce(self, owner: Manifest, status: Manifest) -> None:
        before = {(c["type"], c["status"]) for c in (owner.get("status") or {}).get("conditions") or []}
        for condition in status.get("conditions") or []:
            if condition["status"] == "True" and (condition["type"], "True") not in before:
                kind = "Warning" if condition["type"] == "Failed" else "Normal"
                await self.event(owner, kind, condition["reason"], condition["message"])
