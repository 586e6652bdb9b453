"""The Service of each predictor, as KServe's Standard mode makes it, for whoever routes to a predictor by name.

kserve pkg/controller/v1beta1/inferenceservice/reconcilers/service: named as the predictor's Deployment, port 80 leads
to the container's first port, and each further port keeps its number.
"""

from __future__ import annotations

from collections.abc import Sequence

from include.devcluster.controllers.client import ApiError
from include.devcluster.controllers.informer import Informer
from include.devcluster.controllers.objects import SERVICES, Manifest, is_controlled_by, is_deleting, key_of
from include.devcluster.controllers.predictors import APP_LABEL, SERVICE_LABEL, Predictor
from include.devcluster.controllers.reconciler import Controller

PORT = 80


def service_manifest(owner: Manifest, predictor: Predictor) -> Manifest:
    """The Service of one predictor."""
    given = predictor.template["spec"]["containers"][0].get("ports") or [{"name": predictor.workload}]
    numbers = [PORT, *(int(port["containerPort"]) for port in given[1:])]
    targets = [predictor.port, *numbers[1:]]
    ports = [_port(*each, len(given) > 1) for each in zip(given, numbers, targets, strict=True)]
    labels = {SERVICE_LABEL: owner["metadata"]["name"], "component": "predictor"}
    spec = {"selector": {APP_LABEL: f"isvc.{predictor.workload}"}, "ports": ports}
    return {"metadata": {"name": predictor.workload, "labels": labels}, "spec": spec}


def _port(container: Manifest, port: int, target: int, among_others: bool) -> Manifest:
    # Ports of one Service must have names; KServe takes the container's, which need none.
    name = container.get("name") or (f"port-{target}" if among_others else "")
    made = {"port": port, "targetPort": target, "protocol": container.get("protocol", "TCP")}
    is_grpc = any(word in name for word in ("grpc", "h2c"))
    return made | ({"name": name} if name else {}) | ({"appProtocol": "kubernetes.io/h2c"} if is_grpc else {})


async def expose(controller: Controller, owner: Manifest, predictors: Sequence[Predictor], services: Informer) -> None:
    """Bring the Services of an InferenceService in line with its predictors, which serve without them too."""
    namespace = key_of(owner)[0]
    wanted = {predictor.workload: service_manifest(owner, predictor) for predictor in predictors}
    for name, manifest in wanted.items():
        there = services.get((namespace, name))
        if there is not None and not is_controlled_by(there, owner):
            text = f'Service "{name}" already exists and is not managed by {owner["metadata"]["name"]}'
            await controller.event(owner, "Warning", "ErrResourceExists", f"{text}: delete or rename one of them")
        elif there is None or any(there["spec"].get(key) != manifest["spec"][key] for key in ("selector", "ports")):
            await _apply(controller, owner, manifest)
    for left in services:
        if is_controlled_by(left, owner) and left["metadata"]["name"] not in wanted and not is_deleting(left):
            await controller.api.delete(SERVICES, *key_of(left), uid=left["metadata"]["uid"])


async def _apply(controller: Controller, owner: Manifest, manifest: Manifest) -> None:
    try:
        await controller.apply_child(owner, SERVICES, manifest)
    except ApiError as error:
        if error.status != 422:
            raise
        # A pod may have a name that is none for a Service, such as one with a dot.
        await controller.event(owner, "Warning", "ServiceRefused", str(error))


def enqueue_owners(controller: Controller, service: Manifest) -> None:
    """Have the InferenceServices looked at that may ask for a Service of this name, whosever it is."""
    namespace, name = key_of(service)
    for owner in map(key_of, controller.owners):
        if owner[0] == namespace and name.startswith(f"{owner[1]}-"):
            controller.queue.add(owner)
