"""Which log an interval is read from: a table may go on, from a moment on, with another topic or a new one.

Offsets before and after such a moment say nothing of each other: they lie in different logs, and no interval lies on
both sides. Each choice is a property of the events' table. Pure data: no lake, no Kafka.
"""

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from include.jobs.lake.ledger import Interval, IntervalRecord, Ledger, LedgerError, iso

PREFIX = "podium.adopted."


@dataclass(frozen=True, slots=True)
class Adoption:
    """From `begin` on the table is filled from this topic; `starts` are offsets, by partition, where that goes on.

    A partition without one goes on where the moment lies in it.
    """

    begin: dt.datetime
    topic: str
    topic_id: str
    starts: Mapping[int, int]
    run_id: str
    adopted_at: dt.datetime

    @property
    def key(self) -> str:
        """The table property that holds it."""
        return PREFIX + iso(self.begin)

    def to_json(self) -> str:
        """The property's value."""
        return json.dumps(
            {
                "topic": self.topic,
                "topic_id": self.topic_id,
                "starts": {str(number): offset for number, offset in sorted(self.starts.items())},
                "run_id": self.run_id,
                "adopted_at": iso(self.adopted_at),
            },
            separators=(",", ":"),
        )

    @classmethod
    def from_property(cls, key: str, text: str) -> Self:
        """Parse a property.

        Raises:
            LedgerError: it is not what `to_json` writes.
        """
        try:
            value = json.loads(text)
            return cls(
                dt.datetime.fromisoformat(key.removeprefix(PREFIX)),
                value["topic"],
                value["topic_id"],
                {int(number): int(offset) for number, offset in value["starts"].items()},
                value["run_id"],
                dt.datetime.fromisoformat(value["adopted_at"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise LedgerError(
                f"table property {key} is damaged ({error}): restore it from an older metadata file of the table"
            ) from error


@dataclass(frozen=True, slots=True)
class Sources:
    """The logs that a table was filled from, in order of time."""

    adoptions: tuple[Adoption, ...] = field(default=())

    @classmethod
    def from_properties(cls, properties: Mapping[str, str]) -> Self:
        """From the properties of the events' table.

        Raises:
            LedgerError: one is damaged.
        """
        found = [Adoption.from_property(key, text) for key, text in properties.items() if key.startswith(PREFIX)]
        return cls(tuple(sorted(found, key=lambda adoption: adoption.begin)))

    def of(self, interval: Interval) -> Adoption | None:
        """What the interval is read from; None for the topic that the table was filled from first.

        Raises:
            LedgerError: it lies on both sides of a change.
        """
        for adoption in self.adoptions:
            if interval.start < adoption.begin < interval.end:
                raise LedgerError(
                    f"interval {interval} lies on both sides of {iso(adoption.begin)}, from where on the table is "
                    f"filled from topic {adoption.topic} (id {adoption.topic_id}): choose boundaries that meet it"
                )
        return next((one for one in reversed(self.adoptions) if one.begin <= interval.start), None)

    def neighbours(self, interval: Interval, ledger: Ledger) -> tuple[IntervalRecord | None, IntervalRecord | None]:
        """The nearest recorded intervals before and after this one that were read from the same log."""
        mine = self.of(interval)
        found = (ledger.before(interval), ledger.after(interval))
        earlier, later = (
            record if record is not None and self.of(record.interval) == mine else None for record in found
        )
        return earlier, later
