"""The parts that every pod of Podium has in common, as plain manifests.

Operators put them into pods, SparkApplications, MPIJobs and InferenceServices alike, so that the security
context, the platform's addresses and the credentials are the same everywhere.
"""

import os
from typing import TYPE_CHECKING, Any, Final

from podium.errors import UnknownImageError

if TYPE_CHECKING:
    from include.config.settings import Settings

CREDENTIALS_DIR: Final = "/etc/podium/credentials"
XCOM_PATH: Final = "/airflow/xcom/return.json"
CREDENTIALS_VOLUME: Final = "podium-credentials"

# A task that is ended frees its GPUs within seconds: jobs go on from checkpoints, none needs long to say goodbye.
GRACE_S: Final = 3

# The "restricted" Pod Security Standard: https://kubernetes.io/docs/concepts/security/pod-security-standards/
POD_SECURITY_CONTEXT: Final[dict[str, Any]] = {
    "runAsNonRoot": True,
    "runAsUser": 10001,
    "runAsGroup": 10001,
    "fsGroup": 10001,
    "seccompProfile": {"type": "RuntimeDefault"},
}
CONTAINER_SECURITY_CONTEXT: Final[dict[str, Any]] = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def image_reference(settings: "Settings", image: str) -> str:
    """The reference of an image by its name under `images`.

    :raises UnknownImageError: the settings do not have it.
    """
    if image not in settings.images:
        raise UnknownImageError(image, sorted(settings.images))
    return settings.images[image]


def environment(dag_id: str, run_id: str, image: str) -> list[dict[str, str]]:
    """What every container is told about itself: provenance, and where its credentials lie."""
    return [
        {"name": "PODIUM_DAG_ID", "value": dag_id},
        {"name": "PODIUM_RUN_ID", "value": run_id},
        {"name": "PODIUM_IMAGE", "value": image},
        {"name": "PODIUM_CODE_VERSION", "value": os.environ.get("PODIUM_CODE_VERSION", "unknown")},
        {"name": "PODIUM_CREDENTIALS_DIR", "value": CREDENTIALS_DIR},
    ]


def environment_from(settings: "Settings") -> list[dict[str, Any]]:
    """The platform's addresses, from its ConfigMap."""
    return [{"configMapRef": {"name": settings.kubernetes.platform_config_map}}]


def pod_spec(settings: "Settings", container: dict[str, Any], variables: list[dict[str, str]]) -> dict[str, Any]:
    """A pod with one container, as all of Podium's are: restricted, with addresses and credentials.

    :param container: its name, image, command and resources; wins over what is common.
    :param variables: its environment, beside the platform's addresses.
    """
    return {
        "serviceAccountName": settings.kubernetes.service_account,
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": GRACE_S,
        "securityContext": POD_SECURITY_CONTEXT,
        "volumes": [credentials_volume(settings)],
        "containers": [
            {
                "env": variables,
                "envFrom": environment_from(settings),
                "volumeMounts": [credentials_mount()],
                "securityContext": CONTAINER_SECURITY_CONTEXT,
                "terminationMessagePolicy": "FallbackToLogsOnError",
                **container,
            }
        ],
    }


def credentials_volume(settings: "Settings") -> dict[str, Any]:
    """The volume that holds the credentials: files, since environments show in process lists."""
    secret = {"secretName": settings.kubernetes.credentials_secret, "defaultMode": 0o440}
    return {"name": CREDENTIALS_VOLUME, "secret": secret}


def credentials_mount() -> dict[str, Any]:
    """Where `credentials_volume` is mounted."""
    return {"name": CREDENTIALS_VOLUME, "mountPath": CREDENTIALS_DIR, "readOnly": True}
