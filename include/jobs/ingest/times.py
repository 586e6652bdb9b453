"""Message times that are none: a producer may stamp a record with any 64 bits.

A record whose time does not lie in 1970 to 2099 goes to quarantine, whatever its value says, so that every time in the
tables can be read by everybody. There it stands at the start of its interval; its stamp is in the detail.
"""

import dataclasses
import datetime as dt
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from include.jobs.ingest.check import Broken, Checked
from include.jobs.ingest.contract import Reason

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
#: Milliseconds since 1970, up to here.
_END = int((dt.datetime(2100, 1, 1, tzinfo=dt.UTC) - _EPOCH).total_seconds() * 1000)


def readable(time: int) -> dt.datetime | None:
    """A message time, None for one that is none."""
    return _EPOCH + dt.timedelta(milliseconds=time) if 0 <= time < _END else None


def event_times(times: pa.Array, start: dt.datetime) -> pa.Array:
    """Message times as a table holds them; one that is none as `start`."""
    if _all_readable(times):
        return times.cast(pa.timestamp("ms", "UTC"))
    known = pa.array(~_none(times))
    moments = pc.if_else(known, times, 0).cast(pa.timestamp("ms", "UTC")).cast(pa.timestamp("us", "UTC"))
    return pc.if_else(known, moments, pa.scalar(start, pa.timestamp("us", "UTC")))


def refuse_times(times: pa.Array, checked: Checked) -> Checked:
    """A checked batch with those records as broken whose message time is none."""
    if _all_readable(times):
        return checked
    stamps, none = np.asarray(times), _none(times)

    def told(place: int) -> str:
        return f"message time {stamps[place]} ms, which is not in 1970 to 2099"

    told_too = [
        dataclasses.replace(broken, detail=f"{broken.detail}; {told(broken.index)}") if none[broken.index] else broken
        for broken in checked.broken
    ]
    refused = none[np.asarray(checked.good)]
    return refuse(dataclasses.replace(checked, broken=told_too), refused, told)


def refuse(checked: Checked, refused: "np.ndarray", detail: Callable[[int], str]) -> Checked:
    """A checked batch with some of its good records, by a mask of them, as broken for their message time."""
    places = np.asarray(checked.good)[refused].tolist()
    kept = pa.array(~refused)
    return Checked(
        checked.good.filter(kept),
        {name: column.filter(kept) for name, column in checked.columns.items()},
        sorted(
            [*checked.broken, *(Broken(place, Reason.IMPOSSIBLE_TIME, detail(place)) for place in places)],
            key=lambda broken: broken.index,
        ),
    )


def _all_readable(times: pa.Array) -> bool:
    bounds = pc.min_max(times)
    return not len(times) or bool(bounds["min"].as_py() >= 0 and bounds["max"].as_py() < _END)


def _none(times: pa.Array) -> "np.ndarray":
    stamps = np.asarray(times)
    return (stamps < 0) | (stamps >= _END)
