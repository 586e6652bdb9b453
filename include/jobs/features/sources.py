"""What features are made from: the events and the reference data, each as of one snapshot."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from include.jobs.features.tables import load, read_as_of, records_of
from include.jobs.lake.connections import CATALOG_NAME
from include.jobs.lake.errors import LakeError
from include.jobs.lake.ledger import Ledger
from include.jobs.lake.pages import closed_in

_DAY = dt.timedelta(days=1)
EVENTS, PRODUCTS, HOUSEHOLDS = "sales.transactions", "reference.products", "reference.households"


@dataclass(frozen=True, slots=True)
class Source:
    """A table that features are made from, as of one snapshot; None when nothing was ever written to it."""

    rows: DataFrame
    snapshot_id: int | None
    count: int


@dataclass(frozen=True, slots=True)
class Events(Source):
    """`sales.transactions`, with the ledger of that table, and the data files of each interval.

    An interval is its start in microseconds since 1970.
    """

    ledger: Ledger
    files: Mapping[int, Sequence[str]]

    def of(self, intervals: Sequence[int]) -> DataFrame:
        """Only the rows of these intervals; no other file is opened."""
        return self.rows.where(F.col("interval_start").isin([F.timestamp_micros(F.lit(each)) for each in intervals]))

    def within(self, spans: Sequence[tuple[dt.datetime | None, dt.datetime]]) -> DataFrame:
        """What was bought in these spans of time: from the first moment (None: from the beginning) to the last.

        And a day more at the end: the local day decides, and a clock that is put back may make it yesterday again. What
        comes before a local midnight is never of the day that begins there.
        """
        wanted = F.lit(False)
        for start, end in spans:
            before_end = _before(end + _DAY)
            wanted = wanted | (before_end if start is None else before_end & ~_before(start))
        return self.rows.where(wanted)


def read_events(spark: SparkSession) -> Events:
    """Read the events, pinned to the snapshot that is current now.

    Raises:
        LakeError: the table does not exist or has no snapshot.
    """
    table = load(spark, EVENTS)
    snapshot = table.currentSnapshot()
    if snapshot is None:
        raise LakeError("table sales.transactions is empty: ingest intervals first")
    # Rows and ledger come from the same state of the table.
    number = snapshot.snapshotId()
    rows = read_as_of(spark, EVENTS, number)
    files: dict[int, list[str]] = {}
    listed = read_as_of(spark, f"{EVENTS}.files", number)
    for interval, path in listed.select(F.unix_micros("partition.interval_start"), "file_path").collect():
        files.setdefault(interval, []).append(path)
    ledger = closed_in(dict(table.properties()), partial(_content, table.io()))
    return Events(rows, number, records_of(snapshot), ledger, files)


def read_reference(spark: SparkSession, name: str) -> Source:
    """A table of the reference data, `reference.products` or `reference.households`, pinned as the events are.

    Raises:
        LakeError: the table does not exist.
    """
    snapshot = load(spark, name).currentSnapshot()
    if snapshot is None:
        return Source(spark.table(f"{CATALOG_NAME}.{name}"), None, 0)
    return Source(read_as_of(spark, name, snapshot.snapshotId()), snapshot.snapshotId(), records_of(snapshot))


def _content(files: Any, address: str) -> bytes:
    """A whole file, by the table's own way to the lake."""
    stream = files.newInputFile(address).newStream()
    try:
        return bytes(stream.readAllBytes())
    finally:
        stream.close()


def _before(moment: dt.datetime) -> Column:
    # By number: a literal without its zone would be taken as the machine's local time.
    return F.col("transaction_timestamp") < F.timestamp_micros(F.lit(int(moment.timestamp() * 1_000_000)))
