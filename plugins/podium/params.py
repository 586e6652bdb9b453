"""What people may give to a DAG: each parameter is held to what it says it is, before anything runs.

Airflow hands the schema to `jsonschema`, which does not enforce `format`; so the patterns do. They end where the text
ends (`$` would let a newline follow), and know the digits 0 to 9 only.
"""

from typing import Any, Final

from airflow.sdk import Param

_END: Final = r"(?![\s\S])"
_DAY: Final = r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_TIME: Final = r"([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.][0-9]{1,6})?)?"
_OFFSET: Final = r"(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"

MOMENT: Final = f"^{_DAY}T{_TIME}{_OFFSET}{_END}"
OBJECT: Final = rf"^(s3://[a-z0-9][a-z0-9.-]+/[!-~]+)?{_END}"
PSEUDONYM: Final = f"^[0-9a-f]{{32}}{_END}"
TABLES: Final = rf"^([a-z_]+[.][a-z_]+(,[a-z_]+[.][a-z_]+)*)?{_END}"


def moment(description: str) -> Param:
    """A time with its offset, ISO 8601: `2017-03-01T05:00:00Z`."""
    text = f"{description}; with its offset, for instance 2017-03-01T05:00:00Z"
    return Param(type="string", format="date-time", pattern=MOMENT, description=text)


def choice(description: str, default: str, choices: Any) -> Param:
    """One of some words."""
    return Param(default, type="string", enum=list(choices), description=description)


def address(description: str) -> Param:
    """An object of a bucket, or none."""
    return Param("", type="string", pattern=OBJECT, maxLength=1024, description=description)


def tables(description: str) -> Param:
    """Tables of the lake, with commas; none means all."""
    return Param("", type="string", pattern=TABLES, maxLength=4096, description=description)


def pseudonym(description: str) -> Param:
    """The pseudonym by which somebody is known; who it is stays out of Airflow."""
    return Param(type="string", pattern=PSEUDONYM, description=f"pseudonym of {description}")


def arguments(description: str, never: list[str]) -> Param:
    """The arguments of a command, each a text of one line.

    :param never: arguments that are refused.
    """
    each = {"type": "string", "pattern": rf"^[^\x00-\x1f\x7f]+{_END}", "maxLength": 4096, "not": {"enum": never}}
    return Param(type="array", items=each, minItems=1, maxItems=40, description=description)
