"""Children of an MPIJob: worker pods that hold, the config map with host file and remote shell, the launcher pod.

Names, labels and the order of things are those of kubeflow/mpi-operator (pkg/controller/mpi_job_controller.go). Two
things differ, and only inside the pods: workers are entered by ``pods/exec`` instead of ssh, and the host file holds
the workers' addresses instead of their service names (nothing resolves those on a laptop).
"""

from __future__ import annotations

import base64
import json
import posixpath
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from include.devcluster.controllers import kubexec
from include.devcluster.controllers.objects import Manifest, with_env

CONFIG_PATH = "/etc/mpi"
JOB_LABEL = "training.kubeflow.org/job-name"
ROLE_LABEL = "training.kubeflow.org/job-role"
INDEX_LABEL = "training.kubeflow.org/replica-index"
OPERATOR_LABEL = "training.kubeflow.org/operator-name"

#: What the operator takes for a role that names none.
RESTART_POLICIES = {"Launcher": "OnFailure", "Worker": "Never"}

# A shell as PID 1 that ends at once on SIGTERM: `sleep infinity` alone would ignore it and sit out the grace period.
HOLD = ["/bin/sh", "-c", "trap 'exit 0' TERM INT; while :; do sleep 3600 & wait $!; done"]
REMOTE_SHELL = f"""#!/bin/sh
# Remote shell of the launcher: kubexec.sh HOST COMMAND...
exec python3 {CONFIG_PATH}/kubexec.py "$@"
"""


def replicas(job: Manifest, role: str) -> Manifest:
    """The replica spec of "Launcher" or "Worker"; empty when the job has none."""
    return dict(job["spec"]["mpiReplicaSpecs"].get(role) or {})


def worker_count(job: Manifest) -> int:
    """How many workers the job asks for."""
    return int(replicas(job, "Worker").get("replicas") or 0)


def labels(job: Manifest, role: str) -> dict[str, str]:
    """The labels that a selector for "launcher" or "worker" pods of the job needs."""
    return {OPERATOR_LABEL: "mpi-operator", JOB_LABEL: job["metadata"]["name"], ROLE_LABEL: role}


def worker_pod(job: Manifest, index: int) -> Manifest:
    """A worker: its template, holding until it is deleted."""
    name = f"{job['metadata']['name']}-worker-{index}"
    manifest = _pod(job, "Worker", name, {INDEX_LABEL: str(index)})
    manifest["spec"]["restartPolicy"] = replicas(job, "Worker").get("restartPolicy") or RESTART_POLICIES["Worker"]
    main = manifest["spec"]["containers"][0]
    command = [*(main.get("command") or []), *(main.get("args") or [])]
    # Where ssh is used the command is sshd (the operator's default): here the ranks come by exec.
    if not command or posixpath.basename(command[0]) == "sshd":
        main = {**{key: value for key, value in main.items() if key != "args"}, "command": HOLD}
    main = with_env(main, [{"name": "K_MPI_JOB_ROLE", "value": "worker"}])
    manifest["spec"]["containers"][0] = main
    return manifest


def launcher_name(job: Manifest, attempt: int) -> str:
    """The name of the launcher of the n-th attempt (0 is the first)."""
    suffix = f"-{attempt}" if attempt else ""
    return f"{job['metadata']['name']}-launcher{suffix}"


def launcher_pod(job: Manifest, attempt: int, with_credentials: bool) -> Manifest:
    """The launcher of the n-th attempt (0 is the first), with the config map under /etc/mpi."""
    name = job["metadata"]["name"]
    manifest = _pod(job, "Launcher", launcher_name(job, attempt), {})
    # Retries are new pods, counted against backoffLimit: a restart in place would lose the log of the failure.
    manifest["spec"]["restartPolicy"] = "Never"
    slots = str(job["spec"].get("slotsPerWorker") or 1)
    variables = [
        {"name": "K_MPI_JOB_ROLE", "value": "launcher"},
        {"name": "OMPI_MCA_plm_rsh_agent", "value": f"{CONFIG_PATH}/kubexec.sh"},
        {"name": "OMPI_MCA_orte_keep_fqdn_hostnames", "value": "true"},
        {"name": "OMPI_MCA_orte_default_hostfile", "value": f"{CONFIG_PATH}/hostfile"},
        {"name": "OMPI_MCA_orte_set_default_slots", "value": slots},
        # horovodrun's default of 30 s for reaching all hosts is short for a laptop that is busy.
        {"name": "HOROVOD_START_TIMEOUT", "value": "180"},
    ]
    volumes: list[Manifest] = [
        {"name": "mpi-job-config", "configMap": {"name": f"{name}-config", "defaultMode": 0o555}},
    ]
    mounts: list[Manifest] = [{"name": "mpi-job-config", "mountPath": CONFIG_PATH}]
    if with_credentials:
        volumes.append({"name": "mpi-job-credentials", "secret": {"secretName": f"{name}-launcher"}})
        mounts.append({"name": "mpi-job-credentials", "mountPath": kubexec.CREDENTIALS, "readOnly": True})
    main = with_env(manifest["spec"]["containers"][0], variables)
    # The last log lines become the container's termination message, and that the reason in the job's condition.
    main = {"terminationMessagePolicy": "FallbackToLogsOnError", **main}
    manifest["spec"]["containers"][0] = {**main, "volumeMounts": [*(main.get("volumeMounts") or []), *mounts]}
    manifest["spec"]["volumes"] = [*(manifest["spec"].get("volumes") or []), *volumes]
    return manifest


def config_map(job: Manifest, workers: Sequence[Manifest]) -> Manifest:
    """Host file and remote shell, for workers that have their address."""
    slots = int(job["spec"].get("slotsPerWorker") or 1)
    addresses = {str(pod["status"]["podIP"]): str(pod["metadata"]["name"]) for pod in workers}
    hosts: dict[str, Any] = {
        "namespace": job["metadata"]["namespace"],
        "container": replicas(job, "Worker")["template"]["spec"]["containers"][0]["name"],
        "pods": addresses,
    }
    data = {
        # horovodrun takes "HOST slots=N" lines only: no comment, no blank line.
        "hostfile": "".join(f"{address} slots={slots}\n" for address in addresses),
        "discover_hosts.sh": "#!/bin/sh\n" + "".join(f"echo {address}\n" for address in addresses),
        "hosts.json": json.dumps(hosts, indent=1),
        "kubexec.sh": REMOTE_SHELL,
        "kubexec.py": Path(kubexec.__file__).read_text(encoding="utf-8"),
    }
    name = job["metadata"]["name"]
    return {"metadata": {"name": f"{name}-config", "labels": {"app": name}}, "data": data}


def credentials_secret(job: Manifest, server: str, token: str, ca_pem: str) -> Manifest:
    """What the launcher needs to call the API where pods get no service account token."""
    name = job["metadata"]["name"]
    values = {"server": server, "token": token, "ca.crt": ca_pem}
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    return {"metadata": {"name": f"{name}-launcher", "labels": {"app": name}}, "type": "Opaque", "data": data}


def _pod(job: Manifest, role: str, name: str, extra: dict[str, str]) -> Manifest:
    template = replicas(job, role)["template"]
    metadata = template.get("metadata") or {}
    own = {**(metadata.get("labels") or {}), **labels(job, role.lower()), **extra}
    spec = {**template["spec"], "hostname": name, "subdomain": job["metadata"]["name"]}
    spec["containers"] = list(spec["containers"])
    return {"metadata": {"name": name, "labels": own, "annotations": metadata.get("annotations") or {}}, "spec": spec}
