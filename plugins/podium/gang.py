"""Work whose pods all have to live until it is over, and whose controller does not look after that.

The mpi-operator judges a job by its launcher alone (pkg/controller/mpi_job_controller.go): a worker that ends before
there is a launcher is waited for in vain, and one that is lost later has to be noticed by the launcher, which may hang.
Therefore whoever waits for the job looks at the pods too.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Manifest = Mapping[str, Any]


@dataclass(frozen=True)
class Gang:
    """Which pods of an object have to live.

    :param label: of a pod, which holds its role.
    :param member: the role of the pods that have to live until the work is over.
    :param lead: the role of the pod that tells how the work ends.
    """

    label: str
    member: str
    lead: str

    def lost(self, pods: Iterable[Manifest]) -> "Loss | None":
        """What is lost of the gang; None when it is whole, or its lead has succeeded.

        :param pods: manifests with status.
        """
        roles: dict[str, list[Manifest]] = {self.member: [], self.lead: []}
        for pod in pods:
            role = (pod["metadata"].get("labels") or {}).get(self.label, "")
            if role in roles and not pod["metadata"].get("deletionTimestamp"):
                roles[role].append(pod)
        leads = roles[self.lead]
        if any(_phase(pod) == "Succeeded" for pod in leads):
            return None
        # One that was deleted under the lead is made anew, without the rank that it had run.
        begun = min((start for pod in leads if _phase(pod) == "Running" and (start := _started(pod))), default=None)
        gone = [
            pod["metadata"]["name"]
            for pod in roles[self.member]
            if _phase(pod) in ("Failed", "Succeeded") or (begun and str(pod["metadata"]["creationTimestamp"]) > begun)
        ]
        return Loss(tuple(sorted(gone)), bool(leads)) if gone else None


@dataclass(frozen=True)
class Loss:
    """Members that are no more.

    :param members: names of their pods.
    :param is_led: whether there is a lead, which may notice by itself.
    """

    members: Sequence[str]
    is_led: bool


def _phase(pod: Manifest) -> str:
    return str((pod.get("status") or {}).get("phase"))


def _started(pod: Manifest) -> str:
    return str((pod.get("status") or {}).get("startTime") or "")
