"""Records that the contract of transactions admits, at its edges: drawn by the contract's own fields.

For the environments of all images: read from the contract's file, whose fields stand one a line, without its code.
"""

import datetime as dt
import re
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from tests.services import ROOT

CONTRACT: Path = ROOT / "include" / "contracts" / "transactions.v1.yaml"
_FIELD = re.compile(r"^ +- \{(name: .*)\}", re.MULTILINE)
#: Ids come from so few, beside their bounds, that households and products meet again.
_FEW = 6
#: Beginnings of local months in New York, on one side or the other of a change of the clocks, and leap days.
_MOMENTS = [
    dt.datetime(2016, 12, 1, 5, tzinfo=dt.UTC),
    dt.datetime(2017, 1, 1, 5, tzinfo=dt.UTC),
    dt.datetime(2017, 3, 12, 7, tzinfo=dt.UTC),
    dt.datetime(2017, 4, 1, 4, tzinfo=dt.UTC),
    dt.datetime(2016, 2, 29, 12, tzinfo=dt.UTC),
]


def fields() -> list[dict[str, str]]:
    """The contract's fields as they are written."""
    return [dict(part.split(": ", 1) for part in found.split(", ")) for found in _FIELD.findall(CONTRACT.read_text())]


def _values(field: dict[str, str]) -> st.SearchStrategy[Any]:
    name, kind = field["name"], field["type"]
    if kind == "string":
        low, high = int(field["min_length"]), int(field["max_length"])
        return st.text(st.characters(exclude_categories=["Cs"]), min_size=low, max_size=high)
    if kind == "timestamp":
        bounds = [dt.datetime.fromisoformat(field[key].strip('"')) for key in ("minimum", "maximum")]
        near = [moment + dt.timedelta(seconds=by) for moment in _MOMENTS for by in (-1, 0, 1)]
        spread = st.integers(0, int((bounds[1] - bounds[0]).total_seconds()))
        return st.sampled_from([*bounds, *near]) | spread.map(lambda by: bounds[0] + dt.timedelta(seconds=by))
    if kind == "integer":
        low, high = int(field["minimum"]), int(field["maximum"])
        if name.endswith("_id"):
            return st.sampled_from([low, high, *range(low, min(low + _FEW, high + 1))])
        return st.sampled_from([low, high, min(low + 1, high)]) | st.integers(low, high)
    low, high = float(field["minimum"]), float(field["maximum"])
    odd = [low, high, low + 0.005, low + 0.125, 5e-324, 0.1, high - 0.01, 1.005]
    return st.sampled_from(odd) | st.floats(low, high, allow_nan=False).map(lambda value: value + 0.0)


def _optional(field: dict[str, str]) -> st.SearchStrategy[Any]:
    values = _values(field)
    return st.none() | values if field.get("optional") == "true" else values


#: One record, as a row of the table has it: every field by name.
records: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {field["name"]: _optional(field) for field in fields()}
)
#: What is far from all others, free, huge, and the only one of its kind.
shops: st.SearchStrategy[list[dict[str, Any]]] = st.lists(records, min_size=1, max_size=60)
