"""KServe's V1 predict protocol of this model: what a request must be, and what a reply is.

Request: `{"instances": [{"household_id": 1228, "k": 20}]}`; `k` may be left out.
Reply: `{"predictions": [{"household_id", "products", "scores", "personal", "model_version", "feature_view"}]}`, in the
same order; `feature_view` is the snapshot of `features.serving` that the model serves from.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from include.jobs.serving.recommendations import LONGEST

#: Instances of a request: a bound on what one request can cost the others.
MOST_INSTANCES = 256
DEFAULT_K = 20
#: Household ids are 64-bit in the lake.
_LARGEST_ID = 2**63 - 1
_FIELDS = {"household_id", "k"}


_V1 = 'this model speaks the V1 protocol: POST {"instances": [{"household_id": 1228}]} to /v1/models/<name>:predict'


class BadRequestError(ValueError):
    """The request cannot be answered; its text goes to the client."""


@dataclass(frozen=True, slots=True)
class Query:
    """One checked instance."""

    household_id: int
    k: int


def parse(payload: object) -> list[Query]:
    """Check a request's body.

    Raises:
        BadRequestError: naming the instance, the field and what is expected.
    """
    if type(payload).__name__ == "InferRequest":
        raise BadRequestError(f"a request of the V2 protocol is not answered; {_V1}")
    if isinstance(payload, Mapping) and "inputs" in payload and "instances" not in payload:
        raise BadRequestError(f"a body of the V2 protocol is not answered; {_V1}")
    if not isinstance(payload, Mapping):
        raise BadRequestError(
            'the body must be a JSON object like {"instances": [{"household_id": 1228}]}, sent as application/json'
        )
    instances = payload.get("instances")
    if not isinstance(instances, list) or not instances:
        raise BadRequestError(
            '"instances" must be a list with at least one object like {"household_id": 1228, "k": 20}'
        )
    if len(instances) > MOST_INSTANCES:
        raise BadRequestError(
            f'"instances" has {len(instances)} entries, at most {MOST_INSTANCES} are answered at once'
        )
    return [_query(number, instance) for number, instance in enumerate(instances)]


def _query(number: int, instance: object) -> Query:
    if not isinstance(instance, Mapping):
        raise BadRequestError(f'instances[{number}] must be an object like {{"household_id": 1228}}')
    if unknown := sorted(repr(name) for name in set(instance) - _FIELDS):
        listed = ", ".join(unknown)
        raise BadRequestError(f"instances[{number}] has unknown fields {listed:.200}; known: household_id, k")
    if "household_id" not in instance:
        raise BadRequestError(f"instances[{number}] lacks household_id")
    return Query(
        _integer(number, "household_id", instance["household_id"], 0, _LARGEST_ID),
        _integer(number, "k", instance.get("k", DEFAULT_K), 1, LONGEST),
    )


def _integer(number: int, name: str, value: Any, low: int, high: int) -> int:
    # True is an int in Python, not in JSON.
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise BadRequestError(f"instances[{number}].{name} must be an integer from {low} to {high}, not {value!r:.60}")
    return value
