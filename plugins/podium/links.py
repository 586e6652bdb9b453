"""Links from a task to what it ran: shown on the task's page once it has ended."""

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow.sdk import BaseOperatorLink

from podium.listeners import bucket
from podium.platform import settings

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator


class PodLogLink(BaseOperatorLink):
    """The log of the task's pods: by `links.pod_logs` of the settings, else the task's own log, which has a copy."""

    name = "Pod log"

    def get_link(self, operator: "BaseOperator", *, ti_key: Any) -> str:
        """The address. Airflow calls this in the task's process, with the task instance for a key."""
        return _filled(settings().links.pod_logs, operator) or str(ti_key.log_url)


class SparkUiLink(BaseOperatorLink):
    """Spark's UI, or its history server's: by `links.spark_ui` of the settings; none without."""

    name = "Spark UI"

    def get_link(self, operator: "BaseOperator", *, ti_key: Any) -> str:
        """The address."""
        return _filled(settings().links.spark_ui, operator)


class MlflowRunLink(BaseOperatorLink):
    """The run in MLflow that a job names in its result (`mlflow_run_id`)."""

    name = "MLflow run"

    def get_link(self, operator: "BaseOperator", *, ti_key: Any) -> str:
        """The address; empty when the task has no result."""
        run = (_result(ti_key) or {}).get("mlflow_run_id")
        return f"{settings().reach.mlflow_tracking_uri.rstrip('/')}/#/runs/{run}" if run else ""


class InferenceServiceLink(BaseOperatorLink):
    """The address of the service that the task's result names (`url`)."""

    name = "InferenceService"

    def get_link(self, operator: "BaseOperator", *, ti_key: Any) -> str:
        """The address; empty when the task has no result."""
        return str((_result(ti_key) or {}).get("url") or "")


class DataDocsLink(BaseOperatorLink):
    """The page of Data Docs that the task's result names first.

    By `links.data_docs` of the settings; else an address that the lake's bucket has signed, which opens the page for a
    week to whoever may see the task.
    """

    name = "Data Docs"

    def get_link(self, operator: "BaseOperator", *, ti_key: Any) -> str:
        """The address; empty when nothing was judged."""
        pages = (_result(ti_key) or {}).get("data_docs") or [""]
        if not pages[0]:
            return ""
        place = urlsplit(pages[0])
        template = settings().links.data_docs
        if template:
            return template.format(bucket=place.netloc, key=place.path.lstrip("/"))
        return bucket.signed(pages[0], settings())


def _filled(template: str | None, operator: "BaseOperator") -> str:
    # Asked in the task's own process when it ends, so the operator knows what its work is called.
    identity = getattr(operator, "identity", None)
    if not template or identity is None:
        return ""
    return template.format(namespace=settings().kubernetes.namespace, name=identity.name)


def _result(ti: Any) -> dict[str, Any] | None:
    found = ti.xcom_pull(task_ids=ti.task_id, key="return_value", map_indexes=ti.map_index)
    return found if isinstance(found, dict) else None
