"""Announces ingested intervals: each for itself, those of a backfill together.

A backfill of twelve months must start what follows once, not twelve times. Its runs write what they have done
into the state store of the asset; the last one to finish emits one event for all.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Literal
from zoneinfo import ZoneInfo

from airflow.sdk import Asset, BaseOperator
from airflow.sdk.exceptions import AirflowSkipException

from podium.assets import partitions_of
from podium.lineage import Reported, ReportsDatasets
from podium.platform import settings
from podium.templates import intervals_of

if TYPE_CHECKING:
    from airflow.sdk import Context

# Airflow names the runs of a backfill so; the API for tasks does not tell the type of another run.
BACKFILL_PREFIX: Final = "backfill__"
STATE_KEY: Final = "podium.announced"
ENDED_BADLY: Final = frozenset({"failed", "upstream_failed"})
ENDED: Final = ENDED_BADLY | {"success", "skipped", "removed"}

# What Airflow's partition mappers and timetables read and write by default.
PARTITION_KEY: Final = "%Y-%m-%dT%H:%M:%S"

# Start -> [end, rows]; a list, since the state store keeps JSON.
Intervals = dict[str, Any]


class Verdict(StrEnum):
    """What a run of a backfill does about the event."""

    EMIT = "emit"
    WAIT = "wait"
    HOLD = "hold"


@dataclass(frozen=True)
class Others:
    """The other runs of the same DAG.

    :param active: run ids of a backfill that have yet to announce.
    :param failed: run ids of a backfill that ended badly.
    """

    active: Sequence[str]
    failed: Sequence[str]


def judge(others: Others) -> Verdict:
    """Whether this run is the one to speak for the backfill.

    Sound only while no two runs judge at the same time: the task must have `max_active_tis_per_dag=1`.
    """
    if others.active:
        return Verdict.WAIT
    return Verdict.HOLD if others.failed else Verdict.EMIT


def sort_others(states: Mapping[str, Mapping[str, str | None]], task_id: str, own_run_id: str) -> Others:
    """Sort the runs of the DAG by the state of the announcing task.

    :param states: run id -> task id -> state, as `get_task_states` returns it.
    :param task_id: the announcing task.
    :param own_run_id: the run that asks.
    """
    found = {
        run_id: tasks.get(task_id)
        for run_id, tasks in states.items()
        if run_id != own_run_id and run_id.startswith(BACKFILL_PREFIX)
    }
    return Others(
        active=sorted(run_id for run_id, state in found.items() if state not in ENDED),
        failed=sorted(run_id for run_id, state in found.items() if state in ENDED_BADLY),
    )


def own_intervals(intervals: Sequence[tuple[str, str]], result: Mapping[str, Any]) -> Intervals:
    """A run's intervals with their rows.

    :param intervals: start and end of each; usually one.
    :param result: of the counting task: `accepted` in all, or `accepted_by_start` where it did several pieces.
    """
    pieces = {dt.datetime.fromisoformat(key): rows for key, rows in result.get("accepted_by_start", {}).items()}
    if len(intervals) == 1 or not pieces:
        return {start: [end, int(result.get("accepted", 0))] for start, end in intervals}
    found: Intervals = {}
    for start, end in intervals:
        first, last = dt.datetime.fromisoformat(start), dt.datetime.fromisoformat(end)
        found[start] = [end, sum(rows for begin, rows in pieces.items() if first <= begin < last)]
    return found


def partition_keys(intervals: Intervals, grain: Literal["day", "hour"], zone: ZoneInfo) -> list[str]:
    """The days or hours that lie wholly in intervals, as keys of partitions: their starts by the clocks of `zone`.

    The hour that the clocks repeat in autumn is one partition.

    :param intervals: start -> [end, rows].
    """
    keys: set[str] = set()
    for start, (end, _) in intervals.items():
        first, last = (dt.datetime.fromisoformat(moment).astimezone(zone) for moment in (start, end))
        begin = first.replace(hour=0 if grain == "day" else first.hour, minute=0, second=0, microsecond=0)
        # Compared in UTC: in one zone Python compares what the clocks show, which they may show twice.
        while (after := _next(begin, grain)).astimezone(dt.UTC) <= last.astimezone(dt.UTC):
            if begin.astimezone(dt.UTC) >= first.astimezone(dt.UTC):
                keys.add(begin.strftime(PARTITION_KEY))
            begin = after
    return sorted(keys)


def _next(begin: dt.datetime, grain: Literal["day", "hour"]) -> dt.datetime:
    if grain == "day":
        # By the calendar: a day may have 23 or 25 hours.
        return begin + dt.timedelta(days=1)
    return (begin.astimezone(dt.UTC) + dt.timedelta(hours=1)).astimezone(begin.tzinfo)


class AnnounceIntervalOperator(ReportsDatasets, BaseOperator):
    """Emits the event of an asset for one interval, or for all intervals of a backfill at its end.

    A run of a backfill that is not the last one is skipped: a skipped task emits nothing. When a run of the
    backfill has failed there is no event until it has been cleared and has succeeded, so that nothing is built on
    a year with a hole.

    The event's extra: `intervals` (start -> [end, rows], ISO 8601), `latest` (start and end of the latest of them),
    `rows` and `backfill`.

    :param asset: what is announced.
    :param counted_by: the task whose result holds `accepted`, the rows of the interval.
    :param published_by: the task whose result says as of which snapshot they are to be read, for lineage.
    :param partitions: announce the days or hours of these intervals too, each as a partition of `partitions_of` the
        asset's table; default: none.
    """

    def __init__(
        self,
        *,
        asset: Asset,
        counted_by: str,
        published_by: str | None = None,
        partitions: Literal["day", "hour"] | None = None,
        **kwargs: Any,
    ) -> None:
        self.partitioned = partitions_of(asset.name) if partitions else None
        outlets = [asset, self.partitioned] if self.partitioned else [asset]
        super().__init__(outlets=outlets, max_active_tis_per_dag=1, **kwargs)
        self.asset = asset
        self.counted_by = counted_by
        self.published_by = published_by
        self.partitions = partitions

    def execute(self, context: "Context") -> dict[str, Any]:
        """Emit, or leave it to a later run of the backfill."""
        ti, dag_run = context["ti"], context["dag_run"]
        result = ti.xcom_pull(task_ids=self.counted_by) or {}
        if self.published_by is not None:
            judged = Reported(ti.xcom_pull(task_ids=self.published_by))
            # One that was published before is only looked at again.
            self.report(judged.outputs or judged.inputs)
        own = own_intervals(intervals_of(dag_run), result)
        if dag_run.run_type != "backfill":
            return self._emit(context, own, backfill=False)
        return self._execute_in_backfill(context, own)

    def _execute_in_backfill(self, context: "Context", own: Intervals) -> dict[str, Any]:
        ti, run_id = context["ti"], context["dag_run"].run_id
        store = context["asset_state_store"][self.asset]
        state: Any = store.get(STATE_KEY) or {"pending": {}, "last": {"run_id": None, "intervals": {}}}
        pending: Intervals = state["pending"] | own
        if state["last"]["run_id"] == run_id:
            # This run had announced, and died before Airflow recorded it, or was cleared: say it again.
            pending = state["last"]["intervals"] | pending
        others = self._others(context)
        verdict = judge(others)
        if verdict is Verdict.EMIT:
            store.set(STATE_KEY, {"pending": {}, "last": {"run_id": run_id, "intervals": pending}})
            return self._emit(context, pending, backfill=True)
        store.set(STATE_KEY, state | {"pending": pending})
        if verdict is Verdict.WAIT:
            reason = f"{len(others.active)} more run(s) of the backfill to come: the last one announces"
            self.log.info(reason)
            raise AirflowSkipException(reason)
        reason = (
            f"{len(others.failed)} run(s) of a backfill have failed: {', '.join(others.failed)}. "
            f"Clear them; the last to succeed announces all. To announce without them, mark {ti.task_id!r} of each "
            f"as success, then clear {ti.task_id!r} of this run."
        )
        self.log.warning(reason)
        raise AirflowSkipException(reason)

    def _others(self, context: "Context") -> Others:
        ti = context["ti"]
        states = ti.get_task_states(dag_id=ti.dag_id, task_ids=[self.task_id])
        others = sort_others(states, self.task_id, ti.run_id)
        if others.active:
            # The tasks of a cancelled backfill have no state either; only their runs say that they will not come.
            alive = [
                run_id
                for run_id in others.active
                if ti.get_dr_count(dag_id=ti.dag_id, run_ids=[run_id], states=["queued", "running"])
            ]
            others = Others(active=alive, failed=others.failed)
        return others

    def _emit(self, context: "Context", intervals: Intervals, *, backfill: bool) -> dict[str, Any]:
        latest = max(intervals, key=dt.datetime.fromisoformat)
        extra: dict[str, Any] = {
            "intervals": dict(sorted(intervals.items())),
            "latest": {"start": latest, "end": intervals[latest][0]},
            "rows": sum(rows for _, rows in intervals.values()),
            "backfill": backfill,
        }
        context["outlet_events"][self.asset].extra = extra
        if self.partitioned and self.partitions:
            keys = partition_keys(intervals, self.partitions, ZoneInfo(settings().ingest.timezone))
            context["outlet_events"][self.partitioned].add_partitions(keys)
        return extra
