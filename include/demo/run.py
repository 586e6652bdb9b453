"""The course of the demonstration: produce, ingest, and watch the assets start all that follows."""

import contextlib
import datetime as dt
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
from rich.console import Console

from include.config import Settings
from include.config.platform import Endpoints
from include.demo.airflow_api import FINISHED, AirflowApi, AirflowApiError, DagRun, TaskInstance
from include.demo.cluster import SCRATCH, Cluster, PodFailedError
from include.demo.memory import PeakMemory
from include.demo.report import Outcome, write_report

REFERENCE = "ingest_reference"
INGEST = "ingest_transactions"
# In the order in which one starts the next.
PIPELINE = (INGEST, "build_features", "train_recommender", "rollout_recommender", "check_drift")
POLL_SECONDS = 1.0
HEARTBEAT_SECONDS = 10.0
START_PATIENCE_SECONDS = 180.0
TRAFFIC_POD = "demo-shoppers"


class DemoError(Exception):
    """The demonstration cannot go on; the text says what failed, why, and what to do."""


@dataclass(frozen=True)
class Options:
    """What the demonstration runs on.

    :param months: how many local months, from January 2017; 1 to 12.
    :param households: how many households; None takes them all.
    :param broken: how many broken records the shop slips in.
    :param requests_per_second: how often the shop asks for recommendations while a model rolls out.
    """

    months: int = 12
    households: int | None = None
    broken: int = 1000
    requests_per_second: int = 40


@dataclass
class Access:
    """How to reach the running platform.

    :param kubeconfig: the dev cluster's kubeconfig.
    :param airflow_url: address of Airflow.
    :param airflow_user: log-in name.
    :param airflow_password: its password.
    :param serving_header: file with the header that requests to the models must show.
    :param setup_s: seconds that set-up and start took before the demonstration proper.
    """

    kubeconfig: Path
    airflow_url: str
    airflow_user: str
    airflow_password: str = field(repr=False)
    serving_header: Path
    setup_s: float = 0.0


def add_months(day: dt.date, months: int) -> dt.date:
    """The first day of the month that lies so many months after a day."""
    count = day.year * 12 + day.month - 1 + months
    return dt.date(count // 12, count % 12 + 1, 1)


def month_bounds(day: dt.date, zone: ZoneInfo) -> tuple[dt.datetime, dt.datetime]:
    """Start (included) and end (excluded) of the local month that a day lies in."""
    first, following = add_months(day, 0), add_months(day, 1)
    return dt.datetime.combine(first, dt.time(), zone), dt.datetime.combine(following, dt.time(), zone)


def run(settings: Settings, home: Path, access: Access, output: Path, options: Options | None = None) -> None:
    """Run the whole pipeline on a running platform, and write `report.json` and `report.html` into `output`.

    :raises DemoError: when a run fails or does not start; the report is written all the same, with `ok` false.
    """
    options = options or Options()
    console = Console(soft_wrap=True)
    began = time.monotonic()
    outcome = Outcome(settings=settings, setup_s=access.setup_s, began=dt.datetime.now(dt.UTC))
    output.mkdir(parents=True, exist_ok=True)
    try:
        with (
            PeakMemory(home) as memory,
            Cluster(access.kubeconfig, settings) as cluster,
            AirflowApi(access.airflow_url, access.airflow_user, access.airflow_password) as airflow,
        ):
            outcome.at_rest_mib = memory.peak_mib
            try:
                _Demo(settings, options, console, cluster, airflow, outcome, access.serving_header).run()
            except (AirflowApiError, httpx.HTTPError) as error:
                raise DemoError(f"a service did not answer as it should: {error}. `make status` shows them") from error
            finally:
                outcome.peak_mib = memory.peak_mib
                outcome.wall_s = access.setup_s + time.monotonic() - began
    finally:
        write_report(outcome, access, output, console)


def own_runs(runs: Mapping[str, Sequence[DagRun]], began: dt.datetime) -> dict[str, list[DagRun]]:
    """Those of the pipeline's runs that belong to the demonstration that began then, by DAG.

    An interval that an earlier, interrupted demonstration had at work is not run again by the backfill: it counts when
    it has ended since. What that one started further on does not: each DAG's runs count from the last start of the DAG
    before it.
    """
    own: dict[str, list[DagRun]] = {}
    since = began
    for dag_id in PIPELINE:
        own[dag_id] = [run for run in runs[dag_id] if _last_moment(run, since) >= since]
        since = max([since, *(run.start for run in own[dag_id] if run.start)])
    return own


def _last_moment(run: DagRun, default: dt.datetime) -> dt.datetime:
    moments = [run.queued_at, run.start, run.end if run.dag_id == INGEST else None]
    return max(filter(None, moments), default=default)


class _Demo:
    """The steps of one demonstration."""

    def __init__(
        self,
        settings: Settings,
        options: Options,
        console: Console,
        cluster: Cluster,
        airflow: AirflowApi,
        outcome: Outcome,
        serving_header: Path,
    ) -> None:
        self._serving_header = serving_header
        self._settings, self._options, self._console = settings, options, console
        self._cluster, self._airflow, self._outcome = cluster, airflow, outcome
        self._topic = settings.ingest.transactions

    def run(self) -> None:
        self._produce()
        self._backfill()
        with contextlib.ExitStack() as traffic:
            self._watch(traffic)
            self._collect()
        self._ask_for_recommendations()
        self._outcome.ok = True

    def _say(self, text: str) -> None:
        self._console.print(f"[{dt.datetime.now().astimezone():%H:%M:%S}] {text}", markup=False, highlight=False)

    def _shop_arguments(self) -> list[str]:
        limits = ["--months", str(self._options.months)]
        if self._options.households is not None:
            limits += ["--households", str(self._options.households)]
        return limits

    def _topic_arguments(self) -> list[str]:
        return ["--topic", self._topic.topic, "--partitions", str(self._topic.partitions)]

    def _produce(self) -> None:
        self._say("the shop produces the year's events to Kafka; its products and households go to the lake")
        broken = ["--broken", str(self._options.broken)]
        try:
            self._cluster.start(
                "demo-produce", "shop", ["produce", *self._topic_arguments(), *broken, *self._shop_arguments()]
            )
            self._wait_for_dags()
            reference = self._airflow.trigger(REFERENCE)
            self._outcome.produced = self._cluster.result("demo-produce")
        except PodFailedError as error:
            raise DemoError(f"the simulated shop could not produce its events: {error}") from error
        self._say(f"in the topic: {self._outcome.produced['total']:,} events")
        self._outcome.reference = self._reference(reference)

    def _reference(self, run_id: str) -> dict[str, Any]:
        """What the run has written; the ingests' judgement needs it."""
        deadline = time.monotonic() + START_PATIENCE_SECONDS
        while True:
            run = self._airflow.run(REFERENCE, run_id)
            if run.state == "failed":
                raise DemoError(self._explain(run))
            if run.state == "success":
                result: dict[str, Any] = self._airflow.result(run, "write")
                return result
            if run.state == "queued" and time.monotonic() > deadline:
                raise DemoError(
                    f"Airflow has not started {REFERENCE} in {START_PATIENCE_SECONDS:.0f} s: see the scheduler's log "
                    "(`make status` names the folder)"
                )
            time.sleep(POLL_SECONDS)

    def _wait_for_dags(self) -> None:
        deadline = time.monotonic() + START_PATIENCE_SECONDS
        while missing := {REFERENCE, *PIPELINE} - self._airflow.dag_ids():
            if errors := self._airflow.import_errors():
                raise DemoError("Airflow cannot import a DAG file:\n  " + "\n  ".join(errors))
            if time.monotonic() > deadline:
                raise DemoError(
                    f"Airflow has not parsed {', '.join(sorted(missing))} in {START_PATIENCE_SECONDS:.0f} s: "
                    "see the dag-processor's log (`make status` names the folder)"
                )
            time.sleep(POLL_SECONDS)
        for dag_id in (REFERENCE, *PIPELINE):
            self._airflow.unpause(dag_id)

    def _backfill(self) -> None:
        zone = ZoneInfo(self._settings.ingest.timezone)
        first = self._topic.start_date
        start, _ = month_bounds(first, zone)
        end, _ = month_bounds(add_months(first, self._options.months - 1), zone)
        if cancelled := self._airflow.cancel_backfills(INGEST):
            self._say(f"{cancelled} backfill of an earlier, interrupted demonstration was cancelled")
        self._airflow.backfill(INGEST, start, end, self._topic.max_active_runs)
        self._say(f"backfill of ingest_transactions: {self._options.months} monthly intervals from {start:%Y-%m}")

    def _runs(self) -> dict[str, list[DagRun]]:
        """The runs of this demonstration, by DAG."""
        return own_runs({dag_id: self._airflow.runs(dag_id) for dag_id in PIPELINE}, self._outcome.began)

    def _watch(self, traffic: contextlib.ExitStack) -> None:
        """Wait until every DAG has ended well; send requests from the moment that there is a service to ask."""
        shopping = trained_by_hand = False
        progress = _Progress(self._console, self._say)
        last_change = time.monotonic()
        expected = dict.fromkeys(PIPELINE, 1) | {INGEST: self._options.months}
        with progress:
            while True:
                runs = self._runs()
                self._outcome.runs = [run for dag_id in PIPELINE for run in runs[dag_id]]
                if failed := [run for run in self._outcome.runs if run.state == "failed"]:
                    raise DemoError(self._explain(failed[0]))
                done = {dag_id: sum(run.state == "success" for run in runs[dag_id]) for dag_id in PIPELINE}
                if progress.update(runs, expected):
                    last_change = time.monotonic()
                if all(done[dag_id] >= expected[dag_id] for dag_id in PIPELINE):
                    return
                active = any(run.state not in FINISHED for run in self._outcome.runs)
                if not active and time.monotonic() - last_change > START_PATIENCE_SECONDS:
                    waiting = [dag_id for dag_id in PIPELINE if done[dag_id] < expected[dag_id]]
                    raise DemoError(
                        f"nothing runs, yet {', '.join(waiting)} has not ended: the asset that starts it was not "
                        "updated. See Assets in the Airflow UI, and the last task of the DAG before it."
                    )
                if not trained_by_hand and done["build_features"] and not runs["train_recommender"]:
                    trained_by_hand = self._train_unless_started(runs["build_features"])
                if not shopping and runs["rollout_recommender"]:
                    service = self._settings.rollout.inference_service
                    if self._cluster.inference_service_ready(service):
                        shopping = True
                        traffic.enter_context(self._cluster.running(TRAFFIC_POD, "shop", self._traffic_arguments()))
                        self._say("a model answers: the shop starts to ask it for recommendations")
                time.sleep(POLL_SECONDS)

    def _train_unless_started(self, builds: Sequence[DagRun]) -> bool:
        """Start the training where the features are those of an earlier demonstration, so that no event starts it."""
        announced = [task for run in builds for task in self._airflow.tasks(run) if task.task_id == "announce"]
        if any(task.state != "skipped" for task in announced):
            return False
        self._say("the features are as they were, so nothing follows by itself: the demonstration starts the training")
        self._airflow.trigger("train_recommender")
        return True

    def _predict_url(self, reach: Endpoints) -> str:
        namespace, service = self._settings.kubernetes.namespace, self._settings.rollout.inference_service
        model = self._settings.recommender.model_name
        return f"{reach.gateway_url}/serving/{namespace}/{service}/v1/models/{model}:predict"

    def _traffic_arguments(self) -> list[str]:
        url = self._predict_url(self._settings.reach_from_pods)
        arguments = ["traffic", "--url", url, "--rate", str(self._options.requests_per_second)]
        arguments += ["--out", f"{SCRATCH}/traffic.json"]
        return [*arguments, *self._shop_arguments()[2:]]

    def _explain(self, run: DagRun) -> str:
        tasks = [task for task in self._airflow.tasks(run) if task.state in ("failed", "upstream_failed")]
        lines = [f"{run.dag_id} {run.run_id} failed"]
        for task in tasks:
            if task.state == "failed":
                lines += [f"  task {task.task_id}, try {task.try_number}; its log ends:"]
                lines += [f"    {line}" for line in self._airflow.log_tail(task)]
        lines.append(f"  What to do stands in the DAG's docs (Airflow UI, {run.dag_id}, Docs), task by task.")
        return "\n".join(lines)

    def _results(self, dag_id: str, task_id: str) -> list[dict[str, Any]]:
        """What a task returned in each run that succeeded, in the order of their intervals."""
        runs = [run for run in self._outcome.runs if run.dag_id == dag_id and run.state == "success"]
        runs.sort(key=lambda run: run.data_interval_start or self._outcome.began)
        results = [self._airflow.result(run, task_id) for run in runs]
        if not results or not all(isinstance(result, dict) for result in results):
            raise DemoError(f"{dag_id} succeeded, but task {task_id} returned no result: see its log in Airflow")
        return results

    def _collect(self) -> None:
        outcome = self._outcome
        outcome.intervals = self._results(INGEST, "ingest")
        outcome.features = self._results("build_features", "build")[-1]
        outcome.training = self._results("train_recommender", "train")[-1]
        outcome.gate = self._results("rollout_recommender", "gate")[-1]
        outcome.rollout = self._results("rollout_recommender", "rollout")[-1]
        outcome.drift = self._results("check_drift", "check")[-1]
        outcome.events = self._airflow.asset_events(outcome.began)
        tasks: list[TaskInstance] = [task for run in outcome.runs for task in self._airflow.tasks(run)]
        outcome.tasks = tasks
        read = sum(row["read"] for row in outcome.intervals)
        kept = sum(row["accepted"] + row["quarantined"] + row["duplicates"] for row in outcome.intervals)
        if not outcome.produced["total"] == read == kept:
            raise DemoError(
                f"the counts do not add up: produced {outcome.produced['total']}, read {read}, "
                f"accepted + quarantined + duplicates {kept}. Compare the intervals in `ingest.intervals` of the "
                "report."
            )

    def _ask_for_recommendations(self) -> None:
        outcome, url = self._outcome, self._predict_url(self._settings.reach)
        body = {"instances": [{"household_id": 1228, "k": 5}]}
        name, _, value = self._serving_header.read_text().strip().partition(": ")
        answer = httpx.post(url, json=body, headers={name: value}, timeout=10.0)
        answer.raise_for_status()
        outcome.sample = answer.json()
        outcome.curl = (
            f"curl -s {url} -H 'Content-Type: application/json' -H @{shlex.quote(str(self._serving_header))} "
            """-d '{"instances": [{"household_id": 1228, "k": 5}]}'"""
        )


class _Progress:
    """Shows how far the DAGs are: a line at each change, and a sign of life in between."""

    def __init__(self, console: Console, say: Any) -> None:
        self._console, self._say = console, say
        self._last: dict[str, str] = {}
        self._spoke = time.monotonic()
        self._status = console.status("starting")

    def __enter__(self) -> None:
        self._status.start()

    def __exit__(self, *_: object) -> None:
        self._status.stop()

    def update(self, runs: dict[str, list[DagRun]], expected: dict[str, int]) -> bool:
        """Show the state; return whether anything has changed since the last call."""
        now = {dag_id: self._describe(rows, expected[dag_id]) for dag_id, rows in runs.items() if rows}
        changed = now != self._last
        for dag_id, text in self._changes(now):
            self._say(f"{dag_id}: {text}")
        summary = ", ".join(f"{dag_id} {text}" for dag_id, text in now.items())
        self._status.update(summary or "waiting for the first run")
        if changed:
            self._spoke = time.monotonic()
        elif not self._console.is_terminal and time.monotonic() - self._spoke > HEARTBEAT_SECONDS:
            self._say(f"… {summary}")
            self._spoke = time.monotonic()
        self._last = now
        return changed

    def _changes(self, now: dict[str, str]) -> Iterator[tuple[str, str]]:
        yield from ((dag_id, text) for dag_id, text in now.items() if self._last.get(dag_id) != text)

    @staticmethod
    def _describe(runs: list[DagRun], expected: int) -> str:
        done = sum(run.state == "success" for run in runs)
        if expected > 1:
            return f"{done} of {expected} intervals"
        return "done" if done else runs[0].state
