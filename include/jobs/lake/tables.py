"""The tables of the lake that PyIceberg writes: names, columns, partitioning.

The feature tables belong to Spark (`include.jobs.features`); their names are here because others read them.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC, PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import (
    BinaryType,
    DoubleType,
    IcebergType,
    IntegerType,
    LongType,
    NestedField,
    StringType,
    TimestamptzType,
)

if TYPE_CHECKING:
    import pyarrow as pa

#: Accepted sales events; their columns are those of the contract (`include.jobs.ingest`).
TRANSACTIONS = "sales.transactions"
FEATURES_USERS = "features.users"
FEATURES_ITEMS = "features.items"
FEATURES_INTERACTIONS = "features.interactions"
FEATURES_DEMAND = "features.demand"
FEATURES_SERVING = "features.serving"
MONITORING_DRIFT = "monitoring.drift"

#: Old metadata files are removed as commits go by; the ledger lives in the newest one, and on pages (`pages`).
_PROPERTIES = {
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "50",
    "write.parquet.compression-codec": "zstd",
    # Maintenance makes manifests of this size: whoever looks at one interval reads one, however long history is.
    "commit.manifest.target-size-bytes": "262144",
}


@dataclass(frozen=True)
class TableSpec:
    """A table to be created on first use."""

    identifier: str
    schema: Schema
    partition_spec: PartitionSpec = UNPARTITIONED_PARTITION_SPEC
    properties: dict[str, str] = field(default_factory=lambda: dict(_PROPERTIES))

    @property
    def namespace(self) -> str:
        """The namespace part of the identifier."""
        return self.identifier.rpartition(".")[0]

    @property
    def arrow_schema(self) -> "pa.Schema":
        """The Arrow schema of rows to be written; carries the Iceberg field ids."""
        return self.schema.as_arrow()


def _schema(*columns: tuple[str, IcebergType, bool]) -> Schema:
    return Schema(
        *(
            NestedField(field_id=number, name=name, field_type=kind, required=required)
            for number, (name, kind, required) in enumerate(columns, start=1)
        )
    )


#: Both event tables are partitioned by the interval that took a row, never by event time: a straggler sits in a
#: later interval, and replacing an interval must find all that it took.
_BY_INTERVAL = PartitionSpec(
    PartitionField(source_id=1, field_id=1000, transform=IdentityTransform(), name="interval_start")
)

_ORIGIN: tuple[tuple[str, IcebergType, bool], ...] = (
    ("interval_start", TimestamptzType(), True),
    ("kafka_partition", IntegerType(), True),
    ("kafka_offset", LongType(), True),
    ("event_time", TimestamptzType(), True),
)

#: What broke its contract, of one topic. Readers look only at intervals that the ledger of the events' table has
#: closed: a crash between the two commits leaves rows here that the re-run replaces.
QUARANTINE = TableSpec(
    f"{TRANSACTIONS}_quarantine",
    _schema(
        *_ORIGIN,
        ("key", BinaryType(), False),
        ("value", BinaryType(), False),
        ("reason", StringType(), True),
        ("detail", StringType(), True),
        ("run_id", StringType(), True),
    ),
    _BY_INTERVAL,
)


@dataclass(frozen=True)
class EventTables:
    """The two tables of a topic: what was accepted, and what broke its contract."""

    events: TableSpec
    quarantine: TableSpec

    @classmethod
    def of(cls, identifier: str, columns: Iterable[tuple[str, IcebergType, bool]]) -> Self:
        """`<identifier>`, with the contract's columns (name, type, whether required), and `<identifier>_quarantine`.

        Where a record came from and the interval that took it stand before the contract's columns.
        """
        return cls(
            TableSpec(identifier, _schema(*_ORIGIN, *columns), _BY_INTERVAL),
            replace(QUARANTINE, identifier=f"{identifier}_quarantine"),
        )


PRODUCTS = TableSpec(
    "reference.products",
    _schema(
        ("product_id", LongType(), True),
        ("manufacturer_id", LongType(), False),
        ("department", StringType(), False),
        ("brand", StringType(), False),
        ("product_category", StringType(), False),
        ("product_type", StringType(), False),
        ("package_size", StringType(), False),
    ),
)

HOUSEHOLDS = TableSpec(
    "reference.households",
    _schema(
        ("household_id", LongType(), True),
        ("age", StringType(), False),
        ("income", StringType(), False),
        ("home_ownership", StringType(), False),
        ("marital_status", StringType(), False),
        ("household_size", StringType(), False),
        ("household_comp", StringType(), False),
        ("kids_count", StringType(), False),
    ),
)

#: Which try of a task it was, and whose.
_TRY: tuple[tuple[str, IcebergType, bool], ...] = (
    ("try_id", StringType(), True),
    ("dag_id", StringType(), True),
    ("run_id", StringType(), True),
    ("task_id", StringType(), True),
    ("map_index", IntegerType(), True),
    ("try_number", IntegerType(), True),
    ("owner", StringType(), True),
)

#: One row for each try of a task that had GPUs: who had how many of which, for how long, at what cost (US dollars).
GPU_HOURS = TableSpec(
    "platform.gpu_hours",
    _schema(
        *_TRY,
        ("state", StringType(), True),
        ("pool", StringType(), True),
        ("gpu_product", StringType(), True),
        ("gpus", IntegerType(), True),
        ("started", TimestamptzType(), True),
        ("ended", TimestamptzType(), True),
        ("seconds", DoubleType(), True),
        ("cost", DoubleType(), True),
    ),
)

#: Households that were erased, as pseudonyms: `include.jobs.lake.erasures`.
ERASURES = TableSpec(
    "platform.erasures",
    _schema(("pseudonym", StringType(), True), ("requested_at", TimestamptzType(), True)),
)

#: The audit trail: one row for each try of a task, chained by hashes. `inputs` and `outputs` are JSON lists of
#: `{kind, name, snapshot_id or version, rows}`; `started_by` names no person but by a pseudonym.
AUDIT = TableSpec(
    "platform.audit",
    _schema(
        ("number", LongType(), True),
        *_TRY,
        ("started_by", StringType(), True),
        ("started", TimestamptzType(), True),
        ("ended", TimestamptzType(), True),
        ("code_version", StringType(), True),
        ("image", StringType(), True),
        ("image_digest", StringType(), True),
        ("inputs", StringType(), True),
        ("outputs", StringType(), True),
        ("state", StringType(), True),
        ("error", StringType(), True),
        ("previous_hash", StringType(), True),
        ("hash", StringType(), True),
    ),
)
