"""Ends work that no task waits for any longer.

Usually whoever waits for work ends it when the task is ended: the operator in the worker, or the trigger. But a task
may be marked failed while nobody does: between its deferral and the trigger's start, while a triggerer is down, between
two attempts, after the last attempt's process was killed. So all work is looked through now and then. It says itself
whose it is, and Airflow's database says what has become of that task.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from podium.identity import TASK_LABEL, TaskInstanceLike
from podium.kinds import KINDS, Kind

if TYPE_CHECKING:
    from podium.hooks.custom_resource import CustomResourceHook

log = logging.getLogger(__name__)

# Several Airflows may share a namespace: each looks after its own work only.
AIRFLOW_LABEL: Final = "podium.dev/airflow"
OWNER_ANNOTATION: Final = "podium.dev/task-instance"
ENDED: Final = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})
OVER: Final = frozenset({"Succeeded", "Failed"})


class Owner(NamedTuple):
    """A task instance, as Airflow's database knows it."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int


class Standing(NamedTuple):
    """What has become of a task instance."""

    state: str | None
    max_tries: int


Standings = Callable[[Iterable[Owner]], dict[Owner, Standing]]


@dataclass(frozen=True)
class Work:
    """A pod or custom resource that is not over.

    :param kind: None for a pod.
    :param max_tries: the task instance's when it was made; clearing the task changes it.
    """

    kind: Kind | None
    name: str
    uid: str
    owner: Owner
    max_tries: int

    def is_abandoned(self, standing: Standing | None) -> bool:
        """Whether its task has ended, was cleared since, or is there no more."""
        return standing is None or standing.state in ENDED or standing.max_tries != self.max_tries


def instance() -> str:
    """A label value that tells this Airflow from others: from the address of its API."""
    from airflow.configuration import conf

    return hashlib.sha256(conf.get("api", "base_url", fallback="").encode()).hexdigest()[:10]


def marks(ti: TaskInstanceLike) -> tuple[dict[str, str], dict[str, str]]:
    """Labels and annotations by which work tells whose it is."""
    map_index = -1 if ti.map_index is None else ti.map_index
    owner = {**Owner(ti.dag_id, ti.run_id, ti.task_id, map_index)._asdict(), "max_tries": ti.max_tries}
    return {AIRFLOW_LABEL: instance()}, {OWNER_ANNOTATION: json.dumps(owner)}


def sweep(hook: "CustomResourceHook", standings: Standings) -> list[str]:
    """Delete all abandoned work of this Airflow; returns what it was, for people.

    :param standings: asks for task instances; those that are missing in its answer are not there.
    """
    found = list(_at_work(hook))
    known = standings({work.owner for work in found}) if found else {}
    ended = []
    for work in found:
        standing = known.get(work.owner)
        if work.is_abandoned(standing):
            hook.delete_exactly(work.kind, work.name, work.uid)
            state = "is gone" if standing is None else f"is {standing.state}"
            what = f"{work.kind.name if work.kind else 'pod'} {work.name}: {'.'.join(map(str, work.owner))} {state}"
            log.warning("Deleted abandoned %s", what)
            ended.append(what)
    return ended


def _at_work(hook: "CustomResourceHook") -> Iterable[Work]:
    selector = f"{TASK_LABEL},{AIRFLOW_LABEL}={instance()}"
    for pod in hook.find_pods(selector):
        # Those of custom resources go with them.
        if not pod["metadata"].get("ownerReferences") and (pod.get("status") or {}).get("phase") not in OVER:
            yield from _work(None, pod)
    for kind in KINDS.values():
        for found in hook.find_if_served(kind, selector):
            if not kind.judge(found).phase.is_final:
                yield from _work(kind, found)


def _work(kind: Kind | None, manifest: dict[str, Any]) -> Iterable[Work]:
    metadata = manifest["metadata"]
    if metadata.get("deletionTimestamp"):
        return
    try:
        owner = json.loads((metadata.get("annotations") or {})[OWNER_ANNOTATION])
        max_tries = int(owner.pop("max_tries"))
        yield Work(kind, metadata["name"], metadata["uid"], Owner(**owner), max_tries)
    except (KeyError, TypeError, ValueError):
        log.warning("%s %s does not say whose it is: left alone", kind.name if kind else "pod", metadata["name"])
