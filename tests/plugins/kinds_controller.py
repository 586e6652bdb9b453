"""Moves TrainJobs, Experiments and Workflows as their controllers do, as far as a task can see: pods, then the status.

Kubeflow Trainer, Katib and Argo are not to be had on a bare machine. Names, labels and status are those of their API
types (kubeflow/trainer v1alpha1, kubeflow/katib v1beta1, argoproj/argo-workflows v1alpha1); the pods are real.
"""

import json
import logging
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import httpx
from podium.kinds import EXPERIMENT, TRAIN_JOB, WORKFLOW, Kind

from tests.plugins.cluster import Platform, wait_for

Object = dict[str, Any]
Pods = Mapping[str, Object]
log = logging.getLogger(__name__)
EVERY_S: Final = 0.1


@dataclass(frozen=True)
class Template:
    """A WorkflowTemplate of one step with one output parameter.

    :param command: of its container, for the workflow's arguments.
    :param output: name of the parameter.
    :param line: pattern of the line of the log whose first group is the parameter's value.
    """

    command: Callable[[Mapping[str, str]], list[str]]
    output: str
    line: str


def install(platform: Platform, kind: Kind) -> None:
    """Register the kind with the cluster, unless it is."""
    path = f"/apis/{kind.api_version}/namespaces/{platform.namespace}/{kind.plural}"
    if platform.api.get(path).status_code == 200:
        return
    version = {
        "name": kind.version,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
    }
    names = {"kind": kind.name, "listKind": f"{kind.name}List", "plural": kind.plural, "singular": kind.name.lower()}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{kind.group}"},
        "spec": {"group": kind.group, "scope": "Namespaced", "names": names, "versions": [version]},
    }
    platform.call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)
    wait_for(lambda: platform.api.get(path).status_code == 200, f"{kind.plural} to be served")


class Controllers:
    """All three kinds, reconciled every `EVERY_S` in a thread of their own.

    :param templates: the WorkflowTemplates that there are.
    """

    def __init__(self, platform: Platform, templates: Mapping[str, Template]) -> None:
        self._platform = platform
        self._steps: list[tuple[Kind, Callable[[Pods, Object], Object | None]]] = [
            (TRAIN_JOB, self._train_job),
            (EXPERIMENT, self._experiment),
            (WORKFLOW, partial(self._workflow, templates)),
        ]
        self._stop = threading.Event()
        self._error: Exception | None = None
        # Names of objects that are over, or will be in a moment.
        self.over: set[str] = set()

    def work(self) -> None:
        """Reconcile until the end."""
        while not self._stop.wait(EVERY_S):
            try:
                for kind, step in self._steps:
                    self._reconcile(kind, step)
            except httpx.HTTPError as error:
                log.warning("the cluster is away: %r", error)
            except Exception as error:
                self._error = error
                raise

    def end(self, thread: threading.Thread) -> None:
        """Stop.

        :raises Exception: what has ended the thread before.
        """
        self._stop.set()
        thread.join()
        if self._error is not None:
            raise self._error

    def _reconcile(self, kind: Kind, step: Callable[[Pods, Object], Object | None]) -> None:
        found = self._platform.objects(kind.group, kind.version, kind.plural).values()
        at_work = [
            obj for obj in found if not kind.judge(obj).phase.is_final and not obj["metadata"].get("deletionTimestamp")
        ]
        pods = self._platform.pods() if at_work else {}
        for obj in at_work:
            self._write(kind, obj, step(pods, obj))

    def _write(self, kind: Kind, obj: Object, status: Object | None) -> None:
        if status is None or status == obj.get("status"):
            return
        name = obj["metadata"]["name"]
        if kind.judge({**obj, "status": status}).phase.is_final:
            self.over.add(name)
        # The object may be gone by now, or have changed: the next round sees.
        self._platform.api.patch(
            f"/apis/{kind.api_version}/namespaces/{self._platform.namespace}/{kind.plural}/{name}/status",
            content=json.dumps({"status": status}),
            headers={"Content-Type": "application/merge-patch+json"},
        )

    def _phase(self, pods: Pods, obj: Object, suffix: str, labels: dict[str, str], spec: Object) -> str:
        """How the pod of this name is doing, which is made if it is not there."""
        name = _pod_name(obj, suffix)
        if name in pods:
            return str(pods[name]["status"]["phase"])
        owner = {"apiVersion": obj["apiVersion"], "kind": obj["kind"], "controller": True}
        owner |= {key: obj["metadata"][key] for key in ("name", "uid")}
        body = {"metadata": {"name": name, "labels": labels, "ownerReferences": [owner]}, "spec": spec}
        self._platform.api.post(f"/api/v1/namespaces/{self._platform.namespace}/pods", json=body)
        return "Pending"

    def _logged(self, pod: str, pattern: str) -> str:
        """The first group of a line of a pod's log.

        :raises httpx.HTTPStatusError: it cannot be read now.
        """
        answer = self._platform.api.get(f"/api/v1/namespaces/{self._platform.namespace}/pods/{pod}/log")
        match = re.search(pattern, answer.raise_for_status().text, flags=re.MULTILINE)
        assert match, answer.text
        return match[1]

    def _train_job(self, pods: Pods, job: Object) -> Object | None:
        name, trainer = job["metadata"]["name"], job["spec"]["trainer"]
        (patched,) = job["spec"]["runtimePatches"][0]["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
        patch = patched["template"]["spec"]["template"]["spec"]
        (node,) = patch.pop("containers")
        node |= {key: trainer[key] for key in ("image", "command", "env")} | {"resources": trainer["resourcesPerNode"]}
        phases = []
        for index in range(trainer["numNodes"]):
            labels = {
                "jobset.sigs.k8s.io/jobset-name": name,
                "jobset.sigs.k8s.io/replicatedjob-name": patched["name"],
                "batch.kubernetes.io/job-completion-index": str(index),
            }
            rank = {**node, "env": [*node["env"], {"name": "JOB_COMPLETION_INDEX", "value": str(index)}]}
            spec = {**patch, "containers": [rank], "restartPolicy": "Never"}
            phases.append(self._phase(pods, job, f"node-0-{index}", labels, spec))
        active = {"name": "node", "active": 1, "ready": 0, "succeeded": 0, "failed": 0, "suspended": 0}
        if "Failed" in phases:
            return {"conditions": [_condition("Failed", "JobsFailed", "jobset failed due to one or more job failures")]}
        if set(phases) == {"Succeeded"}:
            return {"conditions": [_condition("Complete", "JobsCompleted", "jobset completed successfully")]}
        return {"jobsStatus": [active]}

    def _experiment(self, pods: Pods, experiment: Object) -> Object | None:
        spec = experiment["spec"]
        template, objective = spec["trialTemplate"], spec["objective"]["objectiveMetricName"]
        (parameter,) = spec["parameters"]
        found: dict[str, dict[str, str]] = {}
        for number, value in enumerate(parameter["feasibleSpace"]["list"][: spec["maxTrialCount"]]):
            text = json.dumps(template["trialSpec"]["spec"]["template"])
            trial = json.loads(text.replace(f"${{trialParameters.{parameter['name']}}}", value))
            phase = self._phase(pods, experiment, f"trial-{number}", trial["metadata"]["labels"], trial["spec"])
            if phase == "Failed":
                failed = _condition("Failed", "ExperimentMaxFailedTrialsReached", "max failed trials reached")
                return {"conditions": [failed]}
            if phase != "Succeeded":
                return {"conditions": [_condition("Created", "ExperimentCreated"), _condition("Running", "Running")]}
            found[value] = {
                metric: self._logged(_pod_name(experiment, f"trial-{number}"), f"^{metric}=(.*)$")
                for metric in (objective, *spec["objective"]["additionalMetricNames"])
            }
        best = max(found, key=lambda value: float(found[value][objective]))
        metrics = [{"name": name, "latest": latest, "min": "", "max": ""} for name, latest in found[best].items()]
        optimal = {
            "bestTrialName": _pod_name(experiment, f"trial-{list(found).index(best)}"),
            "parameterAssignments": [{"name": parameter["name"], "value": best}],
            "observation": {"metrics": metrics},
        }
        done = _condition("Succeeded", "ExperimentMaxTrialsReached", "Experiment has succeeded")
        return {"conditions": [done], "currentOptimalTrial": optimal}

    def _workflow(self, templates: Mapping[str, Template], pods: Pods, workflow: Object) -> Object | None:
        arguments = {entry["name"]: entry["value"] for entry in workflow["spec"]["arguments"]["parameters"]}
        template = templates[workflow["spec"]["workflowTemplateRef"]["name"]]
        container = {"name": "main", "image": "podium/ingest:dev", "command": template.command(arguments)}
        spec: Object = {"containers": [container], "restartPolicy": "Never"}
        if "pool" in arguments:
            spec["nodeSelector"] = {"podium.dev/pool": arguments["pool"]}
        labels = {"workflows.argoproj.io/workflow": workflow["metadata"]["name"]}
        phase = self._phase(pods, workflow, "step-1", labels, spec)
        if phase == "Failed":
            return {"phase": "Failed", "message": "Error (exit code 1)"}
        if phase == "Succeeded":
            value = self._logged(_pod_name(workflow, "step-1"), template.line)
            return {"phase": "Succeeded", "outputs": {"parameters": [{"name": template.output, "value": value}]}}
        return {"phase": "Running"}


@contextmanager
def controllers(platform: Platform, templates: Mapping[str, Template]) -> Iterator[Controllers]:
    """All three kinds, reconciled until the end of the context."""
    for kind in (TRAIN_JOB, EXPERIMENT, WORKFLOW):
        install(platform, kind)
    running = Controllers(platform, templates)
    thread = threading.Thread(target=running.work, name="controllers")
    thread.start()
    try:
        yield running
    finally:
        running.end(thread)


def _pod_name(obj: Object, suffix: str) -> str:
    return f"{obj['metadata']['name']}-{suffix}"


def _condition(kind: str, reason: str, message: str = "") -> Object:
    return {"type": kind, "status": "True", "reason": reason, "message": message}
