"""What became of an interval's suite as a page for a person: Data Docs.

What events hold is text here, whatever they hold: nothing of it is markup, and the page runs no script, loads nothing
and leads nowhere.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, Template

from include.jobs.ingest.expectations import Judgement
from include.jobs.lake.ledger import Interval
from include.jobs.lake.text import printable


def rendered(table: str, interval: Interval, rows: int, judged: int, judgement: Judgement) -> str:
    """The page (HTML): `rows` are in the interval, `judged` of them were looked at."""
    return _template().render(
        table=table,
        interval=interval,
        rows=rows,
        judged=judged,
        # What somebody came to see stands first.
        entries=sorted(judgement.entries, key=lambda entry: bool(entry["success"])),
        skipped=judgement.skipped,
        success=all(entry["success"] for entry in judgement.entries),
    )


def _shown(value: Any) -> str:
    """A value on one line."""
    return printable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str))


@cache
def _template() -> Template:
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True)
    environment.filters["shown"] = _shown
    return environment.get_template("page.html.j2")
