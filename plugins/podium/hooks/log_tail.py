"""The end of a container's log, as lines."""

import logging
from typing import TYPE_CHECKING, Any, Final

from kubernetes.client import ApiException  # noqa: TID253 - the hooks import it anyway
from urllib3.exceptions import HTTPError

from podium.failures import CAUSE_LINES

if TYPE_CHECKING:
    from kubernetes.client import CoreV1Api

log = logging.getLogger(__name__)

# A kubelet that is away is not waited for: connect and read, in seconds.
IMPATIENT: Final = (5, 10)


def read_tail(
    client: "CoreV1Api", namespace: str, pod: str, container: str, lines: int, *, previous: bool = False, **options: Any
) -> list[str]:
    """The last lines of a container's log, or of that of its run before; none when it never started.

    :raises ApiException: the API refuses, or cannot ask the pod's node.
    :raises HTTPError: it does not answer, or the answer breaks off.
    """
    try:
        # Undecoded, because the client makes text of bytes by their repr.
        answer = client.read_namespaced_pod_log(
            pod,
            namespace,
            container=container,
            tail_lines=lines,
            previous=previous,
            _preload_content=False,
            **options,
        )
    except ApiException as error:
        if error.status in (400, 404):
            return []
        raise
    # A line ends at a newline and nowhere else: a text may hold what others take for the end of one.
    text: str = answer.data.decode("utf-8", errors="replace")
    return text.removesuffix("\n").split("\n") if text else []


def telling_tail(client: "CoreV1Api", namespace: str, pod: str, container: str, *, restarted: bool) -> list[str]:
    """What a log says about a failure; none when it cannot be read soon: a failure is told without it.

    :param restarted: whether to look into the log of the run before when the present one says nothing.
    """
    try:
        tail = read_tail(client, namespace, pod, container, CAUSE_LINES, _request_timeout=IMPATIENT)
        if not tail and restarted:
            tail = read_tail(client, namespace, pod, container, CAUSE_LINES, previous=True, _request_timeout=IMPATIENT)
    except (ApiException, HTTPError) as error:
        log.warning("The log of %s in pod %s cannot be read (%r)", container, pod, error)
        return []
    return tail
