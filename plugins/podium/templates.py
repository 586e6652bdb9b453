"""What templates of the DAGs may call: the interval a run is about, and names that are safe in paths."""

import datetime as dt
import re
from typing import TYPE_CHECKING, Any, Final

from podium.assets import SALES
from podium.errors import PodiumError
from podium.platform import settings

if TYPE_CHECKING:
    from airflow.sdk.types import DagRunProtocol

    from include.config.pipeline import IngestTopic


# A command line takes 128 KiB an argument.
MOST_BOUNDARIES: Final = 4_000


class NoIntervalError(PodiumError):
    """A run is about no interval."""

    @classmethod
    def of_run(cls, dag_id: str, run_id: str) -> "NoIntervalError":
        """It was triggered without a logical date."""
        return cls(
            f"Run {run_id} of {dag_id} has no data interval, since it was triggered without a logical date. "
            "Trigger it again with one (the run takes the last interval that is over by then), or use "
            f"`airflow backfill create --dag-id {dag_id} --from-date … --to-date …`."
        )

    @classmethod
    def nothing_ingested(cls) -> "NoIntervalError":
        """No interval was ever announced."""
        return cls(
            f"No interval of {SALES.name} was ever announced, so there is none to look at. "
            "Run ingest_transactions first; then clear this task."
        )


class RangeError(PodiumError):
    """The dates of a backfill cannot be used."""

    @classmethod
    def not_times(cls, first: str, last: str) -> "RangeError":
        """They cannot be read."""
        return cls(f"{first!r} and {last!r} are not both times like 2017-01-01T05:00:00Z: trigger again with such.")

    @classmethod
    def empty(cls, name: str, first: str, last: str) -> "RangeError":
        """No interval starts between them."""
        return cls(
            f"No interval of ingest_{name} starts from {first} to {last}, both included: a backfill would run nothing. "
            "Take the start of the first and of the last interval (see ingest.topics in include/config)."
        )

    @classmethod
    def too_long(cls, name: str, first: str, last: str) -> "RangeError":
        """More of them than a command line takes."""
        return cls(
            f"More than {MOST_BOUNDARIES} intervals of ingest_{name} start from {first} to {last}: look at a shorter "
            "range, one after the other."
        )


def interval_start(dag_run: "DagRunProtocol") -> str:
    """The first instant of the run's interval, ISO 8601; of several announced ones each, with commas.

    :raises NoIntervalError: the run has none.
    """
    return ",".join(start for start, _ in intervals_of(dag_run))


def interval_end(dag_run: "DagRunProtocol") -> str:
    """The first instant after the run's interval, ISO 8601; of several announced ones each, with commas.

    :raises NoIntervalError: the run has none.
    """
    return ",".join(end for _, end in intervals_of(dag_run))


def intervals_of(dag_run: "DagRunProtocol") -> list[tuple[str, str]]:
    """Start and end of the interval that a run is about, ISO 8601: its own, or those that were announced in Kafka.

    Airflow starts one run for all batches that were announced since the last one.

    :raises NoIntervalError: the run has none.
    """
    if dag_run.data_interval_start is not None and dag_run.data_interval_end is not None:
        return [(dag_run.data_interval_start.isoformat(), dag_run.data_interval_end.isoformat())]
    payloads = [(event.extra or {}).get("payload") for event in getattr(dag_run, "consumed_asset_events", ())]
    announced = {(payload["start"], payload["end"]) for payload in payloads if isinstance(payload, dict)}
    if not announced:
        raise NoIntervalError.of_run(dag_run.dag_id, dag_run.run_id)
    return sorted(announced)


def latest_interval(inlet_events: Any) -> dict[str, str]:
    """`start` and `end` of the latest interval that the last announcement of sales events stands for.

    :param inlet_events: of the context; the task needs `inlets=[SALES]`.
    :raises NoIntervalError: there never was one.
    """
    for event in inlet_events[SALES].ascending(False).limit(1):
        latest: dict[str, str] = event.extra["latest"]
        return latest
    raise NoIntervalError.nothing_ingested()


def slug(text: str) -> str:
    """A name that is safe in a path: letters, digits, dots and dashes.

    >>> slug("manual__2017-01-01T00:00:00+00:00")
    'manual__2017-01-01T00-00-00-00-00'
    """
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text)


def ingest_topic(name: str) -> "IngestTopic":
    """The settings of a topic."""
    return settings().ingest.topics[name]


def boundaries(name: str, first: str, last: str) -> str:
    """The boundaries of the intervals that a backfill of a topic would run: their starts and the end of the last.

    :param name: of the topic in the settings.
    :param first: `--from-date` of the backfill, ISO 8601; the earliest start of an interval.
    :param last: `--to-date`, included; the latest start.
    :return: ISO 8601 in UTC, with commas.
    :raises RangeError: they are no times with an offset, no interval starts between them, or too many do.
    """
    from airflow.timetables.base import DataInterval, TimeRestriction
    from pendulum import instance

    from podium.timetables import intervals

    try:
        earliest, latest = (instance(dt.datetime.fromisoformat(moment)) for moment in (first, last))
    except ValueError as error:
        raise RangeError.not_times(first, last) from error
    timetable = intervals(ingest_topic(name))
    restriction = TimeRestriction(earliest=earliest, latest=latest, catchup=True)
    found: list[dt.datetime] = []
    interval: DataInterval | None = None
    while info := timetable.next_dagrun_info(last_automated_data_interval=interval, restriction=restriction):
        interval = info.data_interval
        if interval is None:
            break
        if not found:
            found.append(interval.start)
        found.append(interval.end)
        if len(found) > MOST_BOUNDARIES:
            raise RangeError.too_long(name, first, last)
    if not found:
        raise RangeError.empty(name, first, last)
    return ",".join(moment.astimezone(dt.UTC).isoformat() for moment in found)


MACROS: Final[dict[str, Any]] = {
    "boundaries": boundaries,
    "ingest_topic": ingest_topic,
    "interval_start": interval_start,
    "interval_end": interval_end,
    "latest_interval": latest_interval,
}
FILTERS: Final[dict[str, Any]] = {"slug": slug}
