"""The predictor of an InferenceService: how one version of a model is served."""

from typing import TYPE_CHECKING, Any, Final

from podium import pod_parts
from podium.node_pools import place

if TYPE_CHECKING:
    from include.config.settings import Settings

PORT: Final = 8080

# A ServingRuntime of the cluster; KServe takes canaries of predictors with a model, not of bare containers.
RUNTIME: Final = "podium-model-server"
MODEL_FORMAT: Final = "podium"


def predictor_name(version: str | int) -> str:
    """The name of the predictor that serves a version: it stays the same when a canary is promoted."""
    return f"v{version}"


def predictor(
    settings: "Settings",
    *,
    model_name: str,
    version: str | int,
    image: str = "serving",
    node_pool: str = "general",
    cpu: str = "500m",
    memory: str = "1Gi",
    replicas: int = 1,
) -> dict[str, Any]:
    """The predictor's manifest.

    It depends on nothing but its arguments and the settings: whoever asks again for the same version gets the same
    pods, not new ones.

    :param settings: those of the environment.
    :param model_name: of the registered model; also its name in the prediction protocol.
    :param version: of the registered model.
    :param image: name under `images` in the settings.
    :param node_pool: name under `node_pools` in the settings.
    :param replicas: pods.
    """
    placement = place(settings, node_pool, cpu=cpu, memory=memory, replicas=replicas)
    model_uri = f"models:/{model_name}/{version}"
    command = [
        *("python", "-m", "include.jobs.serving"),
        *("--model-name", model_name),
        *("--model-uri", model_uri),
        *("--port", str(PORT)),
    ]
    probe = {
        "httpGet": {"path": f"/v1/models/{model_name}", "port": PORT},
        "periodSeconds": 1,
        # A busy node is no reason to take a server out of the traffic.
        "timeoutSeconds": 3,
        "failureThreshold": 3,
    }
    return {
        "name": predictor_name(version),
        "minReplicas": replicas,
        "serviceAccountName": settings.kubernetes.service_account,
        "automountServiceAccountToken": False,
        "nodeSelector": placement.node_selector,
        "tolerations": placement.tolerations,
        "securityContext": pod_parts.POD_SECURITY_CONTEXT,
        "volumes": [pod_parts.credentials_volume(settings)],
        "model": {
            "modelFormat": {"name": MODEL_FORMAT},
            "runtime": RUNTIME,
            # Without one KServe takes it for a server of many models, and adds an agent to it.
            "storageUri": model_uri,
            "image": pod_parts.image_reference(settings, image),
            "command": command,
            "env": [
                {"name": "PODIUM_CREDENTIALS_DIR", "value": pod_parts.CREDENTIALS_DIR},
                {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            ],
            "envFrom": pod_parts.environment_from(settings),
            "volumeMounts": [pod_parts.credentials_mount()],
            "ports": [{"containerPort": PORT, "protocol": "TCP"}],
            "readinessProbe": probe,
            "resources": placement.resources,
            "securityContext": pod_parts.CONTAINER_SECURITY_CONTEXT,
        },
    }
