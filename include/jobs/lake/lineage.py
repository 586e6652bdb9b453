"""What a job has read and written: a part of its result, for lineage and for the audit trail."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyiceberg.table import Table

Dataset = dict[str, Any]


#: What is added up where several datasets are one.
_NUMBERS = ("rows", "given_up")


def table(name: str, snapshot_id: int | str | None = None, rows: int | None = None, given_up: int = 0) -> Dataset:
    """A table of the lake, as of a snapshot.

    `rows` as many as were read or written; `given_up` of those that it once held, because they were no longer there and
    somebody chose to go on without them.
    """
    snapshot = None if snapshot_id is None else str(snapshot_id)
    return _dataset("table", name, rows, snapshot_id=snapshot, given_up=given_up or None)


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
    """The datasets of several results as one: numbers are added up, the latest snapshot that one names counts."""
    merged: dict[str, dict[tuple[str, str], Dataset]] = {"inputs": {}, "outputs": {}}
    for result in results:
        for which, seen in merged.items():
            for item in result["datasets"][which]:
                key = item["kind"], item["name"]
                both = seen.get(key, {}), item
                named = {name: [each[name] for each in both if name in each] for name in _NUMBERS}
                seen[key] = both[0] | item | {name: sum(numbers) for name, numbers in named.items() if numbers}
    return datasets(merged["inputs"].values(), merged["outputs"].values())


def _dataset(kind: str, name: str, rows: int | None, **more: str | int | None) -> Dataset:
    facts = {"kind": kind, "name": name, "rows": rows, **more}
    return {key: value for key, value in facts.items() if value is not None}
