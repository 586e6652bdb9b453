"""The Airflow provider's ConsumeFromTopicOperator, told to write what it reads to S3 as Parquet.

Runs in Airflow's environment: `python -m benchmarks.provider TOPIC RECORDS s3://bucket/key CONTRACT`, with the
variables and credential files that a pod finds. It is given what makes it fast: batches of 10,000, one file, and
the check that pydantic compiles. Prints one line of JSON: `{"seconds": …, "rows": …}`, the import of Airflow
left out.
"""

import datetime as dt
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from include.jobs.lake.connections import Connections, kafka_client

BATCH = 10_000
CONNECTION = "AIRFLOW_CONN_KAFKA_DEFAULT"
CONTRACTS = Path(__file__).parents[1] / "include" / "contracts"
TYPES: dict[str, type] = {"integer": int, "number": float, "string": str, "timestamp": dt.datetime}
BOUNDS = {"minimum": "ge", "maximum": "le", "min_length": "min_length", "max_length": "max_length"}

#: Makes a row of a message, None of one that breaks its contract.
Reader = Callable[[Any], dict[str, Any] | None]


def reader(name: str) -> Reader:
    """The columns that the ingest writes, of records that hold to the contract and have its key."""
    contract = yaml.safe_load((CONTRACTS / f"{name}.yaml").read_text(encoding="utf-8"))
    fields = {item["name"]: _field(item) for item in contract["fields"]}
    adapter = TypeAdapter(TypedDict("Event", fields))  # type: ignore[operator]
    key = contract["key_field"]

    def read(message: Any) -> dict[str, Any] | None:
        try:
            row: dict[str, Any] = adapter.validate_json(message.value())
        except ValidationError:
            return None
        if message.key() != str(row[key]).encode():
            return None
        row["kafka_partition"], row["kafka_offset"] = message.partition(), message.offset()
        row["event_time"] = message.timestamp()[1]
        return row

    return read


def _field(item: dict[str, Any]) -> Any:
    bounds = {BOUNDS[name]: value for name, value in item.items() if name in BOUNDS}
    if item["type"] == "timestamp":
        bounds = {name: dt.datetime.fromisoformat(value) for name, value in bounds.items()}
    return Annotated[TYPES[item["type"]], Field(**bounds)]


class Sink:
    """A Parquet file in S3 that grows by batches of messages."""

    def __init__(self, stream: pa.NativeFile, read: Reader) -> None:
        self._stream, self._read = stream, read
        self._writer: pq.ParquetWriter | None = None
        self.rows = 0

    def write(self, messages: Sequence[Any]) -> None:
        """What the operator applies to each batch: the usual way, a dictionary a record."""
        # The operator hands over news of errors as if they were records, and counts them.
        read = map(self._read, (message for message in messages if message.error() is None))
        rows = [row for row in read if row is not None]
        table = pa.Table.from_pylist(rows)
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._stream, table.schema, compression="zstd")
        self._writer.write_table(table.cast(self._writer.schema))
        self.rows += len(rows)

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.close()
        self._stream.close()


def main() -> None:
    """Run the operator."""
    topic, records, address, contract = sys.argv[1:]
    config = {
        **kafka_client(),
        "group.id": f"podium-bench-{os.getpid()}",
        "auto.offset.reset": "earliest",
        "enable.auto.commit": "false",
    }
    os.environ[CONNECTION] = json.dumps({"conn_type": "kafka", "extra": config})
    from airflow.providers.apache.kafka.operators.consume import ConsumeFromTopicOperator

    sink = Sink(
        Connections.from_environment().filesystem().open_output_stream(address.removeprefix("s3://")), reader(contract)
    )
    operator = ConsumeFromTopicOperator(
        task_id="consume",
        topics=[topic],
        apply_function_batch=sink.write,
        max_messages=int(records),
        max_batch_size=BATCH,
        commit_cadence="end_of_batch",
    )
    began = time.monotonic()
    try:
        operator.execute({})
    finally:
        # An open stream would keep the process from ending.
        sink.close()
    json.dump({"seconds": time.monotonic() - began, "rows": sink.rows}, sys.stdout)


if __name__ == "__main__":
    main()
