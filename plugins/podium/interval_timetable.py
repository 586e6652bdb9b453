"""The intervals of a topic: a rhythm with a first and, where the topic has ended, a last one."""

import datetime as dt
from typing import Any, Self

from airflow.timetables.base import DagRunInfo, DataInterval, TimeRestriction
from airflow.timetables.interval import CronDataIntervalTimetable
from pendulum import DateTime, instance, timezone


class IntervalTimetable(CronDataIntervalTimetable):
    """Intervals by a cron expression, from a first to a last one, for the schedule, backfills and runs by hand alike.

    A DAG's own `start_date` and `end_date` would bind the schedule too, but a run that is triggered beyond them has no
    task and succeeds (apache/airflow#38513). Here such a run gets the last interval there is, or is refused.

    :param cron: its boundaries.
    :param zone: in which they lie, an IANA name.
    :param first: no interval starts before it.
    :param last: none starts after it; None: they go on.
    """

    def __init__(self, cron: str, zone: str, first: dt.datetime, last: dt.datetime | None = None) -> None:
        super().__init__(cron, timezone(zone))
        self.first: DateTime = instance(first)
        self.last: DateTime | None = None if last is None else instance(last)

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> Self:
        """From what `serialize` gives."""
        last = None if data["last"] is None else dt.datetime.fromisoformat(data["last"])
        return cls(data["cron"], data["zone"], dt.datetime.fromisoformat(data["first"]), last)

    def serialize(self) -> dict[str, Any]:
        """As JSON."""
        last = None if self.last is None else self.last.isoformat()
        return {"cron": self._expression, "zone": self._timezone.name, "first": self.first.isoformat(), "last": last}

    def next_dagrun_info(
        self, *, last_automated_data_interval: DataInterval | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        """The interval after another one, or the first; None when there is none."""
        earliest = max(self.first, restriction.earliest or self.first)
        bounds = [bound for bound in (self.last, restriction.latest) if bound is not None]
        latest = min(bounds) if bounds else None
        return super().next_dagrun_info(
            last_automated_data_interval=last_automated_data_interval,
            restriction=TimeRestriction(earliest, latest, restriction.catchup),
        )

    def infer_manual_data_interval(self, *, run_after: DateTime) -> DataInterval:
        """The last interval that is over by then.

        :raises ValueError: there is none yet; Airflow shows it to whoever triggered.
        """
        found = super().infer_manual_data_interval(run_after=run_after)
        if self.last is not None and found.start > self.last:
            start = self._align_to_prev(self.last)
            found = DataInterval(start, self._get_next(start))
        if found.start < self.first:
            first = self._align_to_next(self.first)
            raise ValueError(
                f"No interval is over by {run_after.isoformat()}: the first one lasts from {first.isoformat()} to "
                f"{self._get_next(first).isoformat()}. Trigger with a logical date from then on, or correct start_date "
                "under ingest.topics in include/config"
            )
        return found
