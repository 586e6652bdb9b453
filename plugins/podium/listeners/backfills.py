"""Lets every triggerer look for backfills that have ended, and announce what they have published."""

from podium.backfills import announce_ended
from podium.listeners.beside_triggerer import BesideTriggerer
from podium.platform import settings


class BackfillListener(BesideTriggerer):
    """Announces backfills at their end."""

    name = "backfills"

    def every_s(self) -> float:
        """As the settings say."""
        return settings().airflow.backfill_check_s

    def look(self) -> None:
        """Announce those that have ended."""
        from airflow.utils.session import create_session

        with create_session() as session:
            announce_ended(session)
