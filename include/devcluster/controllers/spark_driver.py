"""The driver pod of a SparkApplication, as spark-operator and Spark on Kubernetes would shape it."""

from __future__ import annotations

import math
import re
import uuid

from include.devcluster.controllers.objects import Manifest, merge, with_env

CONTAINER = "spark-kubernetes-driver"
SUBMISSION_LABEL = "sparkoperator.k8s.io/submission-id"
MIN_OVERHEAD_MIB = 384
MIB = {"k": 1 / 1024, "m": 1.0, "g": 1024.0, "t": 1024.0 * 1024}

# Where a field of the driver goes in the pod (kubeflow/spark-operator api/v1beta2, SparkPodSpec).
POD_FIELDS = {
    "affinity": "affinity",
    "dnsConfig": "dnsConfig",
    "hostAliases": "hostAliases",
    "initContainers": "initContainers",
    "nodeSelector": "nodeSelector",
    "podSecurityContext": "securityContext",
    "priorityClassName": "priorityClassName",
    "schedulerName": "schedulerName",
    "serviceAccount": "serviceAccountName",
    "terminationGracePeriodSeconds": "terminationGracePeriodSeconds",
    "tolerations": "tolerations",
}
CONTAINER_FIELDS = ("envFrom", "lifecycle", "ports", "securityContext")


def driver_pod(app: Manifest, submission_id: str) -> Manifest:
    """The pod for one submission. The driver's own fields win over ``driver.template``."""
    spec, driver = app["spec"], app["spec"]["driver"]
    template = driver.get("template") or {}
    pod_spec: Manifest = {**(template.get("spec") or {}), "restartPolicy": "Never"}
    if spec.get("nodeSelector"):
        pod_spec["nodeSelector"] = spec["nodeSelector"]
    pod_spec |= {target: driver[field] for field, target in POD_FIELDS.items() if driver.get(field) is not None}
    others = [c for c in pod_spec.get("containers") or [] if c.get("name") != CONTAINER]
    pod_spec["containers"] = [_container(app, pod_spec), *others, *(driver.get("sidecars") or [])]
    mounted, _ = _files(driver)
    pod_spec["volumes"] = [*(pod_spec.get("volumes") or []), *(spec.get("volumes") or []), *mounted]
    metadata = app["metadata"]
    labels = {
        **((template.get("metadata") or {}).get("labels") or {}),
        **(metadata.get("labels") or {}),
        **(driver.get("labels") or {}),
        "spark-app-name": metadata["name"],
        "spark-app-selector": f"spark-{uuid.UUID(submission_id).hex}",
        "spark-role": "driver",
        "spark-version": str(spec.get("sparkVersion", "")),
        "sparkoperator.k8s.io/app-name": metadata["name"],
        "sparkoperator.k8s.io/launched-by-spark-operator": "true",
        SUBMISSION_LABEL: submission_id,
    }
    name = driver.get("podName") or f"{metadata['name']}-driver"
    annotations = {**((template.get("metadata") or {}).get("annotations") or {}), **(driver.get("annotations") or {})}
    return {"metadata": {"name": name, "labels": labels, "annotations": annotations}, "spec": pod_spec}


def _container(app: Manifest, pod_spec: Manifest) -> Manifest:
    spec, driver = app["spec"], app["spec"]["driver"]
    named = [c for c in pod_spec.get("containers") or [] if c.get("name") == CONTAINER]
    container: Manifest = {
        **(named[0] if named else {}),
        "name": CONTAINER,
        "command": ["spark-submit"],
        "args": submit_arguments(app),
    }
    if image := driver.get("image") or spec.get("image"):
        container["image"] = image
    if spec.get("imagePullPolicy"):
        container["imagePullPolicy"] = spec["imagePullPolicy"]
    container |= {field: driver[field] for field in CONTAINER_FIELDS if driver.get(field)}
    _, mounts = _files(driver)
    container["volumeMounts"] = [*(container.get("volumeMounts") or []), *(driver.get("volumeMounts") or []), *mounts]
    container["resources"] = merge(container.get("resources") or {}, _resources(spec))
    # The address is known when the container starts, not when the pod is made.
    address = {"name": "SPARK_DRIVER_BIND_ADDRESS", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    plain = [{"name": k, "value": v} for k, v in (driver.get("envVars") or {}).items()]
    secret = [
        {"name": k, "valueFrom": {"secretKeyRef": {"name": v["name"], "key": v["key"]}}}
        for k, v in (driver.get("envSecretKeyRefs") or {}).items()
    ]
    container["env"] = [*(driver.get("env") or []), *(container.get("env") or [])]
    return with_env(container, [*plain, *secret, address])


def submit_arguments(app: Manifest) -> list[str]:
    """Arguments of spark-submit: local mode with as many threads as the driver has cores."""
    spec, driver = app["spec"], app["spec"]["driver"]
    arguments = ["--master", f"local[{int(driver.get('cores') or 1)}]", "--name", app["metadata"]["name"]]
    if spec.get("mainClass"):
        arguments += ["--class", spec["mainClass"]]
    if driver.get("memory"):
        arguments += ["--driver-memory", driver["memory"]]
    if driver.get("javaOptions"):
        arguments += ["--driver-java-options", driver["javaOptions"]]
    for option, field in (
        ("--jars", "jars"),
        ("--files", "files"),
        ("--py-files", "pyFiles"),
        ("--packages", "packages"),
    ):
        if (spec.get("deps") or {}).get(field):
            arguments += [option, ",".join(_local_path(entry) for entry in spec["deps"][field])]
    conf = {
        "spark.driver.bindAddress": "$(SPARK_DRIVER_BIND_ADDRESS)",
        "spark.driver.host": "$(SPARK_DRIVER_BIND_ADDRESS)",
        **{f"spark.hadoop.{key}": value for key, value in (spec.get("hadoopConf") or {}).items()},
        **(spec.get("sparkConf") or {}),
    }
    for key, value in sorted(conf.items()):
        arguments += ["--conf", f"{key}={value}"]
    return [*arguments, _local_path(spec["mainApplicationFile"]), *(str(a) for a in spec.get("arguments") or [])]


def _local_path(uri: str) -> str:
    return uri.removeprefix("local://")


def _files(driver: Manifest) -> tuple[list[Manifest], list[Manifest]]:
    """Volumes and mounts of ``driver.configMaps`` and ``driver.secrets``."""
    volumes: list[Manifest] = []
    mounts: list[Manifest] = []
    for entry in driver.get("configMaps") or []:
        volumes.append({"name": f"{entry['name']}-vol", "configMap": {"name": entry["name"]}})
        mounts.append({"name": f"{entry['name']}-vol", "mountPath": entry["path"]})
    for entry in driver.get("secrets") or []:
        volumes.append({"name": f"{entry['name']}-volume", "secret": {"secretName": entry["name"]}})
        mounts.append({"name": f"{entry['name']}-volume", "mountPath": entry["path"]})
    return volumes, mounts


def _resources(spec: Manifest) -> Manifest:
    driver = spec["driver"]
    requests = {"cpu": str(driver.get("coreRequest") or driver.get("cores") or 1), "memory": f"{memory_mib(spec)}Mi"}
    limits = {"memory": driver.get("memoryLimit") or f"{memory_mib(spec)}Mi"}
    if driver.get("coreLimit"):
        limits["cpu"] = str(driver["coreLimit"])
    if gpu := driver.get("gpu"):
        limits[gpu["name"]] = str(gpu["quantity"])
    return {"requests": requests, "limits": limits}


def memory_mib(spec: Manifest) -> int:
    """Heap plus overhead in MiB, by Spark's rule: a factor (0.1 for the JVM, 0.4 otherwise), at least 384 MiB."""
    heap = _mib(str(spec["driver"].get("memory") or "1g"))
    if spec["driver"].get("memoryOverhead"):
        return math.ceil(heap + _mib(str(spec["driver"]["memoryOverhead"])))
    default = "0.1" if spec.get("type") in ("Java", "Scala") else "0.4"
    return math.ceil(heap + max(MIN_OVERHEAD_MIB, heap * float(spec.get("memoryOverheadFactor") or default)))


def _mib(size: str) -> float:
    """A JVM size such as 512m, 2g or 4Gi in MiB; a bare number is MiB."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?", size.strip().lower())
    if match is None:
        raise ValueError(f"memory {size!r} is not a size: write it like 512m or 2g")
    return float(match[1]) * MIB[match[2] or "m"]
