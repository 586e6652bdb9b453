"""Whatever is killed at whatever moment: the tables end up as if nothing had happened."""

import datetime as dt
import hashlib
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from pyarrow.fs import FileSelector
from pyiceberg.catalog.sql import SqlCatalog

from include.jobs.lake.catalog import open_catalog
from include.jobs.lake.connections import Connections
from include.jobs.lake.pages import closed_intervals
from tests.chaos.platform import Platform, draw
from tests.jobs.ingest.broker import Broker, at, record

log = logging.getLogger(__name__)
TOPIC = "chaos.events"
PARTITIONS = 3
DAYS = 4
RECORDS = 24_000
#: One of so many is broken.
BROKEN = 50
BOUNDS = ("--start", at(0).isoformat(), "--end", at(24 * DAYS).isoformat(), "--unit", "day", "--timezone", "UTC")
CONTRACT = ("--contract", "transactions.v1")


def commands(table: str) -> dict[str, tuple[str, ...]]:
    """What the tasks of `ingest_transactions` run, with every day a unit of its own."""
    return {
        "interval": ("interval", "--topic", TOPIC, *BOUNDS, *CONTRACT, "--table", table, "--run-id", "chaos"),
        "validate": ("validate", *BOUNDS, *CONTRACT, "--table", table),
    }


@dataclass(frozen=True)
class Reference:
    """What an undisturbed ingest leaves: a hash of both tables and of the ledger, and how long each command took."""

    digest: str
    seconds: dict[str, float]


@pytest.fixture
def lake(connections: Connections) -> Iterator[SqlCatalog]:
    """The catalog, opened anew: its connections do not outlive the database."""
    opened = open_catalog(connections)
    yield opened
    opened.engine.dispose()


@pytest.fixture(scope="session")
def reference(platform: Platform, connections: Connections, kafka: str) -> Reference:
    """An ingest that nothing disturbs; it has every record of the topic, once."""
    broker = Broker(kafka)
    broker.create(TOPIC, PARTITIONS)
    for partition in range(PARTITIONS):
        broker.send(TOPIC, _messages(partition))
    platform.warm_up()
    # The contract refers to its products.
    platform.run(["reference"])
    seconds = {}
    for name, command in commands("chaos.reference").items():
        began = time.monotonic()
        assert platform.run(command) == 1
        seconds[name] = time.monotonic() - began
    catalog = open_catalog(connections)
    try:
        places, digest = _content(catalog, "chaos.reference")
    finally:
        catalog.engine.dispose()
    assert places == [(number % PARTITIONS, number // PARTITIONS) for number in _by_place()]
    return Reference(digest, seconds)


def test_nothing_is_lost_and_nothing_comes_twice(
    platform: Platform, reference: Reference, lake: SqlCatalog, seed: int
) -> None:
    """Broker, S3 store, Postgres and pod are killed while days are staged, and while they are judged and published."""
    table = f"chaos.run_{seed}"
    kills = draw(seed, reference.seconds)
    for name, command in commands(table).items():
        platform.run(command, kills[name])
    _, digest = _content(lake, table)
    assert digest == reference.digest, f"after {kills}"


def test_upkeep_leaves_no_file_that_no_table_names(
    platform: Platform, reference: Reference, lake: SqlCatalog, connections: Connections
) -> None:
    """After all those kills; the content stays."""
    names = [".".join(identifier) for identifier in lake.list_tables("chaos")]
    location = lake.load_table("chaos.reference").location()
    orphan = f"{location}/data/left-by-a-killed-writer.parquet".removeprefix("s3://")
    files = connections.filesystem()
    with files.open_output_stream(orphan) as stream:
        stream.write(b"half a file")
    cleaned = platform.clean_up(names)
    # The planted one, and what killed writers have left.
    log.info("%d tables, %d orphans", len(names), sum(table["orphans"] for table in cleaned.values()))
    assert cleaned["chaos.reference"]["orphans"] >= 1
    assert _objects(connections, location) == _named(lake, names)
    digests = {name: _content(lake, name)[1] for name in names if not name.endswith("_quarantine")}
    assert digests == dict.fromkeys(digests, reference.digest)


def _objects(connections: Connections, location: str) -> set[str]:
    """Every object of the namespace that a table's location is in."""
    folder = location.removeprefix("s3://").rpartition("/")[0]
    found = connections.filesystem().get_file_info(FileSelector(folder, recursive=True))
    return {f"s3://{info.path}" for info in found if info.is_file}


def _named(catalog: SqlCatalog, names: list[str]) -> set[str]:
    """Every file that the tables name: metadata, manifests, data."""
    found: set[str] = set()
    for table in map(catalog.load_table, names):
        found.add(table.metadata_location)
        found.update(entry.metadata_file for entry in table.metadata.metadata_log)
        for snapshot in table.snapshots():
            found.add(snapshot.manifest_list)
            for manifest in snapshot.manifests(table.io):
                found.add(manifest.manifest_path)
                found.update(entry.data_file.file_path for entry in manifest.fetch_manifest_entry(table.io))
    return found


def _messages(partition: int) -> Iterator[tuple[int, float, bytes]]:
    for number in range(partition, RECORDS, PARTITIONS):
        hours = number * 24 * DAYS / RECORDS
        value = record(hours, number, sales_value=1 + number % 9) if number % BROKEN else b"broken %d" % number
        yield partition, hours, value


def _by_place() -> list[int]:
    return sorted(range(RECORDS), key=lambda number: (number % PARTITIONS, number))


def _content(catalog: SqlCatalog, name: str) -> tuple[list[tuple[int, int]], str]:
    """Every record's place in Kafka, in order, and a hash of all rows, sorted by it, and of the ledger."""
    places, digest = [], hashlib.sha256()
    for identifier in (name, f"{name}_quarantine"):
        rows = catalog.load_table(identifier).scan().to_arrow()
        rows = rows.sort_by([("kafka_partition", "ascending"), ("kafka_offset", "ascending")])
        places += zip(rows["kafka_partition"].to_pylist(), rows["kafka_offset"].to_pylist(), strict=True)
        digest.update(repr(rows.to_pylist()).encode())
    ledger = closed_intervals(catalog.load_table(name))
    # When it was closed is all that may differ.
    closed = [(entry.interval, entry.topic_id, dict(entry.ranges), entry.counts) for entry in ledger]
    digest.update(repr(closed).encode())
    assert len(closed) == DAYS
    assert all(entry.interval.end - entry.interval.start == dt.timedelta(days=1) for entry in ledger)
    return sorted(places), digest.hexdigest()
