"""When a DAG runs: at the end of an interval, when a batch is announced, or after another one by its assets."""

from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, AssetOrTimeSchedule, AssetWatcher, CronDataIntervalTimetable, CronTriggerTimetable

from podium.platform import settings

if TYPE_CHECKING:
    from airflow.sdk.definitions.asset import BaseAsset

    from include.config.pipeline import IngestTopic


def each_interval(topic: "IngestTopic") -> Any:
    """The `schedule` of a topic's ingest: its cron expression, and where it says so the announcements of its batches.

    A run that an announcement starts is about the interval that is announced (`podium.templates.interval_start`).
    """
    timetable = CronDataIntervalTimetable(topic.schedule, timezone=settings().ingest.timezone)
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
    return AssetOrTimeSchedule(timetable=timetable, assets=batch)


def after(assets: "BaseAsset", cron: str | None) -> Any:
    """A DAG's `schedule`.

    With a cron expression the DAG also runs at its ticks and can be backfilled: Airflow backfills only what has a
    rhythm of its own. Such a DAG has no `start_date`: with one, Airflow would make up for the last tick at once when
    the DAG is switched on.

    :param assets: an asset, or several joined with `|` or `&`.
    :param cron: in the time zone of the shops, or None.
    """
    if cron is None:
        return assets
    timetable = CronTriggerTimetable(cron, timezone=settings().ingest.timezone)
    return AssetOrTimeSchedule(timetable=timetable, assets=assets)
