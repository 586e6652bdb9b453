"""The Airflow provider's ConsumeFromTopicOperator, told to write what it reads to S3 as Parquet.

Runs in Airflow's environment: `python -m benchmarks.provider TOPIC RECORDS s3://bucket/key`, with the variables and
credential files that a pod finds. It is given what makes it fast: batches of 10,000, one file, no check of the records.
Prints one line of JSON: `{"seconds": …, "rows": …}`, the import of Airflow left out.
"""

import json
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from include.jobs.lake.connections import Connections, kafka_bootstrap_servers

BATCH = 10_000
CONNECTION = "AIRFLOW_CONN_KAFKA_DEFAULT"


class Sink:
    """A Parquet file in S3 that grows by batches of messages."""

    def __init__(self, stream: pa.NativeFile) -> None:
        self._stream = stream
        self._writer: pq.ParquetWriter | None = None
        self.rows = 0

    def write(self, messages: Sequence[Any]) -> None:
        """What the operator applies to each batch: the usual way, a dictionary a record."""
        # The operator hands over news of errors as if they were records, and counts them.
        rows = [json.loads(message.value()) for message in messages if message.error() is None]
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
    topic, records, address = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    config = {
        "bootstrap.servers": kafka_bootstrap_servers(),
        "group.id": f"podium-bench-{os.getpid()}",
        "auto.offset.reset": "earliest",
        "enable.auto.commit": "false",
    }
    os.environ[CONNECTION] = json.dumps({"conn_type": "kafka", "extra": config})
    from airflow.providers.apache.kafka.operators.consume import ConsumeFromTopicOperator

    sink = Sink(Connections.from_environment().filesystem().open_output_stream(address.removeprefix("s3://")))
    operator = ConsumeFromTopicOperator(
        task_id="consume",
        topics=[topic],
        apply_function_batch=sink.write,
        max_messages=records,
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
