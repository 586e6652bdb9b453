"""What all DAGs of Podium have in common, so that a DAG file states only what is its own."""

import datetime as dt
from enum import StrEnum
from typing import Any

from podium.notifiers.failure import FailureNotifier
from podium.platform import settings


class Tag(StrEnum):
    """The tags a DAG may carry; a test holds DAGs to them."""

    INGEST = "ingest"
    FEATURES = "features"
    TRAINING = "training"
    SERVING = "serving"
    MONITORING = "monitoring"
    RECOMMENDER = "recommender"
    COST = "cost"
    UPKEEP = "upkeep"
    AUDIT = "audit"


def default_args(execution_timeout: dt.timedelta) -> dict[str, Any]:
    """Owner, retries, timeout and who is told of the failures of a DAG's tasks.

    :param execution_timeout: of one task; the work in the cluster ends with it.
    """
    airflow = settings().airflow
    told = {"on_failure_callback": FailureNotifier()} if settings().notifications.any else {}
    return {
        "owner": airflow.owner,
        "retries": airflow.retries,
        "retry_delay": dt.timedelta(seconds=airflow.retry_delay_s),
        "execution_timeout": execution_timeout,
        **told,
    }
