"""What a job has read and written: a part of its result, for lineage and for the audit trail."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyiceberg.table import Table

Dataset = dict[str, Any]


def table(name: str, snapshot_id: int | str | None = None, rows: int | None = None) -> Dataset:
    """A table of the lake, as of a snapshot; `rows` as many as were read or written."""
    return _dataset("table", name, rows, snapshot_id=None if snapshot_id is None else str(snapshot_id))


def as_of_now(table_of_the_lake: "Table", rows: int | None = None, branch: str = "main") -> Dataset:
    """A table as it is in memory, on one of its branches."""
    snapshot = table_of_the_lake.snapshot_by_name(branch)
    return table(".".join(table_of_the_lake.name()), snapshot.snapshot_id if snapshot else None, rows)


def topic(name: str, rows: int | None = None) -> Dataset:
    """A topic; `rows` as many as were read."""
    return _dataset("topic", name, rows)


def model(name: str, version: str) -> Dataset:
    """A version of a registered model."""
    return _dataset("model", name, None, version=version)


def datasets(inputs: Iterable[Dataset] = (), outputs: Iterable[Dataset] = ()) -> dict[str, Any]:
    """What to add to a job's result."""
    return {"datasets": {"inputs": list(inputs), "outputs": list(outputs)}}


def joined(results: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The datasets of several results as one: rows are added up, the latest snapshot that one of them names counts."""
    merged: dict[str, dict[tuple[str, str], Dataset]] = {"inputs": {}, "outputs": {}}
    for result in results:
        for which, seen in merged.items():
            for item in result["datasets"][which]:
                key = item["kind"], item["name"]
                rows = [each["rows"] for each in (seen.get(key, {}), item) if "rows" in each]
                seen[key] = seen.get(key, {}) | item | ({"rows": sum(rows)} if rows else {})
    return datasets(merged["inputs"].values(), merged["outputs"].values())


def _dataset(kind: str, name: str, rows: int | None, **more: str | None) -> Dataset:
    facts = {"kind": kind, "name": name, "rows": rows, **more}
    return {key: value for key, value in facts.items() if value is not None}
