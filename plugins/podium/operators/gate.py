"""A gate: a pod that judges a candidate, and a task that fails when it is refused."""

from typing import TYPE_CHECKING, Any

from podium.errors import GateRefusedError
from podium.operators.pod import PodiumPodOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class GateOperator(PodiumPodOperator):
    """Runs the judge of a candidate and fails, without a retry, when it says no.

    The pod's result holds `passed`, `reasons`, `candidate_version` and `champion_version`; it is kept as the task's
    result in either case.

    :param model_name: of the registered model.
    """

    def __init__(self, *, model_name: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model_name = model_name

    def collect(self, context: "Context", result: Any) -> Any:
        """Let a good candidate through.

        :raises GateRefusedError: it was refused; the message holds the reasons.
        """
        if not result["passed"]:
            # A failed task returns nothing, and the figures are wanted most when it was refused.
            context["ti"].xcom_push(key="return_value", value=result)
            raise GateRefusedError(self.model_name, str(result["candidate_version"]), list(result["reasons"]))
        return result
