"""Watches one step of a rollout until there is a verdict, or until the metrics are there that it needs."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from podium.errors import MetricsUnavailableError
from podium.hooks.connection import connect
from podium.kinds import INFERENCE_SERVICE
from podium.metrics import Counters, cluster_name, provider, read_async
from podium.rollout import Limits, Step, Verdict, Watch
from podium.supersession import lives_on


class RolloutTrigger(BaseTrigger):
    """What both triggers of a rollout share: where they look, and what happens when somebody ends the task.

    :param namespace: where the service is.
    :param service: the InferenceService.
    :param predictor: name of the canary's predictor.
    :param champion: name of the champion's.
    :param conn_id: the Kubernetes connection.
    :param metrics: name of the metrics provider.
    :param metrics_url: where it is.
    :param step: a Step as a dictionary.
    :param started: since when the step's time runs, seconds since the epoch.
    :param poll_seconds: how often to look.
    """

    def __init__(
        self,
        *,
        namespace: str,
        service: str,
        predictor: str,
        champion: str,
        conn_id: str,
        metrics: str,
        metrics_url: str,
        step: dict[str, Any],
        started: float,
        poll_seconds: float,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.arguments: dict[str, Any] = {
            "namespace": namespace,
            "service": service,
            "predictor": predictor,
            "champion": champion,
            "conn_id": conn_id,
            "metrics": metrics,
            "metrics_url": metrics_url,
            "step": step,
            "started": started,
            "poll_seconds": poll_seconds,
        }
        self.namespace, self.service, self.conn_id = namespace, service, conn_id
        self.canary = cluster_name(namespace, service, predictor)
        self.champion = cluster_name(namespace, service, champion)
        self.source = provider(metrics, metrics_url)
        self.step = Step(**step)
        self.started, self.poll_seconds = started, poll_seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """As Airflow stores it."""
        return (f"{type(self).__module__}.{type(self).__qualname__}", self.arguments)

    async def _read(self) -> tuple[Counters, Counters]:
        return await read_async(self.source, self.canary), await read_async(self.source, self.champion)

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

    def _elapsed(self) -> float:
        return time.time() - self.started

    def _is_over(self) -> bool:
        return self._elapsed() >= self.step.max_seconds


class MetricsTrigger(RolloutTrigger):
    """Fires once the metrics can be read that a step begins with, or when its time is over.

    The event: `readable`.
    """

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look until they can."""
        while True:
            try:
                await self._read()
            except MetricsUnavailableError as error:
                self.log.debug("%s", error)
                readable = False
            else:
                readable = True
            if readable or self._is_over():
                break
            await asyncio.sleep(self.poll_seconds)
        yield TriggerEvent({"readable": readable})  # type: ignore[no-untyped-call]


class RolloutStepTrigger(RolloutTrigger):
    """Fires once with the verdict on a step.

    The event: `verdict` (pass, fail), `reason`, `watch` (a Watch as JSON), `ended` (seconds since the epoch).

    All that it needs to go on after a restart of the triggerer is in its arguments: the step's counters start from
    those of `watch`, its clock from `started`. What was counted before the restart is then one stretch,
    compared as one block: the test has a little less to go on, and looks at that stretch a second time.

    :param limits: Limits as a dictionary.
    :param steps: how many the rollout has.
    :param watch: what was seen when the step's traffic came into force, as JSON.
    """

    def __init__(self, *, limits: dict[str, Any], steps: int, watch: dict[str, Any], **where: Any) -> None:
        super().__init__(**where)
        self.arguments |= {"limits": limits, "steps": steps, "watch": watch}
        self.watch = Watch.from_json(watch, Limits(**limits), steps)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look until there is a verdict, then fire once."""
        self.log.info("Watching %s at %d %% of the traffic", self.canary, self.step.traffic_percent)
        trouble = ""
        while True:
            verdict, reason = Verdict.WAIT, ""
            missing = await self._look()
            if missing and not trouble:
                self.log.warning(
                    "No data, so nothing is judged; the canary keeps its %d %% for at most %.0f s more: %s",
                    *(self.step.traffic_percent, max(0.0, self.step.max_seconds - self._elapsed()), missing),
                )
            elif trouble and not missing:
                self.log.info("There is data again")
            trouble = missing
            if not trouble:
                verdict, reason = self.watch.judge(self.step, self._elapsed())
            if verdict is not Verdict.WAIT or self._is_over():
                break
            await asyncio.sleep(self.poll_seconds)
        if verdict is Verdict.WAIT:
            verdict, reason = Verdict.FAIL, f"no data to judge by: {trouble}" if trouble else "no verdict in time"
        self.log.info("%s: %s", verdict, reason)
        yield TriggerEvent(  # type: ignore[no-untyped-call]
            {"verdict": verdict.value, "reason": reason, "watch": self.watch.to_json(), "ended": time.time()}
        )

    async def _look(self) -> str:
        """Take in what was counted since the last look; what is missing, if something is."""
        try:
            canary, champion = await self._read()
        except MetricsUnavailableError as error:
            return str(error)
        needed = {self.canary: canary} | ({} if self.step.is_last_of_all else {self.champion: champion})
        missing = [cluster for cluster, counters in needed.items() if not counters]
        if missing:
            return f"no series of {', '.join(missing)} at {getattr(self.source, 'url', self.source)}"
        self.watch.look(self.step, canary, champion)
        return ""
