"""A command of a job that somebody has asked for by hand."""

from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from podium.operators.pod import PodiumPodOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class JobCommandOperator(PodiumPodOperator):
    """Runs `python -m include.jobs.<job>` with the arguments of the run's parameters, if they are for this job.

    The run's parameters: `job`, and `arguments`, a list, of which each is one argument of the command; nothing of them
    is a template.

    :param job: whose commands these are; also the name of its image.
    """

    def __init__(self, *, job: str, **kwargs: Any) -> None:
        super().__init__(image=job, **kwargs)
        self.job = job

    def execute(self, context: "Context") -> Any:
        """Run it in a pod; skipped when another job is asked for."""
        asked = context["params"]
        if asked["job"] != self.job:
            raise AirflowSkipException(f"a command of {asked['job']} is asked for")
        self.arguments = ["python", "-m", f"include.jobs.{self.job}", *asked["arguments"]]
        return super().execute(context)
