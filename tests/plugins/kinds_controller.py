"""Moves TrainJobs, Experiments and Workflows as their controllers do, as far as a task can see: pods, then the status.

Kubeflow Trainer, Katib and Argo are not to be had on a bare machine. Names, labels and status are those of their API
types (kubeflow/trainer v1alpha1, kubeflow/katib v1beta1, argoproj/argo-workflows v1alpha1); the pods are real.
"""

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from podium.kinds import EXPERIMENT, TRAIN_JOB, WORKFLOW, Kind

from tests.plugins.cluster import Platform, wait_for

Object = dict[str, Any]


def install(platform: Platform, kind: Kind) -> None:
    """Register the kind with the cluster."""
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
    path = f"/apis/{kind.api_version}/namespaces/{platform.namespace}/{kind.plural}"
    wait_for(lambda: platform.api.get(path).status_code == 200, f"{kind.plural} to be served")


@contextmanager
def controllers(platform: Platform) -> Iterator[None]:
    """All three kinds, reconciled until the end of the context."""
    steps: list[tuple[Kind, Callable[[Platform, Object], Object | None]]] = [
        (TRAIN_JOB, _train_job),
        (EXPERIMENT, _experiment),
        (WORKFLOW, _workflow),
    ]
    for kind, _ in steps:
        install(platform, kind)
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(0.1):
            for kind, step in steps:
                for obj in platform.objects(kind.group, kind.version, kind.plural).values():
                    if not kind.judge(obj).phase.is_final and not obj["metadata"].get("deletionTimestamp"):
                        _write(platform, kind, obj, step(platform, obj))

    thread = threading.Thread(target=work)
    thread.start()
    yield
    stop.set()
    thread.join()


def _write(platform: Platform, kind: Kind, obj: Object, status: Object | None) -> None:
    if status is None or status == obj.get("status"):
        return
    path = f"/apis/{kind.api_version}/namespaces/{platform.namespace}/{kind.plural}/{obj['metadata']['name']}/status"
    # The object may be gone by now, or have changed: the next round sees.
    platform.api.patch(
        path, content=json.dumps({"status": status}), headers={"Content-Type": "application/merge-patch+json"}
    )


def _pod(platform: Platform, obj: Object, suffix: str, labels: dict[str, str], spec: Object) -> Object:
    """The pod of this name, made if it is not there."""
    name = f"{obj['metadata']['name']}-{suffix}"
    if name not in platform.pods():
        owner = {"apiVersion": obj["apiVersion"], "kind": obj["kind"], "controller": True}
        owner |= {key: obj["metadata"][key] for key in ("name", "uid")}
        body = {"metadata": {"name": name, "labels": labels, "ownerReferences": [owner]}, "spec": spec}
        platform.api.post(f"/api/v1/namespaces/{platform.namespace}/pods", json=body)
    return platform.pods().get(name, {"status": {"phase": "Pending"}})


def _condition(kind: str, reason: str, message: str = "") -> Object:
    return {"type": kind, "status": "True", "reason": reason, "message": message}


def _train_job(platform: Platform, job: Object) -> Object | None:
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
        phases.append(_pod(platform, job, f"node-0-{index}", labels, spec)["status"]["phase"])
    active = {"name": "node", "active": 1, "ready": 0, "succeeded": 0, "failed": 0, "suspended": 0}
    if "Failed" in phases:
        return {"conditions": [_condition("Failed", "JobsFailed", "jobset failed due to one or more job failures")]}
    if set(phases) == {"Succeeded"}:
        return {"conditions": [_condition("Complete", "JobsCompleted", "jobset completed successfully")]}
    return {"jobsStatus": [active]}


def _experiment(platform: Platform, experiment: Object) -> Object | None:
    spec, name = experiment["spec"], experiment["metadata"]["name"]
    template, metric = spec["trialTemplate"], spec["objective"]["objectiveMetricName"]
    (parameter,) = spec["parameters"]
    found: dict[str, float] = {}
    for number, value in enumerate(parameter["feasibleSpace"]["list"][: spec["maxTrialCount"]]):
        text = json.dumps(template["trialSpec"]["spec"]["template"])
        trial = json.loads(text.replace(f"${{trialParameters.{parameter['name']}}}", value))
        pod = _pod(platform, experiment, f"trial-{number}", trial["metadata"]["labels"], trial["spec"])
        if pod["status"]["phase"] == "Failed":
            return {
                "conditions": [_condition("Failed", "ExperimentMaxFailedTrialsReached", "max failed trials reached")]
            }
        if pod["status"]["phase"] != "Succeeded":
            return {"conditions": [_condition("Created", "ExperimentCreated"), _condition("Running", "Running")]}
        path = f"/api/v1/namespaces/{platform.namespace}/pods/{name}-trial-{number}/log"
        match = re.search(rf"^{metric}=(.*)$", platform.api.get(path).text, flags=re.MULTILINE)
        assert match
        found[value] = float(match[1])
    best = max(found, key=lambda value: found[value])
    observation = {"metrics": [{"name": metric, "latest": str(found[best]), "min": "", "max": ""}]}
    optimal = {
        "bestTrialName": f"{name}-trial-{list(found).index(best)}",
        "parameterAssignments": [{"name": parameter["name"], "value": best}],
        "observation": observation,
    }
    done = _condition("Succeeded", "ExperimentMaxTrialsReached", "Experiment has succeeded")
    return {"conditions": [done], "currentOptimalTrial": optimal}


def _workflow(platform: Platform, workflow: Object) -> Object | None:
    """The template `echo`: prints the parameter `say` and gives it out again; it fails when told so."""
    arguments = {entry["name"]: entry["value"] for entry in workflow["spec"]["arguments"]["parameters"]}
    assert workflow["spec"]["workflowTemplateRef"]["name"] == "echo"
    code = f"print({arguments['say']!r}); raise SystemExit({arguments['say']!r} == 'fail')"
    container = {"name": "main", "image": "podium/ingest:dev", "command": ["python", "-c", code]}
    labels = {"workflows.argoproj.io/workflow": workflow["metadata"]["name"]}
    pod = _pod(platform, workflow, "echo-1", labels, {"containers": [container], "restartPolicy": "Never"})
    if pod["status"]["phase"] == "Failed":
        return {"phase": "Failed", "message": "Error (exit code 1)"}
    if pod["status"]["phase"] == "Succeeded":
        return {"phase": "Succeeded", "outputs": {"parameters": [{"name": "said", "value": arguments["say"]}]}}
    return {"phase": "Running"}
