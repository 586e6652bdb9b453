"""Keeps the secrets that a task was given out of the log that its trigger copies.

Airflow's masker learns a secret in the process that reads it: the worker's, when it renders a variable or a connection
into the work. The triggerer has not read it. So what the worker knows to be secret and has put into the work goes to
the trigger, among its arguments, which Airflow stores encrypted.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

HIDDEN: Final = "***"
# As Airflow's masker has it: shorter ones would hide half of all texts.
SHORTEST: Final = 5


def secrets_in(manifest: Any) -> list[str]:
    """What Airflow's masker of this process would hide in an object that is sent to the cluster, longest first."""
    from airflow.sdk._shared.secrets_masker import _secrets_masker

    known = _secrets_masker().replacer
    if known is None:
        return []
    found: set[str] = set()
    for text in _texts(manifest):
        for match in known.finditer(text):
            # A program may well print a key of several lines line by line.
            found |= {part for part in (match.group(0), *match.group(0).split("\n")) if len(part) >= SHORTEST}
    return sorted(found, key=lambda secret: (-len(secret), secret))


def hider(secrets: Sequence[str]) -> Callable[[str], str]:
    """What hides these in a text."""
    if not secrets:
        return lambda text: text
    pattern = re.compile("|".join(re.escape(secret) for secret in sorted(secrets, key=len, reverse=True)))
    return lambda text: pattern.sub(HIDDEN, text)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _texts(inner)
