"""Makes tables with a short and a long history of hourly intervals, and measures an interval more of each.

`python -m benchmarks.long_history RESULT TOPIC SHORT LONG HISTORY PARTITIONS`, in the ingest's environment, with the
variables and credentials that a pod finds. The long history is what its commits and `maintain_lake` would have left:
closed intervals on pages, files in manifests of a thousand. Files of intervals that are near to the measured ones are
there, as the ingest looks into them for duplicates; the others are named and never opened.
"""

import datetime as dt
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

import orjson
import pyarrow as pa
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table
from pyiceberg.typedef import Record

from include.jobs.ingest.contract import Contract
from include.jobs.ingest.interval import Request, ingest
from include.jobs.ingest.publish import publish, staged_record
from include.jobs.ingest.schemas import event_tables
from include.jobs.ingest.topic import Topic
from include.jobs.lake.catalog import ensure_table, open_catalog
from include.jobs.lake.connections import kafka_bootstrap_servers, kafka_client, kafka_security
from include.jobs.lake.intervals import IntervalWriter
from include.jobs.lake.ledger import Counts, Interval, IntervalRecord, OffsetRange
from include.jobs.lake.pages import fold, folder_of
from include.jobs.lake.tables import EventTables

BEGIN = dt.datetime(2017, 1, 1, tzinfo=dt.UTC)
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
CONTRACT = Contract.load("transactions.v1")
ROUNDS = 5
#: The tenth interval is the one after these.
FEW = 9
#: Records of each partition in an hour that is ingested.
RECORDS = 4
#: Hours to both sides of a measured one in which files are there: the look back of the contract, and a day.
NEAR = 8 * 24
MANIFEST_FILES = 1_000
#: What a manifest has of a file, beside its partition.
FACTS = (
    "content",
    "file_path",
    "file_format",
    "record_count",
    "file_size_in_bytes",
    "column_sizes",
    "value_counts",
    "null_value_counts",
    "nan_value_counts",
    "lower_bounds",
    "upper_bounds",
    "split_offsets",
)


class History:
    """Which hours have records in the topic, and what intervals of the others have taken: nothing."""

    def __init__(self, topic: str, topic_id: str, hours: Sequence[int], partitions: int) -> None:
        self._topic, self._topic_id, self._partitions = topic, topic_id, partitions
        self._hours = sorted(hours)

    def record(self, hour: int) -> IntervalRecord:
        """What is recorded of an hour."""
        before, held = sum(other < hour for other in self._hours), hour in self._hours
        span = OffsetRange(before * RECORDS, (before + held) * RECORDS)
        read = len(span) * self._partitions
        ranges = dict.fromkeys(range(self._partitions), span)
        counts = Counts(read, read, 0)
        return IntervalRecord(interval(hour), self._topic, self._topic_id, ranges, counts, "bench", BEGIN)


def interval(hour: int) -> Interval:
    """An hour."""
    return Interval(BEGIN + dt.timedelta(hours=hour), BEGIN + dt.timedelta(hours=hour + 1))


def main() -> None:
    """Make, measure, and write the result."""
    result, topic, short, long, history, partitions = sys.argv[1:]
    count, middle = int(history), int(history) // 2
    asked = {"tenth": (short, FEW), "next": (long, count), "rerun": (long, middle)}
    hours = [first + turn for _, first in asked.values() for turn in range(ROUNDS)]
    admin = AdminClient(kafka_client())
    admin.create_topics([NewTopic(topic, int(partitions), 1, config={"retention.ms": "-1"})])[topic].result()
    try:
        _produce(topic, sorted(hours), int(partitions))
        catalog = open_catalog()
        with Topic(kafka_bootstrap_servers(), topic, kafka_security()) as opened:
            past = History(topic, opened.view().topic_id, hours, int(partitions))
            for name, closed, near in ((short, FEW, (FEW,)), (long, count, (middle, count))):
                _make(catalog, event_tables(CONTRACT, name), past, closed, near)
            seconds: dict[str, list[float]] = {name: [] for name in asked}
            # Side by side: what else the machine does meets all of them.
            for turn in range(ROUNDS):
                for name, (table, first) in asked.items():
                    seconds[name].append(_one(catalog, opened, event_tables(CONTRACT, table), first + turn))
    finally:
        admin.delete_topics([topic])[topic].result()
    figures = {f"{name}_s": median(each) for name, each in seconds.items()} | {"intervals": count}
    Path(result).write_text(json.dumps(figures), encoding="utf-8")


def _one(catalog: SqlCatalog, topic: Topic, tables: EventTables, hour: int) -> float:
    """Seconds of ingesting and publishing an hour."""
    began = time.monotonic()
    found = ingest(catalog, topic, CONTRACT, Request(interval(hour), "bench", dt.timedelta(0), 0.0, tables))
    staged = staged_record(catalog.load_table(tables.events.identifier), interval(hour))
    if staged is None or not found["accepted"] == found["read"] > 0:
        raise RuntimeError(f"hour {hour} should have been staged as it came: {found}")
    publish(catalog, tables, staged)
    return time.monotonic() - began


def _make(catalog: SqlCatalog, tables: EventTables, past: History, closed: int, near: Sequence[int]) -> None:
    events = ensure_table(catalog, tables.events)
    files = list(_files(events, tables, closed, near))
    for begin in range(0, closed, MANIFEST_FILES):
        with (
            events.transaction() as transaction,
            transaction.update_snapshot().fast_append() as append,
        ):
            for file in files[begin : begin + MANIFEST_FILES]:
                append.append_data_file(file)
    closing = {record.key: record.to_json() for record in map(past.record, range(closed))}
    folder = folder_of(catalog.properties["warehouse"], tables.events.identifier)
    with events.transaction() as transaction:
        transaction.set_properties(fold({}, closing, events.io, folder).setting)


def _files(events: Table, tables: EventTables, closed: int, near: Sequence[int]) -> Iterator[DataFile]:
    """A file an hour."""
    named: DataFile | None = None
    for hour in range(closed):
        if named is None or any(abs(hour - other) <= NEAR for other in near):
            named = _write(events, tables, hour)
            yield named
        else:
            partition = Record((interval(hour).start - EPOCH) // dt.timedelta(microseconds=1))
            facts = {name: getattr(named, name) for name in FACTS}
            yield DataFile.from_args(partition=partition, spec_id=events.spec().spec_id, **facts)


def _write(events: Table, tables: EventTables, hour: int) -> DataFile:
    start, schema = interval(hour).start, tables.events.arrow_schema
    rows = [
        _event(hour, number)
        | {"interval_start": start, "kafka_partition": number, "kafka_offset": 0, "event_time": start}
        | {"transaction_timestamp": start}
        for number in range(RECORDS)
    ]
    with IntervalWriter(events, start, schema) as writer:
        writer.write(pa.RecordBatch.from_pylist(rows, schema))
    (file,) = writer.files
    return file


def _event(hour: int, number: int, name: str = "closed") -> dict[str, object]:
    amounts = dict.fromkeys(("sales_value", "retail_disc", "coupon_disc", "coupon_match_disc"), 0.5)
    ids = dict.fromkeys(("household_id", "store_id", "basket_id", "product_id", "quantity"), 1)
    # As the shop's: they begin with what is the same for many, and sort as chance has it.
    return {"schema_version": 1, "event_id": f"{hour * 7919 % 9973}-{hour}-{name}-{number}", **ids, **amounts}


def _produce(topic: str, hours: Sequence[int], partitions: int) -> None:
    producer = Producer({**kafka_client(), "linger.ms": 20})
    for hour in hours:
        start = interval(hour).start
        for number in range(partitions * RECORDS):
            event = _event(hour, number, "new") | {"transaction_timestamp": f"{start:%Y-%m-%dT%H:%M:%SZ}"}
            moment = int(start.timestamp() * 1000) + number
            producer.produce(topic, orjson.dumps(event), b"1", number % partitions, timestamp=moment)
    if producer.flush(60):
        raise RuntimeError(f"topic {topic} did not take all events: look at the broker's log")


if __name__ == "__main__":
    main()
