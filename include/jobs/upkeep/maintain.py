"""Maintenance of one table with Iceberg's own Spark actions: compaction, expiry, orphans, statistics.

All of it is safe beside writers: each change is a commit that the catalog refuses when another one came first, and then
made again. What a branch or a tag names is never expired; a file is an orphan only once it is older than any writer.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final, TypeVar

from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession

from include.jobs.lake.connections import CATALOG_NAME
from include.jobs.lake.errors import LakeError

#: How often work that other writers have overtaken is done again, and how long it waits in between.
TRIES: Final = 4
PAUSE_S: Final = 1.0
#: What Iceberg throws when another commit came first, or has replaced what was being rewritten.
CONFLICTS: Final = ("CommitFailedException", "ValidationException", "Cannot commit rewrite")

log = logging.getLogger(__name__)

_Result = TypeVar("_Result")


class MaintenanceError(LakeError):
    """Some tables could not be maintained; the others were."""


@dataclass(frozen=True)
class Policy:
    """What is kept, and how much a run does.

    Attributes:
        keep_s: a snapshot that is younger stays, in seconds: longer than any reader or training takes.
        keep_last: as many of the latest snapshots stay whatever their age.
        orphan_age_s: a file that no snapshot names goes when it is older, in seconds: longer than any writer takes.
        target_file_bytes: how large files are to be.
        min_input_files: so many small files of a partition are worth rewriting.
        max_files: a run rewrites at most so many files of a table; the next one goes on.
        expire_only: whether only snapshots and orphans go: no file is rewritten, no statistics are made.
    """

    keep_s: int
    keep_last: int
    orphan_age_s: int
    target_file_bytes: int = 512 * 1024 * 1024
    min_input_files: int = 5
    max_files: int = 10_000
    expire_only: bool = False


@dataclass(frozen=True, slots=True)
class Maintained:
    """What was done to a table: numbers of files and snapshots; and its snapshot and rows now (None: it has none)."""

    compacted_files: int
    compacted_into: int
    compacted_bytes: int
    expired_snapshots: int
    deleted_data_files: int
    deleted_metadata_files: int
    orphans: int
    snapshots: int
    statistics: bool
    snapshot_id: int | None
    rows: int | None
    seconds: float


def maintain_all(spark: SparkSession, tables: list[str], policy: Policy) -> dict[str, Any]:
    """Maintain tables one after the other, all of them even if one fails.

    Returns:
        `Maintained` of each table, as dictionaries.

    Raises:
        MaintenanceError: names each table that failed, with the reason.
    """
    done: dict[str, Any] = {}
    failed: dict[str, str] = {}
    for name in tables:
        try:
            done[name] = asdict(maintain(spark, name, policy))
            log.info("%s: %s", name, done[name])
        except Py4JJavaError as error:
            failed[name] = _reason(error)
            log.error("%s: %s", name, failed[name])
    if failed:
        reasons = "\n".join(f"  {name}: {reason}" for name, reason in failed.items())
        raise MaintenanceError(
            f"{len(failed)} of {len(tables)} tables could not be maintained; their content is untouched:\n{reasons}\n"
            "Run it again; when the reason is a conflict each time, run it when fewer writers are at work"
        )
    return done


def maintain(spark: SparkSession, name: str, policy: Policy) -> Maintained:
    """Compact a table's `main`, expire its snapshots, remove orphans, renew its statistics.

    Raises:
        Py4JJavaError: Iceberg refuses, or lost against other writers `TRIES` times in a row.
    """
    begun = time.monotonic()
    compacted = None if policy.expire_only else _again(lambda: _compact(spark, name, policy))
    expired, before = _again(lambda: _expire(spark, name, policy))
    orphans = _actions(spark).deleteOrphanFiles(_table(spark, name))
    # Listing by prefix is S3's own; by folders it needs Hadoop's file system.
    orphans = orphans.usePrefixListing(True).olderThan(_ago_ms(policy.orphan_age_s)).execute()
    statistics = not policy.expire_only and _again(lambda: _statistics(spark, name))
    table = _table(spark, name)
    after, current = _size(table.snapshots()), table.currentSnapshot()
    return Maintained(
        compacted_files=compacted.rewrittenDataFilesCount() if compacted else 0,
        compacted_into=compacted.addedDataFilesCount() if compacted else 0,
        compacted_bytes=compacted.rewrittenBytesCount() if compacted else 0,
        expired_snapshots=max(0, before - after),
        deleted_data_files=expired.deletedDataFilesCount(),
        deleted_metadata_files=expired.deletedManifestsCount()
        + expired.deletedManifestListsCount()
        + expired.deletedStatisticsFilesCount(),
        orphans=_size(orphans.orphanFileLocations()),
        snapshots=after,
        statistics=statistics,
        snapshot_id=current and current.snapshotId(),
        rows=current and int(current.summary().get("total-records") or 0),
        seconds=round(time.monotonic() - begun, 3),
    )


def _compact(spark: SparkSession, name: str, policy: Policy) -> Any:
    options = {
        "target-file-size-bytes": policy.target_file_bytes,
        "min-input-files": policy.min_input_files,
        "max-files-to-rewrite": policy.max_files,
        # Each commit is of a few partitions: one that a writer has replaced meanwhile costs only those.
        "partial-progress.enabled": "true",
        "partial-progress.max-commits": 10,
        "partial-progress.max-failed-commits": 9,
    }
    action = _actions(spark).rewriteDataFiles(_table(spark, name)).binPack()
    for key, value in options.items():
        action = action.option(key, str(value))
    result = action.execute()
    if result.rewrittenDataFilesCount():
        # Files have moved between manifests: few manifests, sorted by partition, make planning quick.
        _again(lambda: _actions(spark).rewriteManifests(_table(spark, name)).execute())
    return result


def _expire(spark: SparkSession, name: str, policy: Policy) -> tuple[Any, int]:
    """Expire snapshots and delete what only they named; also, how many there were before."""
    table = _table(spark, name)
    before = _size(table.snapshots())
    action = _actions(spark).expireSnapshots(table)
    result = action.expireOlderThan(_ago_ms(policy.keep_s)).retainLast(policy.keep_last).execute()
    return result, before


def _statistics(spark: SparkSession, name: str) -> bool:
    """Renew the statistics (distinct values of each column) unless the current snapshot has them."""
    table = _table(spark, name)
    snapshot = table.currentSnapshot()
    if snapshot is None or any(file.snapshotId() == snapshot.snapshotId() for file in table.statisticsFiles()):
        return False
    if int(snapshot.summary().get("total-records") or 0) == 0:
        return False
    _actions(spark).computeTableStats(table).execute()
    return True


def _again(work: Callable[[], _Result]) -> _Result:
    """Do the work; again when another writer came first."""
    for attempt in range(1, TRIES + 1):
        try:
            return work()
        except Py4JJavaError as error:
            if attempt == TRIES or not any(name in str(error.java_exception) for name in CONFLICTS):
                raise
            log.info("another writer came first (%s): once more", _reason(error))
            time.sleep(PAUSE_S * attempt)
    raise RuntimeError("unreachable")


def _table(spark: SparkSession, name: str) -> Any:
    """The table as it is now: Spark's catalog keeps what it has loaded for a while."""
    java: Any = spark._jvm
    table = java.org.apache.iceberg.spark.Spark3Util.loadIcebergTable(spark._jsparkSession, f"{CATALOG_NAME}.{name}")
    table.refresh()
    return table


def _actions(spark: SparkSession) -> Any:
    java: Any = spark._jvm
    return java.org.apache.iceberg.spark.actions.SparkActions.get(spark._jsparkSession)


def _ago_ms(seconds: int) -> int:
    """The moment so long ago, in milliseconds since 1970."""
    return int((time.time() - seconds) * 1000)


def _size(iterable: Any) -> int:
    return sum(1 for _ in iterable)


def _reason(error: Py4JJavaError) -> str:
    return str(error.java_exception).splitlines()[0]
