"""What the events hold of each day, of which only the intervals that have changed since the last build are read.

The published view keeps, for each interval, a mark of its data files and sums of hashes of its purchases, by local day.
An interval whose files are still the same holds the same purchases. Sums add up, so that a day is known by what all
intervals have of it, stragglers too.
"""

import datetime as dt
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self, TypeAlias

from include.jobs.features.stale import code, digest

#: Rows, and sums of the halves of their hashes.
Sums: TypeAlias = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Part:
    """An interval's purchases: a mark of the files and of the code that they were read by, and sums by local day."""

    mark: str
    days: Mapping[dt.date, Sums]

    def dumps(self) -> str:
        """As the view keeps it."""
        return json.dumps([self.mark, {day.isoformat(): sums for day, sums in self.days.items()}])

    @classmethod
    def loads(cls, text: str) -> Self:
        """The reverse of `dumps`."""
        mark, days = json.loads(text)
        return cls(mark, {dt.date.fromisoformat(day): tuple(sums) for day, sums in days.items()})


def mark(files: Iterable[str], timezone: str) -> str:
    """Of an interval's files; another time zone makes other days of them, other code perhaps other purchases."""
    return digest(code(), timezone, *sorted(files))


def of_days(parts: Iterable[Part]) -> dict[dt.date, str]:
    """The purchases of each day in all intervals together, as a digest."""
    found: defaultdict[dt.date, Sums] = defaultdict(lambda: (0, 0, 0))
    for part in parts:
        for day, (rows, low, high) in part.days.items():
            before = found[day]
            found[day] = before[0] + rows, before[1] + low, before[2] + high
    return {day: ":".join(map(str, sums)) for day, sums in found.items()}
