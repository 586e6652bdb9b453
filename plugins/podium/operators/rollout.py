"""A canary that promotes itself or takes itself back."""

import datetime as dt
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowSkipException

from podium.collected import identify
from podium.errors import MetricsUnavailableError, RolledBackError, RolloutFailedError
from podium.hooks.inference_service import InferenceServiceHook
from podium.hooks.mlflow import ModelRegistryHook
from podium.kinds import INFERENCE_SERVICE, Phase
from podium.lineage import ReportsDatasets, model, service
from podium.metrics import Counters, cluster_name, provider, read
from podium.platform import settings
from podium.predictors import predictor
from podium.rollout import Limits, Outcome, State, Step, Verdict, Watch
from podium.supersession import was_killed
from podium.triggers.custom_resource import CustomResourceTrigger
from podium.triggers.rollout import MetricsTrigger, RolloutStepTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context

CHAMPION: Final = "champion"
# Set at registration: the published view of the features that a version serves from.
FEATURE_VIEW_TAG: Final = "podium.feature_view"
CANARY_READY: Final = "CanaryPredictorReady"


class RolloutOperator(ReportsDatasets, BaseOperator):
    """Brings a version of a model to production in steps, or takes it back.

    The steps and limits are those of `rollout` in the settings. Where the rollout stands is kept in a ConfigMap owned
    by the InferenceService: a retry, another worker, or the task when it is cleared, goes on from there. A step begins
    when the metrics can be read, and without data nothing is judged: the share that is in force stays while the step's
    time lasts, then the canary is taken back. When all steps have passed, the canary
    becomes the stable predictor without a restart and the alias `champion` moves to its version; when one fails, the
    canary loses its traffic and goes. The record of all this is the task's result; rolling back is a result too.

    :param service: name of the InferenceService; it exists and is ready.
    :param model_name: of the registered model.
    :param version: to roll out, templated.
    :param serving: further arguments of `podium.predictors.predictor`.
    :param ready_within_s: how long the canary may take to start.
    """

    template_fields: Sequence[str] = ("version",)

    def __init__(
        self,
        *,
        service: str,
        model_name: str,
        version: str,
        serving: dict[str, Any] | None = None,
        ready_within_s: float = 600,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.service = service
        self.model_name = model_name
        self.version = version
        self.serving = dict(serving or {})
        self.ready_within_s = ready_within_s
        self._ti: Any = None
        platform = settings()
        self.namespace = platform.kubernetes.namespace
        self.conn_id = platform.kubernetes.connection_id
        self.steps = [Step(step.traffic_percent, step.min_seconds, step.max_seconds) for step in platform.rollout.steps]
        self.limits = Limits(
            platform.rollout.max_error_rate,
            platform.rollout.max_p99_ms,
            platform.rollout.min_requests,
            platform.rollout.alpha,
        )

    def execute(self, context: "Context") -> Any:
        """Begin, or go on where an earlier attempt was.

        :raises RolloutFailedError: it cannot be carried out.
        """
        self._ti = context["ti"]
        state = self._resume_or_begin(context)
        if state.closed:
            self.log.info("Version %s: %s, %s", state.version, state.outcome, state.reason)
            return self._report(state)
        if state.outcome is Outcome.ROLLED_BACK:
            return self._roll_back(state, state.reason)
        if state.step < 0:
            return self._start_canary(state)
        return self._run_step(state)

    def resume_ready(self, context: "Context", event: dict[str, Any]) -> Any:
        """The canary is up, or it is not going to be."""
        self._ti = context["ti"]
        state = self._state()
        if event["status"] != Phase.SUCCEEDED:
            reason = f"the canary did not become ready within {self.ready_within_s:.0f} s"
            self.log.warning("%s\n%s", reason, self._hook().explain(INFERENCE_SERVICE, self.service))
            return self._roll_back(state, reason)
        state.begin_step(0)
        self._hook().save_state(self.service, state)
        return self._run_step(state)

    def resume_step(self, context: "Context", event: dict[str, Any]) -> Any:
        """There is a verdict on the present step."""
        self._ti = context["ti"]
        state = self._state()
        step = self.steps[state.step]
        verdict, reason = Verdict(event["verdict"]), event["reason"]
        self.log.info("Step %d, %d %% of the traffic: %s, %s", state.step, step.traffic_percent, verdict, reason)
        ended = dt.datetime.fromtimestamp(event["ended"], dt.UTC)
        state.end_step(step, verdict, reason, self._watch(event["watch"]), ended)
        if verdict is Verdict.FAIL:
            return self._roll_back(state, f"at {step.traffic_percent} % of the traffic: {reason}")
        state.begin_step(state.step + 1)
        self._hook().save_state(self.service, state)
        return self._run_step(state)

    def resume_metrics(self, context: "Context", event: dict[str, Any]) -> Any:
        """The metrics can be read again, or the step's time is over."""
        self._ti = context["ti"]
        state = self._state()
        if not event["readable"]:
            share = self.steps[state.step].traffic_percent
            return self._roll_back(state, f"before {share} % of the traffic: no data to judge by in its time")
        return self._run_step(state)

    def on_kill(self) -> None:
        """Take the canary back, if it was this attempt that was killed."""
        if self._ti is not None and was_killed(self._ti):
            self.log.info("The rollout was ended: dropping the canary of %s", self.service)
            self._hook().drop_canary(self.service)

    def _resume_or_begin(self, context: "Context") -> State:
        hook = self._hook()
        owner = identify(context, self.retries or 0).name
        state = hook.load_state(self.service)
        if state is not None and state.owner == owner:
            self.log.info("Going on with the rollout of version %s at step %d", state.version, state.step)
            return state
        run = context["ti"].run_id
        spec = hook.get(self.service)["spec"]
        if state is not None and self._can_go_on(state, spec, run):
            self.log.info("The task was cleared: going on with version %s at step %d", state.version, state.step)
            state.owner = owner
            hook.save_state(self.service, state)
            return state
        stable = spec["predictor"].get("name", "")
        state = State(owner, str(self.version), self._predictor()["name"], stable, run=run)
        if stable == state.canary:
            state.outcome, state.reason = Outcome.UNCHANGED, f"version {self.version} serves already"
            state.closed = True
        hook.save_state(self.service, state)
        return state

    def _can_go_on(self, state: State, spec: dict[str, Any], run: str) -> bool:
        """Whether an earlier task has left this version's rollout where it can be gone on with.

        One whose canary was dropped, as when a running task is cleared, can only begin again; unless all that was left
        to do was to promote it, or to finish taking it back. What this run has promoted stays its doing, or nobody
        would be told of the new champion.
        """
        if state.version != str(self.version):
            return False
        if state.closed:
            return state.outcome is Outcome.PROMOTED and state.run == run
        if state.outcome is not None or state.step >= len(self.steps):
            return True
        return state.canary in [entry["predictor"].get("name") for entry in spec.get("canary") or ()]

    def _start_canary(self, state: State) -> Any:
        hook = self._hook()
        self.log.info("Starting %s beside %s", state.canary, state.stable)
        current = hook.set_canary(self.service, self._predictor(), 0)
        self.defer(
            trigger=CustomResourceTrigger(
                kind=INFERENCE_SERVICE.name,
                namespace=self.namespace,
                name=self.service,
                uid=current["metadata"]["uid"],
                conn_id=self.conn_id,
                deadline=time.time() + self.ready_within_s,
                condition=CANARY_READY,
                delete_on_kill=False,
            ).deferred(),
            method_name="resume_ready",
        )

    def _run_step(self, state: State) -> Any:
        """Bring the present step's traffic into force and watch it; promote when there is no step left."""
        if state.step >= len(self.steps):
            return self._promote(state)
        step, hook = self.steps[state.step], self._hook()
        if not state.started:
            try:
                canary, champion = self._read(state.canary), self._read(state.stable)
            except MetricsUnavailableError as error:
                self._await_metrics(state, step, error)
            # Before the share changes: what the first look finds is all of this step.
            watch = self._watch(state.watch)
            watch.begin(canary, champion)
            hook.wait_until_in_force(hook.set_canary(self.service, self._predictor(), step.traffic_percent))
            state.watch = watch.to_json()
            state.started, state.waiting = _now(), ""
            hook.save_state(self.service, state)
        self.defer(
            trigger=RolloutStepTrigger(
                **self._where(state, step, state.started),
                limits=asdict(self.limits),
                steps=len(self.steps),
                watch=state.watch,
            ),
            method_name="resume_step",
        )

    def _await_metrics(self, state: State, step: Step, error: MetricsUnavailableError) -> None:
        """Wait with the share that is in force, for as long as the step may take."""
        if not state.waiting:
            self.log.warning("No data, so the step to %d %% does not begin yet: %s", step.traffic_percent, error)
            state.waiting = _now()
            self._hook().save_state(self.service, state)
        self.defer(trigger=MetricsTrigger(**self._where(state, step, state.waiting)), method_name="resume_metrics")

    def _where(self, state: State, step: Step, started: str) -> dict[str, Any]:
        platform = settings()
        return {
            "namespace": self.namespace,
            "service": self.service,
            "predictor": state.canary,
            "champion": state.stable,
            "conn_id": self.conn_id,
            "metrics": platform.rollout.metrics,
            "metrics_url": platform.reach.metrics_url,
            "step": asdict(step),
            "started": dt.datetime.fromisoformat(started).timestamp(),
            "poll_seconds": platform.rollout.poll_seconds,
        }

    def _promote(self, state: State) -> Any:
        hook = self._hook()
        if hook.get(self.service)["spec"]["predictor"].get("name") != state.canary:
            hook.wait_until_in_force(hook.replace_predictor(self.service, self._predictor()))
        self._registry().set_alias(self.model_name, CHAMPION, state.version)
        state.outcome, state.reason = Outcome.PROMOTED, f"all {len(self.steps)} steps passed"
        return self._close(state)

    def _roll_back(self, state: State, reason: str) -> Any:
        hook = self._hook()
        # Decided once: a successor of this attempt does not judge the step again.
        state.outcome, state.reason = Outcome.ROLLED_BACK, reason
        hook.save_state(self.service, state)
        # Traffic first: a pod that is deleted together with its route may still be sent a request.
        if hook.get(self.service)["spec"].get("canary"):
            hook.wait_until_in_force(hook.set_canary(self.service, self._predictor(), 0))
        hook.drop_canary(self.service)
        return self._close(state)

    def _close(self, state: State) -> dict[str, Any]:
        state.closed = True
        self._hook().save_state(self.service, state)
        self.log.info("Rollout of version %s: %s, %s", state.version, state.outcome, state.reason)
        return self._report(state)

    def _report(self, state: State) -> dict[str, Any]:
        """The record; for lineage, what serves in the end."""
        serves = state.stable if state.outcome is Outcome.ROLLED_BACK else state.canary
        self.report([model(self.model_name, state.version)], [service(self.service, serves.removeprefix("v"))])
        return state.record()

    def _state(self) -> State:
        state = self._hook().load_state(self.service)
        if state is None:
            raise RolloutFailedError(
                f"The ConfigMap of {self.service}'s rollout is gone: clear the task to begin again."
            )
        return state

    def _watch(self, data: dict[str, Any]) -> Watch:
        return Watch.from_json(data, self.limits, len(self.steps))

    def _read(self, name: str) -> Counters:
        platform = settings()
        source = provider(platform.rollout.metrics, platform.reach.metrics_url)
        return read(source, cluster_name(self.namespace, self.service, name))

    def _predictor(self) -> dict[str, Any]:
        return predictor(settings(), model_name=self.model_name, version=self.version, **self.serving)

    def _registry(self) -> ModelRegistryHook:
        return ModelRegistryHook.of_settings()

    def _hook(self) -> InferenceServiceHook:
        return InferenceServiceHook(self.namespace, conn_id=self.conn_id)


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")


class RecordRolloutOperator(ReportsDatasets, BaseOperator):
    """Writes a rollout's outcome to the model's version, and announces a new champion.

    A rollout that took itself back ends the run as failed: nothing is broken, but somebody should know. One that had
    nothing to do is skipped.

    :param rollout: the record that RolloutOperator returned, templated.
    :param model_name: of the registered model.
    :param outlets: the asset of the champion; its event's extra is the record, with the view of the features that it
        serves from.
    """

    template_fields: Sequence[str] = ("rollout",)

    def __init__(self, *, rollout: Any, model_name: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rollout = rollout
        self.model_name = model_name

    def execute(self, context: "Context") -> Any:
        """Write, announce, or fail.

        :raises RolledBackError: the rollout took itself back.
        """
        record: dict[str, Any] = self.rollout
        registry = ModelRegistryHook.of_settings()
        version = str(record["version"])
        tags = {"outcome": record["outcome"], "reason": record["reason"], "run_id": context["run_id"]}
        for key, value in tags.items():
            registry.set_tag(self.model_name, version, f"rollout.{key}", value)
        self.report(outputs=[model(self.model_name, version)])
        if record["outcome"] == Outcome.UNCHANGED:
            raise AirflowSkipException(record["reason"])
        if record["outcome"] == Outcome.ROLLED_BACK:
            raise RolledBackError(self.model_name, version, record["replaced"], record["reason"])
        for outlet in self.outlets:
            context["outlet_events"][outlet].extra = {
                **{key: record[key] for key in ("outcome", "version", "requests", "failed", "p99_ms")},
                "feature_view": registry.tag(self.model_name, version, FEATURE_VIEW_TAG),
            }
        return record["outcome"]
