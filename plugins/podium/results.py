"""What work leaves: one line of its log, `PODIUM_RESULT {…}`, where it has no side-car; and what of it can be kept.

A result goes into Airflow's database as JSON, and Python's JSON knows more than that does.
"""

import json
import math
from collections.abc import Iterable, Iterator
from typing import Any, Final

from airflow.sdk.exceptions import AirflowFailException

from podium.errors import PodiumError

MARK: Final = "PODIUM_RESULT "

# The line is the last that a job writes; a runtime may still say goodbye after it.
TAIL_LINES: Final = 200
# What Airflow's processes tell each other in (MessagePack) has integers of 64 bits.
SMALLEST, LARGEST = -(2**63), 2**64 - 1


class NoResultError(PodiumError):
    """Work succeeded but left no result."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what} succeeded, but among the last {TAIL_LINES} lines of its log there is none that begins with "
            f"{MARK.strip()!r} and holds a JSON object. Have the job print it last; then clear the task."
        )


class UnfitResultError(PodiumError, AirflowFailException):
    """Work succeeded, but what it left cannot be kept. Trying again reads the same, so it is not retried."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(
            f"{what} succeeded, but its result cannot be kept: {why}. Have the job leave what JSON knows (null for a "
            "number that is none, text for a large one); then clear the task."
        )


def parse(text: str, what: str) -> Any:
    """A result from its JSON.

    :param what: whose it is, for people.
    :raises UnfitResultError: it is no JSON, or cannot be kept.
    """
    try:
        value = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise UnfitResultError(what, f"it is no JSON: {error}") from None
    return ensure_fit(value, what)


def ensure_fit(value: Any, what: str) -> Any:
    """The same result, if it can be kept.

    :raises UnfitResultError: it cannot be: it holds no number, one beyond 64 bits, or text that is none.
    """
    for why in _unfit(value, "the result"):
        raise UnfitResultError(what, why)
    return value


def _unfit(value: Any, place: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _unfit(key, f"a key of {place}")
            yield from _unfit(inner, f"{place}[{key!r}]")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _unfit(inner, f"{place}[{index}]")
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{place} is {value}"
    elif isinstance(value, int) and not SMALLEST <= value <= LARGEST:
        yield f"{place} is an integer of {value.bit_length()} bits"
    elif isinstance(value, str) and "\0" in value:
        yield f"{place} holds the character NUL"
    elif isinstance(value, str) and any("\ud800" <= char <= "\udfff" for char in value):
        yield f"{place} holds half a character (a lone surrogate)"


def find_result(lines: Iterable[str]) -> dict[str, Any] | None:
    """The last result in a log; None when there is none.

    A launcher may prefix lines, as `[1,0]<stdout>:`, and a progress bar that another stream draws may stand on both
    sides of it.
    """
    decoder = json.JSONDecoder()
    for line in reversed(list(lines)):
        _, mark, text = line.rpartition(MARK)
        if not mark:
            continue
        try:
            result, _ = decoder.raw_decode(text.lstrip())
        except json.JSONDecodeError:
            continue
        if isinstance(result, dict):
            return result
    return None
