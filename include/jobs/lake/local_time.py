"""The shops' clock: what local day and time a moment is, by Python's time zones, of which each image has a copy.

Arrow would ask the operating system for its own, which may be another one or none.
"""

import datetime as dt
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc


def local_seconds(times: pa.ChunkedArray, timezone: ZoneInfo) -> npt.NDArray[np.int64]:
    """Seconds since 1970-01-01T00:00 on the local clock, whole ones, of each moment; none may be null."""
    micros = pc.cast(pc.cast(times, pa.timestamp("us", tz="UTC")), pa.int64()).to_numpy()
    seconds = micros // 1_000_000
    # A clock is changed at a full minute, if not at a full hour.
    minutes, of_row = np.unique(seconds // 60, return_inverse=True)
    offsets = [dt.datetime.fromtimestamp(minute * 60, timezone).utcoffset() for minute in minutes.tolist()]
    shift = np.array([offset.total_seconds() if offset else 0.0 for offset in offsets], np.int64)
    local: npt.NDArray[np.int64] = seconds + shift[of_row]
    return local


def local_days(times: pa.ChunkedArray, timezone: ZoneInfo) -> "npt.NDArray[np.datetime64]":
    """The local day of each moment."""
    days: npt.NDArray[np.datetime64] = (local_seconds(times, timezone) // 86_400).astype("datetime64[D]")
    return days
