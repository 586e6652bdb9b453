"""When a DAG runs that follows another one: on its assets and, where the settings say so, by cron as well."""

from typing import TYPE_CHECKING, Any

from airflow.sdk import AssetOrTimeSchedule, CronTriggerTimetable

from podium.platform import settings

if TYPE_CHECKING:
    from airflow.sdk.definitions.asset import BaseAsset


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
