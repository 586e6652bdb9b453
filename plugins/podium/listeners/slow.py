"""Lets every triggerer look for tasks that take much longer than they usually do."""

import datetime as dt

from podium.listeners.beside_triggerer import BesideTriggerer
from podium.platform import settings
from podium.slow import tell_of_slow


class SlowTaskListener(BesideTriggerer):
    """Tells of slow tasks."""

    name = "slow-tasks"

    def every_s(self) -> float:
        """As the settings say."""
        return settings().notifications.slow_check_s

    def look(self) -> None:
        """Tell of those that are slow by now."""
        from airflow.utils.session import create_session

        with create_session() as session:
            tell_of_slow(session, dt.datetime.now(dt.UTC))
