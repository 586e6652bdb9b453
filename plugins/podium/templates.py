"""What templates of the DAGs may call: the interval a run is about, and names that are safe in paths."""

import re
from typing import TYPE_CHECKING, Any, Final

from podium.assets import SALES
from podium.errors import PodiumError
from podium.platform import settings

if TYPE_CHECKING:
    from airflow.sdk.types import DagRunProtocol

    from include.config.settings import IngestTopic


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


def interval_start(dag_run: "DagRunProtocol") -> str:
    """The first instant of the run's interval, ISO 8601.

    :raises NoIntervalError: the run has none.
    """
    if dag_run.data_interval_start is None:
        raise NoIntervalError.of_run(dag_run.dag_id, dag_run.run_id)
    return dag_run.data_interval_start.isoformat()


def interval_end(dag_run: "DagRunProtocol") -> str:
    """The first instant after the run's interval, ISO 8601.

    :raises NoIntervalError: the run has none.
    """
    if dag_run.data_interval_end is None:
        raise NoIntervalError.of_run(dag_run.dag_id, dag_run.run_id)
    return dag_run.data_interval_end.isoformat()


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


MACROS: Final[dict[str, Any]] = {
    "ingest_topic": ingest_topic,
    "interval_start": interval_start,
    "interval_end": interval_end,
    "latest_interval": latest_interval,
}
FILTERS: Final[dict[str, Any]] = {"slug": slug}
