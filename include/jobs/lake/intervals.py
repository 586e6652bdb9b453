"""Writing the rows of an interval to Parquet files of a table, streaming and with bounded memory."""

import datetime as dt
import uuid
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.io.pyarrow import (
    compute_statistics_plan,
    data_file_statistics_from_parquet_metadata,
    parquet_path_to_id_mapping,
)
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.partitioning import PartitionFieldValue, PartitionKey
from pyiceberg.table import Table

#: Rows of a Parquet row group, the unit that a writer holds in memory; fewer when they are that large.
ROW_GROUP_ROWS = 65_536
ROW_GROUP_BYTES = 64 * 1024 * 1024
#: A new file is begun when one has reached this size.
FILE_BYTES = 512 * 1024 * 1024


class IntervalWriter:
    """Streams the rows of one interval to Parquet files of a table; nothing is visible until they are committed.

    Use as a context manager. On an exception the files are removed; a process that is killed leaves files that no
    snapshot names, which orphan removal deletes.
    """

    def __init__(self, table: Table, interval_start: dt.datetime, schema: pa.Schema) -> None:
        self._table = table
        self._schema = schema
        self._key = PartitionKey(
            field_values=[PartitionFieldValue(field=table.spec().fields[0], value=interval_start)],
            partition_spec=table.spec(),
            schema=table.schema(),
        )
        self._paths: list[str] = []
        self._files: list[DataFile] = []
        self._writer: pq.ParquetWriter | None = None
        self._sink: pa.NativeFile | None = None
        self._metadata: list[pq.FileMetaData] = []
        self._buffered: list[pa.RecordBatch] = []
        self._buffered_rows = self._buffered_bytes = 0
        self.rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._close_file()
        else:
            self.discard()

    def write(self, batch: pa.RecordBatch) -> None:
        """Append rows, in the order given."""
        if batch.num_rows == 0:
            return
        self._buffered.append(batch)
        self._buffered_rows += batch.num_rows
        self._buffered_bytes += batch.nbytes
        self.rows += batch.num_rows
        if self._buffered_rows >= ROW_GROUP_ROWS or self._buffered_bytes >= ROW_GROUP_BYTES:
            self._flush()
        if self._sink is not None and self._sink.tell() >= FILE_BYTES:
            self._close_file()

    @property
    def files(self) -> list[DataFile]:
        """The finished files; complete once the context has ended."""
        return list(self._files)

    def discard(self) -> None:
        """Remove what was written: the interval will not be committed."""
        self._buffered = []
        try:
            if self._writer is not None:
                self._close_file()
        finally:
            for path in self._paths:
                self._table.io.delete(path)
            self._paths, self._files = [], []

    def _open_file(self) -> pq.ParquetWriter:
        name = f"{uuid.uuid4()}.parquet"
        path = self._table.location_provider().new_data_location(name, self._key)
        self._metadata = []
        self._sink = self._table.io.new_output(path).create()
        self._paths.append(path)
        self._writer = pq.ParquetWriter(self._sink, self._schema, compression="zstd", metadata_collector=self._metadata)
        return self._writer

    def _flush(self) -> None:
        """Write what is buffered as one row group."""
        if not self._buffered:
            return
        writer = self._writer or self._open_file()
        writer.write_table(pa.Table.from_batches(self._buffered), row_group_size=self._buffered_rows)
        self._buffered, self._buffered_rows, self._buffered_bytes = [], 0, 0

    def _close_file(self) -> None:
        self._flush()
        if self._writer is None or self._sink is None:
            return
        self._writer.close()
        size = self._sink.tell()
        self._sink.close()
        self._writer = self._sink = None
        schema, properties = self._table.schema(), self._table.properties
        statistics = data_file_statistics_from_parquet_metadata(
            parquet_metadata=self._metadata[0],
            stats_columns=compute_statistics_plan(schema, properties),
            parquet_column_mapping=parquet_path_to_id_mapping(schema),
        )
        self._files.append(
            DataFile.from_args(
                content=DataFileContent.DATA,
                file_path=self._paths[-1],
                file_format=FileFormat.PARQUET,
                partition=self._key.partition,
                file_size_in_bytes=size,
                sort_order_id=None,
                spec_id=self._table.metadata.default_spec_id,
                equality_ids=None,
                key_metadata=None,
                **statistics.to_serialized_dict(),
            )
        )
