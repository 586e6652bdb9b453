"""Asks the Kubernetes API again when it is away: while its server restarts, or a load balancer moves.

Everything that Podium asks for may be asked twice: its objects have names that follow from the task.
"""

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar

from kubernetes.client import ApiException  # noqa: TID253 - the hooks import it anyway
from tenacity import Retrying, before_sleep_log, retry_if_exception, stop_after_delay, wait_random_exponential
from urllib3.exceptions import HTTPError

from podium.platform import settings

log = logging.getLogger(__name__)

LONGEST_PAUSE_S: Final = 5.0
# 401: new credentials are not to be had for the moment; see podium.hooks.connection.
PASSING: Final = frozenset({401, 429, 500, 502, 503, 504})

P = ParamSpec("P")
R = TypeVar("R")


def patiently(call: Callable[P, R]) -> Callable[P, R]:
    """Make a call that is repeated for as long as an outage is borne (`faults.api_outage_s`), with growing pauses.

    What the API refuses (a conflict, something missing, no right) is no outage: it is raised at once.
    """

    @wraps(call)
    def repeated(*args: P.args, **kwargs: P.kwargs) -> R:
        retrying = Retrying(
            retry=retry_if_exception(is_outage),
            wait=wait_random_exponential(multiplier=0.2, max=LONGEST_PAUSE_S),
            stop=stop_after_delay(settings().faults.api_outage_s),
            before_sleep=before_sleep_log(log, logging.WARNING),
            reraise=True,
        )
        return retrying(call, *args, **kwargs)

    return repeated


def is_outage(error: BaseException) -> bool:
    """Whether the API could not be reached, or could not answer for the moment."""
    if isinstance(error, ApiException):
        status: Any = error.status
        # A WebSocket that does not come about has no status, only a text.
        return status in PASSING or (not status and "Handshake status 4" not in str(error.reason))
    return isinstance(error, (HTTPError, ConnectionError))
