"""Tells others that drift was found."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowSkipException

from podium.assets import DRIFT, DRIFT_FOUND
from podium.lineage import Reported, ReportsDatasets

if TYPE_CHECKING:
    from airflow.sdk import Context


class SignalDriftOperator(ReportsDatasets, BaseOperator):
    """Emits an event of the drift asset when a check found drift; else it is skipped.

    The event's extra: `features`, the names of those that drifted.

    :param check: the result of the check, templated: `drifted` and `features` [{name, drifted, …}].
    """

    template_fields: Sequence[str] = ("check",)

    def __init__(self, *, check: Any, **kwargs: Any) -> None:
        super().__init__(outlets=[DRIFT_FOUND], **kwargs)
        self.check = check

    def execute(self, context: "Context") -> Any:
        """Emit, or skip."""
        # It goes by what the check has written down.
        self.report(Reported(self.check).outputs)
        if not self.check["drifted"]:
            raise AirflowSkipException("no drift")
        extra: dict[str, Any] = {
            "features": [feature["name"] for feature in self.check["features"] if feature["drifted"]]
        }
        context["outlet_events"][DRIFT_FOUND].add(DRIFT, extra=extra)
        return extra
