"""What an ingest announces: its intervals, and those of a backfill summed up.

A run of a backfill keeps what it has to announce, since only the end of the backfill shows what there is to tell.
"""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from airflow.sdk import Asset

#: The XCom of a task that has something to announce when its backfill has ended.
KEPT: Final = "podium.announcement"

#: Start -> [end, rows]; a list, since it is kept as JSON.
Intervals = dict[str, Any]


@dataclass(frozen=True)
class Announcement:
    """What is to be told of one asset.

    :param asset: whose event it is.
    :param intervals: what it is about.
    :param partitioned: the asset of its days or hours, if they are told too.
    :param keys: which of these.
    """

    asset: Asset
    intervals: Intervals
    partitioned: Asset | None = None
    keys: Sequence[str] = ()

    def to_json(self) -> dict[str, Any]:
        """As it is kept."""
        return {
            "asset": [self.asset.name, self.asset.uri],
            "intervals": self.intervals,
            "partitioned": [self.partitioned.name, self.partitioned.uri] if self.partitioned else None,
            "keys": list(self.keys),
        }

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Self:
        """What was kept."""
        (name, uri), partitioned = kept["asset"], kept["partitioned"]
        return cls(
            Asset(name=name, uri=uri),
            kept["intervals"],
            Asset(name=partitioned[0], uri=partitioned[1]) if partitioned else None,
            kept["keys"],
        )


def together(announcements: Iterable[Announcement]) -> list[Announcement]:
    """One for each asset.

    :param announcements: in the order in which they came: of two about the same interval the later counts.
    """
    found: dict[str, Announcement] = {}
    for each in announcements:
        before = found.get(each.asset.name)
        if before is not None:
            keys = sorted({*before.keys, *each.keys})
            partitioned = each.partitioned or before.partitioned
            each = Announcement(each.asset, before.intervals | each.intervals, partitioned, keys)
        found[each.asset.name] = each
    return list(found.values())


def told(intervals: Intervals, *, backfill: bool, failed: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The extra of the event of these intervals.

    :param backfill: whether they were published by a backfill.
    :param failed: start -> end of those of the backfill that were not published: their runs failed or were cancelled.
    """
    latest = max(intervals, key=dt.datetime.fromisoformat)
    return {
        "intervals": dict(sorted(intervals.items())),
        "latest": {"start": latest, "end": intervals[latest][0]},
        "rows": sum(rows for _, rows in intervals.values()),
        "backfill": backfill,
    } | ({"failed": dict(sorted(failed.items()))} if backfill and failed is not None else {})
