"""The result of work that has no side-car: one line of its log, `PODIUM_RESULT {…}`."""

import json
from collections.abc import Iterable
from typing import Any, Final

from podium.errors import PodiumError

MARK: Final = "PODIUM_RESULT "

# The line is the last that a job writes; a runtime may still say goodbye after it.
TAIL_LINES: Final = 200


class NoResultError(PodiumError):
    """Work succeeded but left no result."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what} succeeded, but among the last {TAIL_LINES} lines of its log there is none that begins with "
            f"{MARK.strip()!r} and holds a JSON object. Have the job print it last; then clear the task."
        )


def find_result(lines: Iterable[str]) -> dict[str, Any] | None:
    """The last result in a log; None when there is none. A launcher may prefix lines, as `[1,0]<stdout>:`."""
    for line in reversed(list(lines)):
        _, mark, text = line.partition(MARK)
        if not mark:
            continue
        try:
            result = json.loads(text)
        except json.JSONDecodeError:
            continue
        if isinstance(result, dict):
            return result
    return None
