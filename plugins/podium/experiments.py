"""What a search for hyperparameters looks for, and where: typed, so that a typo fails the parse and not the night."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Objective(_Part):
    """What is to become large or small (kubeflow/katib common.v1beta1 ObjectiveSpec).

    :param metric: its name, as the trial prints it: `name=value`, one a line.
    :param goal: the search ends when it is reached.
    :param further_metrics: others to record.
    """

    metric: str
    type: Literal["maximize", "minimize"] = "maximize"
    goal: float | None = None
    further_metrics: tuple[str, ...] = ()

    def manifest(self) -> dict[str, Any]:
        """As Katib has it."""
        goal = {} if self.goal is None else {"goal": self.goal}
        return {
            "type": self.type,
            "objectiveMetricName": self.metric,
            "additionalMetricNames": list(self.further_metrics),
            **goal,
        }


class Range(_Part):
    """A parameter that is a number between two others.

    :param step: the distance between two values; grid search needs one.
    """

    name: str
    type: Literal["double", "int"] = "double"
    min: float
    max: float
    step: float | None = None

    @model_validator(mode="after")
    def _ordered(self) -> "Range":
        if self.min >= self.max:
            raise ValueError(f"parameter {self.name}: min {self.min} must be less than max {self.max}")
        return self

    def manifest(self) -> dict[str, Any]:
        """As Katib has it: all numbers are strings."""
        space = {"min": self._text(self.min), "max": self._text(self.max)}
        if self.step is not None:
            space["step"] = self._text(self.step)
        return {"name": self.name, "parameterType": self.type, "feasibleSpace": space}

    def _text(self, value: float) -> str:
        return str(int(value)) if self.type == "int" else str(value)


class Choice(_Part):
    """A parameter that is one of some values."""

    name: str
    values: Annotated[tuple[str, ...], Field(min_length=1)]

    def manifest(self) -> dict[str, Any]:
        """As Katib has it."""
        return {"name": self.name, "parameterType": "categorical", "feasibleSpace": {"list": list(self.values)}}
