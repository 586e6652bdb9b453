"""What each partition of the feature tables is made from, as a digest: one whose digest has changed is out of date.

Digests are of content, not of files or times. So an interval that is ingested again with the same events, a compaction
or reference data that is published again makes nothing stale; a late event makes stale what comes after its day, the
label of its month and the demand of its month.
"""

import datetime as dt
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeAlias

from include.jobs.features import compute
from include.jobs.features.history import Cutoff, next_month
from include.jobs.features.tables import DEMAND, INTERACTIONS, ITEMS, PREFERENCES, USERS, FeatureTable

#: Digests by table, then by partition.
Digests: TypeAlias = Mapping[str, Mapping[dt.date, str]]


@dataclass(frozen=True, slots=True)
class Sources:
    """Digests of what features are made from: the purchases of each local day, and the reference data."""

    days: Mapping[dt.date, str]
    products: str
    households: str

    def digests(self, cutoffs: Sequence[Cutoff], months: Sequence[dt.date]) -> Digests:
        """What the partitions of these cutoffs, and of demand in these months, are made from."""
        past = {each.day: self._days(dt.date.min, each.day) for each in cutoffs}
        labels = {each.day: self._days(each.day, each.label_end) if each.labelled else "" for each in cutoffs}
        return {
            USERS.name: {day: _digest(USERS, seen, self.households) for day, seen in past.items()},
            ITEMS.name: {day: _digest(ITEMS, seen) for day, seen in past.items()},
            INTERACTIONS.name: {day: _digest(INTERACTIONS, seen, labels[day]) for day, seen in past.items()},
            PREFERENCES.name: {day: _digest(PREFERENCES, seen, self.products) for day, seen in past.items()},
            DEMAND.name: {
                month: _digest(DEMAND, self._days(month, next_month(month)), self.products) for month in months
            },
        }

    def _days(self, start: dt.date, end: dt.date) -> str:
        """The purchases of the days from `start` to before `end`."""
        return digest(*(f"{day} {sums}" for day, sums in sorted(self.days.items()) if start <= day < end))


def stale(wanted: Digests, made: Digests) -> dict[str, list[dt.date]]:
    """The wanted partitions, by table, that are not there, or were made from something else."""
    return {
        table: [partition for partition, wants in partitions.items() if made.get(table, {}).get(partition) != wants]
        for table, partitions in wanted.items()
    }


def _digest(table: FeatureTable, *sources: str) -> str:
    """Of what a partition is made from, and of the code that makes it."""
    return digest(code(), str(dict(table.columns)), *sources)


@cache
def code() -> str:
    """What makes the features."""
    return Path(compute.__file__).read_text(encoding="utf-8")


def digest(*parts: str) -> str:
    """A short hash of texts."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]
