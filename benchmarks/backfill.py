"""A year's backfill, day by day, through Airflow, against one process that ingests the same days.

The runs are monthly and do their days in one pod, each judged by Great Expectations and published in a commit of its
own (`unit: day`). The process reads, checks and stages the same days, one commit each, and does nothing else: what the
backfill takes beyond it, judging and publishing included, is overhead. Both have tables of their own, new ones.
"""

import datetime as dt
import json
import time
from zoneinfo import ZoneInfo

from benchmarks import airflows
from benchmarks.ingest import SOURCE, drop_tables
from include.config.pipeline import IngestTopic
from include.demo.airflow_api import FINISHED, AirflowApi, DagRun
from include.demo.cluster import Cluster
from include.stack.service import Platform

NAME = "bench"
DAG_ID = f"ingest_{NAME}"
BACKFILLED = "bench.backfilled"
ALONE = "bench.alone"
POD = "bench-days"
FIRST, LAST, AFTER = dt.date(2017, 1, 1), dt.date(2017, 12, 1), dt.date(2018, 1, 1)
DAYS = (AFTER - FIRST).days
#: As the runbook has it.
RUNS_AT_ONCE = 3
POLL_S = 0.5


def measure(platform: Platform, cluster: Cluster) -> dict[str, float]:
    """Seconds of both, and the overhead a day.

    The topic `SOURCE` must hold the year's events. The process's seconds are its own, its start included; those of the
    backfill go from the request to the end of its last run.

    :raises RuntimeError: a run fails, or the two have not ingested the same.
    """
    # Expectations refer to it.
    cluster.start(POD, "ingest", ["reference"])
    cluster.result(POD)
    drop_tables(platform, BACKFILLED, ALONE)
    try:
        alone = _alone(platform, cluster)
        through_airflow, accepted = _backfill(platform)
    finally:
        cluster.delete(POD)
        drop_tables(platform, BACKFILLED, ALONE)
    if (alone["intervals"], alone["accepted"]) != (DAYS, accepted):
        raise RuntimeError(
            f"one process took {alone['accepted']} events in {alone['intervals']} days, the backfill {accepted}"
        )
    return {
        "events": accepted,
        "days": DAYS,
        "backfill_s": through_airflow,
        "one_process_s": alone["process_seconds"],
        "overhead_s_a_day": (through_airflow - alone["process_seconds"]) / DAYS,
    }


def _alone(platform: Platform, cluster: Cluster) -> dict[str, float]:
    start, end = (_midnight(platform, day).isoformat() for day in (FIRST, AFTER))
    arguments = ["interval", "--topic", SOURCE, "--table", ALONE, "--contract", _topic(platform).contract]
    arguments += ["--start", start, "--end", end, "--unit", "day", "--timezone", platform.settings.ingest.timezone]
    cluster.start(POD, "ingest", arguments)
    return cluster.result(POD)


def _backfill(platform: Platform) -> tuple[float, int]:
    """Seconds from the request to the end, and events."""
    variables = {"PODIUM_INGEST__TOPICS": json.dumps({NAME: _topic(platform).model_dump(mode="json")})}
    dags = platform.paths.checkout / "dags"
    with (
        airflows.platform_paused(platform),
        airflows.running(platform, "podium", platform.settings, variables, [DAG_ID], dags) as airflow,
    ):
        api = airflow.api
        api.unpause(DAG_ID)
        began = time.monotonic()
        api.backfill(DAG_ID, _midnight(platform, FIRST), _midnight(platform, LAST), RUNS_AT_ONCE)
        while len(runs := [run for run in api.runs(DAG_ID) if run.state in FINISHED]) < LAST.month:
            time.sleep(POLL_S)
        seconds = time.monotonic() - began
        return seconds, sum(_accepted(api, run) for run in runs)


def _accepted(api: AirflowApi, run: DagRun) -> int:
    """Events of a run that have been published.

    :raises RuntimeError: it has failed, or refused a day.
    """
    ingested, judged = (api.result(run, task_id) for task_id in ("ingest", "validate"))
    if run.state != "success" or not judged["published"] or judged["rows"] != ingested["accepted"]:
        raise RuntimeError(f"run {run.run_id} of {DAG_ID} ended as {run.state}: {judged}")
    return int(judged["rows"])


def _topic(platform: Platform) -> IngestTopic:
    """The transactions, day by day, from the benchmark's topic into a table of its own."""
    changed = {"topic": SOURCE, "table": BACKFILLED, "unit": "day", "max_active_runs": RUNS_AT_ONCE}
    return platform.settings.ingest.transactions.model_copy(update=changed)


def _midnight(platform: Platform, day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(), ZoneInfo(platform.settings.ingest.timezone)).astimezone(dt.UTC)
