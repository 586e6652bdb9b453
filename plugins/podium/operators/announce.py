"""Announces what has changed: ingested intervals, those of a backfill at its end; what a job has made anew."""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal
from zoneinfo import ZoneInfo

from airflow.sdk import Asset, BaseOperator
from airflow.sdk.exceptions import AirflowSkipException

from podium.announcements import KEPT, Announcement, Intervals, told
from podium.assets import partitions_of
from podium.lineage import Reported, ReportsDatasets
from podium.platform import settings
from podium.templates import intervals_of

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.execution_time.comms import AssetEventResult

# What Airflow's partition mappers and timetables read and write by default.
PARTITION_KEY: Final = "%Y-%m-%dT%H:%M:%S"


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
    """Emits the event of an asset for an interval, or has it told with the others of its backfill.

    In a run of a backfill the task is skipped, since a skipped task emits nothing. What it would have announced is kept
    as its XCom `podium.announcement`, until the triggerer makes one event of all of them (`podium.backfills`).

    The event's extra: `intervals` (start -> [end, rows], ISO 8601), `latest` (start and end of the latest of them),
    `rows` and `backfill`; that of a backfill also `failed`.

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
        super().__init__(outlets=[asset, self.partitioned] if self.partitioned else [asset], **kwargs)
        self.asset = asset
        self.counted_by = counted_by
        self.published_by = published_by
        self.partitions = partitions

    def execute(self, context: "Context") -> dict[str, Any]:
        """Emit, or leave it for the end of the backfill."""
        ti, dag_run = context["ti"], context["dag_run"]
        result = ti.xcom_pull(task_ids=self.counted_by) or {}
        if self.published_by is not None:
            judged = Reported(ti.xcom_pull(task_ids=self.published_by))
            # One that was published before is only looked at again.
            self.report(judged.outputs or judged.inputs)
        own = own_intervals(intervals_of(dag_run), result)
        zone = ZoneInfo(settings().ingest.timezone)
        keys = partition_keys(own, self.partitions, zone) if self.partitions else []
        if dag_run.run_type == "backfill":
            kept = Announcement(self.asset, own, self.partitioned, keys)
            ti.xcom_push(key=KEPT, value=kept.to_json())
            raise AirflowSkipException(
                "Its interval is announced with those of the other runs of its backfill, when the last has ended"
            )
        extra = told(own, backfill=False)
        context["outlet_events"][self.asset].extra = extra
        if self.partitioned:
            context["outlet_events"][self.partitioned].add_partitions(keys)
        return extra


class AnnounceChangeOperator(ReportsDatasets, BaseOperator):
    """Emits the event of an asset when what the asset stands for is not what was last announced; else it is skipped.

    What was announced decides, not what the job did: one that has published and was lost before it could say so is
    announced by its retry, which finds nothing to do.

    The event's extra: `view`, what the new content is known by.

    :param asset: what is announced.
    :param result: of the job, templated: `view`, what is published now.
    """

    template_fields: Sequence[str] = ("result",)

    def __init__(self, *, asset: Asset, result: Any, **kwargs: Any) -> None:
        super().__init__(inlets=[asset], outlets=[asset], **kwargs)
        self.asset = asset
        self.result = result

    def execute(self, context: "Context") -> dict[str, Any]:
        """Emit, or skip."""
        self.report(Reported(self.result).outputs)
        view = str(self.result["view"])
        if any((event.extra or {}).get("view") == view for event in _latest(context, self.asset)):
            raise AirflowSkipException(f"{self.asset.name} is as it was last announced ({view}), so nothing follows")
        extra: dict[str, Any] = {"view": view}
        context["outlet_events"][self.asset].extra = extra
        return extra


def _latest(context: "Context", asset: Asset) -> "Sequence[AssetEventResult]":
    """The latest event of an asset, if there is one."""
    return context["inlet_events"][asset].ascending(False).limit(1)
