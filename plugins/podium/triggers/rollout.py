"""Watches one step of a rollout until there is a verdict."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from podium.errors import MetricsUnavailableError
from podium.hooks.connection import connect
from podium.kinds import INFERENCE_SERVICE
from podium.metrics import Sample, cluster_name, provider, read_async
from podium.rollout import Limits, Step, Verdict, judge
from podium.supersession import lives_on


class RolloutStepTrigger(BaseTrigger):
    """Fires once with the verdict on a step.

    The event: `verdict` (pass, fail), `reason`, `counted` (a Sample as JSON), `ended` (seconds since the epoch).

    All that it needs to go on after a restart of the triggerer is in its arguments: the step's counters start from
    `baseline`, its clock from `started`.

    :param namespace: where the service is.
    :param service: the InferenceService.
    :param predictor: name of the canary's predictor.
    :param conn_id: the Kubernetes connection.
    :param metrics: name of the metrics provider.
    :param metrics_url: where it is.
    :param step: a Step as a dictionary.
    :param limits: Limits as a dictionary.
    :param baseline: the canary's counters when the step's traffic came into force, as JSON.
    :param started: when that was, seconds since the epoch.
    :param poll_seconds: how often to look.
    """

    def __init__(
        self,
        *,
        namespace: str,
        service: str,
        predictor: str,
        conn_id: str,
        metrics: str,
        metrics_url: str,
        step: dict[str, Any],
        limits: dict[str, Any],
        baseline: dict[str, Any],
        started: float,
        poll_seconds: float,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.arguments: dict[str, Any] = {
            "namespace": namespace,
            "service": service,
            "predictor": predictor,
            "conn_id": conn_id,
            "metrics": metrics,
            "metrics_url": metrics_url,
            "step": step,
            "limits": limits,
            "baseline": baseline,
            "started": started,
            "poll_seconds": poll_seconds,
        }
        self.namespace, self.service, self.conn_id = namespace, service, conn_id
        self.cluster = cluster_name(namespace, service, predictor)
        self.source = provider(metrics, metrics_url)
        self.step, self.limits = Step(**step), Limits(**limits)
        self.baseline = Sample.from_json(baseline)
        self.started, self.poll_seconds = started, poll_seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """As Airflow stores it."""
        return (f"{type(self).__module__}.{type(self).__qualname__}", self.arguments)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look until there is a verdict, then fire once."""
        self.log.info("Watching %s at %d %% of the traffic", self.cluster, self.step.traffic_percent)
        counted, trouble = Sample(), ""
        while True:
            try:
                counted = (await read_async(self.source, self.cluster)).since(self.baseline)
                trouble = ""
            except MetricsUnavailableError as error:
                if not trouble:
                    self.log.warning("%s", error)
                trouble = str(error)
            verdict, reason = judge(self.step, self.limits, counted, time.time() - self.started)
            if trouble and verdict is Verdict.PASS:
                # What cannot be seen now may have gone wrong since the last look.
                verdict, reason = Verdict.WAIT, ""
            if verdict is not Verdict.WAIT or self._is_over():
                break
            await asyncio.sleep(self.poll_seconds)
        if verdict is Verdict.WAIT:
            verdict, reason = Verdict.FAIL, trouble or "no verdict in time"
        self.log.info("%s: %s", verdict, reason)
        yield TriggerEvent(  # type: ignore[no-untyped-call]
            {"verdict": verdict.value, "reason": reason, "counted": counted.to_json(), "ended": time.time()}
        )

    async def on_kill(self) -> None:
        """Somebody ended the task: the stable predictor serves alone again."""
        from kubernetes_asyncio.client import CustomObjectsApi

        if await lives_on(self.task_instance):
            return
        self.log.info("The rollout was ended: dropping the canary of %s/%s", self.namespace, self.service)
        async with connect(self.conn_id) as connection:
            # Its type stubs lack the content type.
            api: Any = CustomObjectsApi(connection)
            await api.patch_namespaced_custom_object(
                INFERENCE_SERVICE.group,
                INFERENCE_SERVICE.version,
                self.namespace,
                INFERENCE_SERVICE.plural,
                self.service,
                {"spec": {"canary": None}},
                _content_type="application/merge-patch+json",
            )

    def _is_over(self) -> bool:
        return time.time() - self.started >= self.step.max_seconds
