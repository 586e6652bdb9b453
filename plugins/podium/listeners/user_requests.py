"""Lets every triggerer leave in the lake's bucket what people have asked of Airflow, for the audit trail."""

import datetime as dt

from podium.listeners.beside_triggerer import BesideTriggerer
from podium.platform import settings
from podium.user_requests import take


class UserRequestListener(BesideTriggerer):
    """Records requests and commands."""

    name = "user-requests"

    def __init__(self) -> None:
        super().__init__()
        self._stored: set[int] = set()

    def every_s(self) -> float:
        """As the settings say."""
        return settings().airflow.audit_check_s

    def look(self) -> None:
        """Record those that have come."""
        from airflow.utils.session import create_session

        with create_session() as session:
            take(session, dt.datetime.now(dt.UTC), self._stored)
