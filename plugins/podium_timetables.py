"""Registers Podium's timetables with Airflow, which needs them wherever it reads a DAG from its database."""

from airflow.plugins_manager import AirflowPlugin
from podium.interval_timetable import IntervalTimetable


class PodiumTimetables(AirflowPlugin):
    """The intervals of the topics."""

    name = "podium_timetables"
    timetables = [IntervalTimetable]  # noqa: RUF012 - as the base class has it
