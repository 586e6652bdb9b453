"""When a DAG runs: at the end of an interval, when a batch is announced, or after another one by its assets."""

import datetime as dt
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from airflow.sdk import Asset, AssetOrTimeSchedule, AssetWatcher, CronTriggerTimetable

from podium.interval_timetable import IntervalTimetable
from podium.platform import settings

if TYPE_CHECKING:
    from airflow.sdk.definitions.asset import BaseAsset

    from include.config.pipeline import IngestTopic


def intervals(topic: "IngestTopic") -> IntervalTimetable:
    """The intervals of a topic; `start_date` and `end_date` are days where the shops are."""
    zone = settings().ingest.timezone
    first = _midnight(topic.start_date, zone)
    last = None if topic.end_date is None else _midnight(topic.end_date, zone)
    return IntervalTimetable(topic.schedule, zone, first, last)


def each_interval(topic: "IngestTopic") -> Any:
    """The `schedule` of a topic's ingest: its intervals, and where it says so the announcements of its batches.

    A run that an announcement starts is about the interval that is announced (`podium.templates.interval_start`).
    """
    timetable = intervals(topic)
    if topic.batches is None:
        return timetable
    # Here, since the provider imports Kafka's client, which only these DAGs need.
    from podium.triggers.batch import BatchTrigger

    trigger = BatchTrigger(
        topics=[topic.batches], kafka_config_id=settings().kafka.connection_id, dlq_topic=f"{topic.batches}.dlq"
    )
    batch = Asset(
        name=topic.batches,
        uri=f"x-kafka://{topic.batches}",
        group="kafka",
        watchers=[AssetWatcher(name=topic.batches, trigger=trigger)],
    )
    # Its type asks for those of the SDK; it takes those that plugins register, too.
    return AssetOrTimeSchedule(timetable=timetable, assets=batch)  # type: ignore[arg-type]


def after(assets: "BaseAsset", cron: str | None) -> Any:
    """A DAG's `schedule`.

    With a cron expression the DAG also runs at its ticks and can be backfilled: Airflow backfills only what has a
    rhythm of its own. No DAG has a `start_date`: with one, Airflow would make up for the last tick at once when the DAG
    is switched on, and a run triggered before it would succeed without a task.

    :param assets: an asset, or several joined with `|` or `&`.
    :param cron: in the time zone of the shops, or None.
    """
    if cron is None:
        return assets
    timetable = CronTriggerTimetable(cron, timezone=settings().ingest.timezone)
    return AssetOrTimeSchedule(timetable=timetable, assets=assets)


def _midnight(day: dt.date, zone: str) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(), ZoneInfo(zone))
