"""What the mpi-operator does not work with, told by an event alone (pkg/apis/kubeflow/validation/validation.go)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from include.devcluster.controllers import mpi_pods
from include.devcluster.controllers.objects import Manifest

OWN_NAME = "kubeflow.org/mpi-operator"
MANAGERS = (OWN_NAME, "kueue.x-k8s.io/multikueue")
NAME_LIMIT = 63
_DNS_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")


def is_managed_elsewhere(job: Manifest) -> bool:
    """Whether another controller is to look after it."""
    manager = (job["spec"].get("runPolicy") or {}).get("managedBy")
    return manager in MANAGERS and manager != OWN_NAME


def errors_of(job: Manifest) -> str:
    """Everything that is wrong with a job, in the words of the API's own checks; empty when it is sound."""
    found = [*_name(job), *_roles(job), *_policy(job)]
    return found[0] if len(found) == 1 else f"[{', '.join(found)}]" if found else ""


def _name(job: Manifest) -> Iterator[str]:
    name = str(job["metadata"]["name"])
    label = f"{name}-worker-{max(1, mpi_pods.worker_count(job)) - 1}"
    if not _DNS_1035.fullmatch(label) or len(label) > NAME_LIMIT:
        yield _invalid("metadata.name", f'"{name}"', f'"{label}" is no DNS label of at most {NAME_LIMIT} characters')


def _roles(job: Manifest) -> Iterator[str]:
    for role, needed in (("Launcher", True), ("Worker", False)):
        place, spec = f"spec.mpiReplicaSpecs[{role}]", mpi_pods.replicas(job, role)
        if not spec:
            if needed:
                yield f"{place}: Required value: must have {role} replica spec"
            continue
        policy = spec.get("restartPolicy") or mpi_pods.RESTART_POLICIES[role]
        yield from _supported(f"{place}.restartPolicy", policy, ("Never", "OnFailure"))
        if not ((spec.get("template") or {}).get("spec") or {}).get("containers"):
            yield f"{place}.template.spec.containers: Required value: must define at least one container"
        replicas = spec.get("replicas", 1 if role == "Launcher" else 0)
        if role == "Launcher" and replicas != 1:
            yield _invalid(f"{place}.replicas", replicas, "must be 1")
        if role == "Worker" and replicas <= 0:
            yield _invalid(f"{place}.replicas", replicas, "must be greater than or equal to 1")


def _policy(job: Manifest) -> Iterator[str]:
    spec = job["spec"]
    policy = spec.get("runPolicy") or {}
    numbers = {"spec.slotsPerWorker": spec.get("slotsPerWorker")}
    numbers |= {
        f"spec.runPolicy.{key}": policy.get(key)
        for key in ("ttlSecondsAfterFinished", "activeDeadlineSeconds", "backoffLimit")
    }
    for place, number in numbers.items():
        if number is not None and number < 0:
            yield _invalid(place, number, "must be greater than or equal to 0")
    clean = policy.get("cleanPodPolicy")
    if clean is not None:
        yield from _supported("spec.runPolicy.cleanPodPolicy", clean, ("All", "None", "Running"))
    if policy.get("managedBy"):
        yield from _supported("spec.runPolicy.managedBy", policy["managedBy"], MANAGERS)
    implementation = spec.get("mpiImplementation") or "OpenMPI"
    yield from _supported("spec.mpiImplementation", implementation, ("Intel", "MPICH", "OpenMPI"))


def _supported(place: str, value: Any, values: Iterable[str]) -> Iterator[str]:
    if value not in values:
        listed = ", ".join(f'"{one}"' for one in values)
        yield f'{place}: Unsupported value: "{value}": supported values: {listed}'


def _invalid(place: str, value: Any, why: str) -> str:
    return f"{place}: Invalid value: {value}: {why}"
