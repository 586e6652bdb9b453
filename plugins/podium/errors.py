"""What goes wrong, as types. Each message says what failed, why, and what to do about it."""

from airflow.sdk.exceptions import AirflowException, AirflowFailException


class PodiumError(AirflowException):
    """Base of all errors of this package."""


class UnknownNodePoolError(PodiumError):
    """A task asks for a node pool that the settings do not have."""

    def __init__(self, pool: str, known: list[str]) -> None:
        super().__init__(
            f"There is no node pool {pool!r}; there are {', '.join(known)}. "
            "Correct the task's node_pool, or add the pool under node_pools in include/config."
        )


class UnknownImageError(PodiumError):
    """A task asks for an image that the settings do not have."""

    def __init__(self, image: str, known: list[str]) -> None:
        super().__init__(
            f"There is no image {image!r}; there are {', '.join(known)}. "
            "Correct the task's image, or add it under images in include/config."
        )


class NodePoolTooSmallError(PodiumError):
    """A task asks for more than its pool can ever give: it would wait for ever."""

    def __init__(self, pool: str, reasons: list[str]) -> None:
        super().__init__(
            f"The node pool {pool!r} can never run this; it would wait for ever: {'; '.join(reasons)}. "
            "Ask for less, choose another node_pool, or correct the pool under node_pools in include/config."
        )


class MappedSlotsError(PodiumError, TypeError):
    """A mapped task would take other slots of its pool than it uses GPUs."""

    def __init__(self, task: str, mapped: list[str]) -> None:
        super().__init__(
            f"{task} cannot be mapped over {' and '.join(mapped)}: Airflow gives all instances of a mapped task one "
            "pool and one number of slots. Give them to `partial`, and write one task for each size: "
            '`.partial(node_pool="gpu-a100", gpus=4, …).expand(arguments=…)`.'
        )


class WorkFailedError(PodiumError):
    """Work in the cluster ended badly, or could not start. The message tells a person what to do next."""


class WorkTimeoutError(WorkFailedError):
    """Work in the cluster did not end within its task's execution_timeout."""


class GateRefusedError(PodiumError, AirflowFailException):
    """A candidate did not pass its gate. Trying again changes nothing, so it is not retried."""

    def __init__(self, model: str, version: str, reasons: list[str]) -> None:
        super().__init__(
            f"Version {version} of {model} was refused; what serves now goes on serving:\n"
            + "\n".join(f"  {reason}" for reason in reasons)
            + "\nCompare the metrics in MLflow. Train again with other settings, or change recommender.min_lift and "
            "required_baselines in include/config if the bar is wrong."
        )


class IntervalRefusedError(PodiumError, AirflowFailException):
    """An ingested interval is not what it should be. Trying again changes nothing, so it is not retried."""


class MetricsUnavailableError(PodiumError):
    """The source of the rollout's metrics cannot be read."""


class RolloutFailedError(PodiumError):
    """A rollout could not be carried out; this is not the same as one that rolled back."""


class RolledBackError(PodiumError, AirflowFailException):
    """A rollout took itself back. The way back has worked; somebody should look why it was needed."""

    def __init__(self, model: str, version: str, stable: str, reason: str) -> None:
        super().__init__(
            f"Version {version} of {model} was taken back, {stable} serves on: {reason}. "
            "See the record (XCom of the rollout task) and the canary's log; then train again, or trigger the DAG anew "
            "if the cause lay elsewhere."
        )
