"""InferenceService (serving.kserve.io/v1beta1, Standard mode): predictor pods behind the gateway.

Only ready canaries get their share, the rest is the stable predictor's (KServe's applyCanaryWeights). The status is
written after the gateway has taken the configuration over: ``status.observedGeneration == metadata.generation`` means
that the weights in ``spec.canary`` are in force for every canary whose ``canaryStatuses[].ready`` is true.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Iterator, Mapping, Sequence

from include.devcluster.controllers.client import KubeApi
from include.devcluster.controllers.gateway import Endpoint, Service, service_url
from include.devcluster.controllers.gateway_contents import GatewayContents
from include.devcluster.controllers.informer import Informer
from include.devcluster.controllers.objects import (
    PODS,
    Manifest,
    Resource,
    has_condition,
    is_controlled_by,
    is_deleting,
    key_of,
    utc_now,
)
from include.devcluster.controllers.predictor_pods import orphans, sort_pods
from include.devcluster.controllers.predictor_services import enqueue_owners, expose
from include.devcluster.controllers.predictors import InvalidSpecError, Predictor, pod_manifest, predictors_of
from include.devcluster.controllers.reconciler import Controller, Key
from include.devcluster.controllers.serving_backends import backends_of, stand_in
from include.devcluster.controllers.serving_status import invalid_status, status_of

log = logging.getLogger(__name__)

INFERENCE_SERVICES = Resource("serving.kserve.io", "v1beta1", "inferenceservices", "InferenceService")
DRAIN_POLL_S = 0.5
IDLE_BEFORE_DELETE_S = 1.0
"""A drained pod must be idle this long: Envoy's threads take new routes over one after the other."""
LONGEST_DRAIN_S = 60.0


class InferenceServiceController(Controller):
    """Makes pods, moves the gateway, deletes what has drained."""

    resource = INFERENCE_SERVICES

    def __init__(
        self, api: KubeApi, owners: Informer, pods: Informer, services: Informer, gateway: GatewayContents, url: str
    ) -> None:
        super().__init__(api, owners, pods)
        services.subscribe(lambda service: enqueue_owners(self, service))
        self._services = services
        self._gateway = gateway
        gateway.serve_services(self._served)
        self._gateway_url = url
        self._leaving: dict[str, dt.datetime] = {}
        self._idle: dict[str, dt.datetime] = {}
        self._valid: dict[str, list[Predictor] | None] = {}

    async def run(self) -> None:
        """Work until cancelled."""
        # Routes of services that were deleted while no controller ran.
        await self._gateway.apply()
        await super().run()

    async def gone(self, key: Key) -> None:
        """Take the service's routes away; its pods go with it."""
        await self._gateway.apply()

    async def reconcile(self, owner: Manifest) -> float | None:
        """Pods, gateway, status, then what drains."""
        try:
            predictors = predictors_of(owner)
        except InvalidSpecError as error:
            await self._write_status(owner, invalid_status(owner, str(error), utc_now()))
            return None
        pods = self.pods_of(owner)
        sorted_pods = [sort_pods(predictor, pods) for predictor in predictors]
        for predictor, sorting in zip(predictors, sorted_pods, strict=True):
            for pod in sorting.dead:
                await self.delete_pod(pod)
            for name in sorting.missing:
                await self.create_child(owner, PODS, pod_manifest(owner, predictor, name))
        await expose(self, owner, predictors, self._services)
        await self._gateway.apply()
        url = service_url(self._gateway_url, *key_of(owner))
        await self._write_status(owner, status_of(owner, predictors, sorted_pods, url, utc_now()))
        leaving = [pod for sorting in sorted_pods for pod in sorting.draining] + orphans(predictors, pods)
        staying = stand_in(owner, predictors, pods)
        return await self._drain([pod for pod in leaving if pod not in staying and not is_deleting(pod)])

    def _served(self) -> Iterator[Service]:
        """All services as the gateway is to see them."""
        self._valid = {o["metadata"]["uid"]: self._valid.get(o["metadata"]["uid"]) for o in self.owners}
        for owner in self.owners:
            if not is_deleting(owner) and (valid := self._last_valid(owner)) is not None:
                pods = [pod for pod in self.pods if is_controlled_by(pod, owner)]
                yield Service(*key_of(owner), backends_of(owner, valid, pods))

    def _last_valid(self, owner: Manifest) -> list[Predictor] | None:
        """The service's predictors: those of its present spec, while that is invalid those of the last that was not."""
        try:
            self._valid[owner["metadata"]["uid"]] = predictors_of(owner)
        except InvalidSpecError:
            log.debug("InferenceService %s/%s: spec is invalid, keeping its routes", *key_of(owner))
        return self._valid.get(owner["metadata"]["uid"])

    async def _drain(self, pods: Sequence[Manifest]) -> float | None:
        """Delete pods that have nothing in flight any more; returns when to look again."""
        if not pods:
            return None
        active = await self._gateway.in_flight()
        now = dt.datetime.now(dt.UTC)  # with its fraction of a second
        for pod in pods:
            uid = pod["metadata"]["uid"]
            since = self._leaving.setdefault(uid, now)
            if _requests(pod, active) and (now - since).total_seconds() < LONGEST_DRAIN_S:
                self._idle.pop(uid, None)
                continue
            idle = self._idle.setdefault(uid, now)
            if active is None or (now - idle).total_seconds() >= IDLE_BEFORE_DELETE_S:
                await self.delete_pod(pod)
                self._leaving.pop(uid, None)
                self._idle.pop(uid, None)
        return DRAIN_POLL_S

    async def _write_status(self, owner: Manifest, status: Manifest) -> None:
        await self.update_status(owner, status)
        before = (owner.get("status") or {}).get("conditions") or []
        for condition in status["conditions"]:
            kind = condition["type"]
            if kind == "Ready" and has_condition(before, kind) != (condition["status"] == "True"):
                good = condition["status"] == "True"
                text = f"InferenceService [{owner['metadata']['name']}] is {'Ready' if good else 'no longer Ready'}"
                reason = "InferenceServiceReady" if good else "InferenceServiceNotReady"
                await self.event(
                    owner, "Normal" if good else "Warning", reason, f"{text} {condition.get('message', '')}"
                )


def _requests(pod: Manifest, active: Mapping[Endpoint, int] | None) -> int:
    address = (pod.get("status") or {}).get("podIP")
    return sum(count for endpoint, count in (active or {}).items() if endpoint.address == address)
