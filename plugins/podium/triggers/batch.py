"""Batches that a producer announces in Kafka: each starts the ingest of its interval at once."""

import datetime as dt
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

from airflow.providers.apache.kafka.triggers.shared_stream import KafkaSharedStreamTrigger
from airflow.triggers.base import TriggerEvent
from airflow.triggers.shared_stream import reject_shared_stream_event

log = logging.getLogger(__name__)


def read_batch(message: bytes | None) -> dict[str, str]:
    """An announcement: `{"start": …, "end": …}`, ISO 8601 with offset; whatever else it holds is left out.

    :raises ValueError: it is none.
    """
    data: Any = json.loads(message or b"")
    if not isinstance(data, dict):
        raise ValueError("it is no JSON object")
    first, last = data.get("start"), data.get("end")
    if not isinstance(first, str) or not isinstance(last, str):
        raise ValueError("it lacks start or end")
    start, end = dt.datetime.fromisoformat(first), dt.datetime.fromisoformat(last)
    if start.tzinfo is None or end.tzinfo is None:
        raise ValueError("start and end need an offset, as 2017-01-01T05:00:00Z has")
    if start >= end:
        raise ValueError("start must lie before end")
    return {"start": start.astimezone(dt.UTC).isoformat(), "end": end.astimezone(dt.UTC).isoformat()}


class BatchTrigger(KafkaSharedStreamTrigger):
    """Fires once for each announced batch; what is no announcement goes to the dead-letter topic.

    The consumer's offset is committed after the event is persisted: a triggerer that dies loses no batch, and may
    announce one twice. That is harmless, as a second run of an interval replaces it by the same rows.
    """

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """As the provider's, under this class's name."""
        _, arguments = super().serialize()
        return f"{type(self).__module__}.{type(self).__qualname__}", arguments

    async def filter_shared_stream(self, shared_stream: AsyncIterator[Any]) -> AsyncIterator[TriggerEvent]:
        """Events whose payload is what `read_batch` gives."""
        async for message in shared_stream:
            try:
                batch = read_batch(message)
            except ValueError as error:
                log.warning("A message on %s announces no batch (%s)", ", ".join(self.topics), error)
                reject_shared_stream_event()
                continue
            yield TriggerEvent(batch)  # type: ignore[no-untyped-call]
