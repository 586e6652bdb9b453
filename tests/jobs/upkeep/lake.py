"""Making tables, filling intervals, and what a table holds, as a hash."""

import datetime as dt
import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
from mlflow.tracking import MlflowClient
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table
from pyiceberg.table.refs import MAIN_BRANCH

from include.jobs.lake.catalog import ensure_table
from include.jobs.lake.commits import replace_interval
from include.jobs.lake.connections import Connections
from include.jobs.lake.intervals import IntervalWriter
from include.jobs.lake.ledger import Counts, Interval, IntervalRecord, OffsetRange
from include.jobs.lake.tables import TableSpec
from tests.jobs.contracted import SALES

HOUR = dt.timedelta(hours=1)


def hour(number: int) -> dt.datetime:
    return dt.datetime(2017, 1, 1, tzinfo=dt.UTC) + number * HOUR


def sale(number: int, start: dt.datetime, household: int) -> dict[str, Any]:
    """A row of `sales.transactions`."""
    return {
        "interval_start": start,
        "kafka_partition": 0,
        "kafka_offset": number,
        "event_time": start,
        "schema_version": 1,
        "event_id": f"e{number}",
        "household_id": household,
        "store_id": 1,
        "basket_id": number,
        "product_id": number % 7,
        "quantity": 1,
        "sales_value": number / 4,
        "retail_disc": 0.0,
        "coupon_disc": 0.0,
        "coupon_match_disc": 0.0,
        "transaction_timestamp": start,
    }


def broken(number: int, start: dt.datetime, key: bytes | None, value: bytes | None) -> dict[str, Any]:
    """A row of `sales.transactions_quarantine`."""
    return {
        "interval_start": start,
        "kafka_partition": 0,
        "kafka_offset": number,
        "event_time": start,
        "key": key,
        "value": value,
        "reason": "not_json",
        "detail": "",
        "run_id": "r",
    }


def fill(
    catalog: SqlCatalog,
    number: int,
    rows: Iterable[Mapping[str, Any]],
    *,
    spec: TableSpec = SALES,
    files: int = 1,
    branch: str = MAIN_BRANCH,
    record: IntervalRecord | None = None,
) -> int:
    """Make rows the content of the interval of an hour, spread over some files, as the ingest does; the snapshot."""
    table, start, lines = ensure_table(catalog, spec), hour(number), list(rows)
    written = []
    for part in range(files):
        with IntervalWriter(table, start, spec.arrow_schema) as writer:
            writer.write(pa.RecordBatch.from_pylist(lines[part::files], schema=spec.arrow_schema))
        written += writer.files
    properties = {record.key: record.to_json()} if record else None
    return replace_interval(catalog, spec.identifier, start, written, branch=branch, summary={}, properties=properties)


def record(number: int, accepted: int, quarantined: int = 0) -> IntervalRecord:
    """What the ledger holds of an hour."""
    read = accepted + quarantined
    return IntervalRecord(
        Interval(hour(number), hour(number + 1)),
        "shop.transactions",
        "id",
        {0: OffsetRange(0, read)},
        Counts(read, accepted, quarantined),
        "run",
        hour(number + 1),
    )


def content(table: Table, snapshot_id: int | None = None) -> str:
    """A hash of a table's rows that does not depend on their order or files."""
    rows = sorted(map(repr, table.scan(snapshot_id=snapshot_id).to_arrow().to_pylist()))
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def data_files(table: Table) -> set[str]:
    """Files of the current snapshot."""
    return {task.file.file_path for task in table.scan().plan_files()}


def objects(connections: Connections, location: str) -> set[str]:
    """Every object below an address, as addresses."""
    selector = pafs.FileSelector(location.removeprefix("s3://"), recursive=True, allow_not_found=True)
    return {f"s3://{i.path}" for i in connections.filesystem().get_file_info(selector) if i.type == pafs.FileType.File}


def register(client: MlflowClient, name: str, snapshots: Mapping[str, int], **tags: str) -> str:
    """A version of a model made from these snapshots."""
    found = client.get_experiment_by_name("tests")
    experiment = found.experiment_id if found else client.create_experiment("tests")
    named = {f"snapshot.{table}": str(number) for table, number in snapshots.items()}
    run = client.create_run(experiment, tags={**named, **tags})
    if not client.search_registered_models(filter_string=f"name = '{name}'"):
        client.create_registered_model(name)
    source = f"{run.info.artifact_uri}/model"
    return str(client.create_model_version(name, source, run_id=run.info.run_id, await_creation_for=0).version)
