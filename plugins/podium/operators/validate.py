"""Judging an ingested interval: a pod that publishes it when it is sound, and a task that fails when it is not."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperatorLink

from podium.errors import IntervalRefusedError
from podium.links import DataDocsLink, PodLogLink
from podium.operators.pod import PodiumPodOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class ValidateIntervalOperator(PodiumPodOperator):
    """Runs `validate` of the ingest's image, and fails, without a retry, when the interval is refused.

    The pod's result (`success`, `failed_expectations`, `data_docs`, …) is the task's in either case; the page of Data
    Docs to look at is linked.

    :param interval: the arguments that say which: `--contract`, `--table`, `--start`, `--end`, …; templated.
    """

    operator_extra_links: Collection[BaseOperatorLink] = (DataDocsLink(), PodLogLink())

    def __init__(self, *, interval: Collection[str], **kwargs: Any) -> None:
        command = ["python", "-m", "include.jobs.ingest", "validate", *interval]
        super().__init__(**({"image": "ingest", "arguments": command, "cpu": "1", "memory": "2Gi"} | kwargs))

    def collect(self, context: "Context", result: Any) -> Any:
        """Let a sound interval through.

        :raises IntervalRefusedError: it was refused; the message holds the expectations that failed.
        """
        if not result["success"]:
            # A failed task returns nothing, and the pages are wanted most when it was refused.
            context["ti"].xcom_push(key="return_value", value=result)
            raise IntervalRefusedError(result["explanation"])
        return result
