"""The status of an MPIJob: conditions by the mpi-operator's rules, and how many pods are in which phase."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from include.devcluster.controllers.objects import Manifest, has_condition, phase, to_rfc3339


def with_replicas(status: Manifest, launchers: Sequence[Manifest], workers: Sequence[Manifest]) -> Manifest:
    """Set `replicaStatuses`."""
    return {**status, "replicaStatuses": {"Launcher": count(launchers), "Worker": count(workers)}}


def count(pods: Sequence[Manifest]) -> dict[str, int]:
    """Pods that are active, have succeeded and have failed; a number of 0 is left out."""
    phases = (("active", "Running"), ("succeeded", "Succeeded"), ("failed", "Failed"))
    numbers = {name: sum(phase(p) == value for p in pods) for name, value in phases}
    return {name: number for name, number in numbers.items() if number}


def finish(status: Manifest, kind: str, reason: str, message: str, now: dt.datetime) -> Manifest:
    """Set the condition that ends the job, and when that was."""
    return {**with_condition(status, kind, "True", reason, message, now), "completionTime": to_rfc3339(now)}


def with_evicted(status: Manifest, workers: Sequence[Manifest], now: dt.datetime) -> Manifest:
    """Set the condition Failed when workers were evicted. The job goes on: see `mpi_plan`."""
    evicted = sum(phase(p) == "Failed" and (p.get("status") or {}).get("reason") == "Evicted" for p in workers)
    if not evicted:
        return status
    text = f"{evicted}/{len(workers)} workers are evicted"
    return with_condition(status, "Failed", "True", "MPIJobEvicted", text, now)


def is_finished(status: Manifest) -> bool:
    """True when the job says that it has succeeded or failed."""
    conditions = status.get("conditions") or []
    return has_condition(conditions, "Succeeded") or has_condition(conditions, "Failed")


def with_condition(status: Manifest, kind: str, value: str, reason: str, message: str, now: dt.datetime) -> Manifest:
    """Set a condition by the operator's rules: unchanged if status and reason are; an end stops Running and Failed."""
    conditions = list(status.get("conditions") or [])
    current = next((c for c in conditions if c["type"] == kind), None)
    if current and (current["status"], current.get("reason")) == (value, reason):
        return status
    stamp = to_rfc3339(now)
    since = current["lastTransitionTime"] if current and current["status"] == value else stamp
    if kind in ("Succeeded", "Failed"):
        stopped = {"status": "False", "lastTransitionTime": stamp, "lastUpdateTime": stamp}
        conditions = [
            {**c, **stopped} if c["type"] in ("Running", "Failed") and c["status"] == "True" else c for c in conditions
        ]
    new = {"type": kind, "status": value, "reason": reason, "message": message}
    new |= {"lastTransitionTime": since, "lastUpdateTime": stamp}
    return {**status, "conditions": [*(c for c in conditions if c["type"] != kind), new]}
