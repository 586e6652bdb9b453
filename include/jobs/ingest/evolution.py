"""Bringing a topic's table to a newer version of its contract, or saying exactly why that cannot be.

What may change is what leaves every row that was written, and every record that was good, good (the rules of a schema
registry's BACKWARD_TRANSITIVE compatibility, and of Iceberg's schema evolution): a new optional field, a field that
becomes optional, a wider number (32 to 64 bits), wider bounds. Everything else stops the run before it reads a record.
The contract that a table was last brought to is kept in a property of the table, in the commit that changes its
columns.
"""

import dataclasses
import datetime as dt
import json
import logging
from collections.abc import Iterator
from typing import Any

from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitFailedException, ResolveError
from pyiceberg.schema import Schema, promote
from pyiceberg.table import Table

from include.jobs.ingest.contract import Contract, Field, parse_timestamp
from include.jobs.ingest.schemas import column_type, event_tables
from include.jobs.lake.catalog import ensure_table
from include.jobs.lake.errors import JobError
from include.jobs.lake.tables import EventTables

log = logging.getLogger(__name__)

CONTRACT_PROPERTY = "podium.contract"
_ATTEMPTS = 5


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """One difference between two contracts: what (a field's name, or `key_field`…), how it was, how it is, the mend.

    The mend is empty for a compatible change.
    """

    what: str
    old: str
    new: str
    mend: str = ""

    def __str__(self) -> str:
        return f"{self.what}: was {self.old}, is {self.new}" + (f". {self.mend}" if self.mend else "")


class ContractChangedError(JobError):
    """A contract has changed in a way that what is in the table, or in the topic, does not allow."""

    def __init__(self, table: str, old: Contract | None, new: Contract, changes: list[Change]) -> None:
        lines = "\n".join(f"  {change}" for change in changes)
        has = "was made without a contract" if old is None else f"has v{old.version}"
        super().__init__(
            f"contract {new.name} v{new.version} does not fit table {table}, which {has}:\n{lines}\n"
            "Nothing was read. Mend the contract in include/contracts; or give the topic a new table (ingest.topics in "
            "the settings) and ingest its intervals again"
        )


def compare(old: Contract, new: Contract) -> list[Change]:
    """What a table that has `old` would be brought to.

    Raises:
        ContractChangedError: it cannot be.
    """
    found = changes(old, new)
    if refused := [change for change in found if change.mend]:
        raise ContractChangedError("of the topic", old, new, refused)
    return found


def changes(old: Contract, new: Contract) -> list[Change]:
    """All differences, incompatible ones first."""
    found = [*_of_the_whole(old, new), *_of_fields(old, new)]
    return sorted(found, key=lambda change: not change.mend)


def _of_the_whole(old: Contract, new: Contract) -> Iterator[Change]:
    for name in ("name", "version_field", "key_field"):
        if (before := getattr(old, name)) != (after := getattr(new, name)):
            yield Change(name, before, after, f"Keep {before}: rows and offsets were judged by it")
    if new.max_bytes < old.max_bytes:
        mend = f"Allow at least {old.max_bytes}: larger records were good"
        yield Change("max_bytes", str(old.max_bytes), str(new.max_bytes), mend)
    if new.version == old.version and new != old:
        mend = f"Put the change into a file of its own, v{old.version + 1}, and name that in the settings"
        yield Change("version", str(old.version), f"{new.version} with other content", mend)


def _of_fields(old: Contract, new: Contract) -> Iterator[Change]:
    before = {field.name: field for field in old.fields}
    after = {field.name: field for field in new.fields}
    for name, field in after.items():
        if name not in before:
            mend = "" if field.optional else "Make it optional: what was written does not have it"
            yield Change(name, "missing", describe(field), mend)
        elif field != before[name]:
            yield Change(name, describe(before[name]), describe(field), _mend(before[name], field))
    for name, field in before.items():
        if name not in after:
            mend = "Keep it" + ("" if field.optional else ", and make it optional if producers are to leave it out")
            yield Change(name, describe(field), "missing", f"{mend}: rows have it, and readers may rely on it")


def _mend(old: Field, new: Field) -> str:
    """What to do about a field that has changed; nothing where rows and records of before fit all the same."""
    if new.type != old.type:
        return f"Keep {old.type}, and add a field of another name, optional, for the new type"
    if new.bits < old.bits:
        return f"Keep {old.bits} bits: rows hold what does not fit {new.bits}"
    if old.optional and not new.optional:
        return "Keep it optional: rows lack it"
    if new.minimum > old.minimum or new.maximum < old.maximum:  # type: ignore[operator]
        return f"Keep bounds at least as wide as {_bounds(old)}: records outside of the new ones were good"
    return ""


def describe(field: Field) -> str:
    """A field in a few words, as `optional integer (32 bits) 1 to 53`."""
    width = f" ({field.bits} bits)" if field.type in ("integer", "number") else ""
    return f"{'optional ' if field.optional else ''}{field.type}{width} {_bounds(field)}"


def _bounds(field: Field) -> str:
    low, high = (f"{b:%Y-%m-%dT%H:%M:%SZ}" if isinstance(b, dt.datetime) else b for b in (field.minimum, field.maximum))
    return f"{low} to {high}"


def bring_up(catalog: SqlCatalog, contract: Contract, identifier: str) -> EventTables:
    """Make the tables of a topic, or bring the events' table to the contract; what writers need of both.

    A contract that is older than the table's is served too: the code was rolled back, and what it does not know is
    optional. The table keeps what it has then.

    Raises:
        ContractChangedError: the contract and the table do not fit together.
        CommitFailedException: other writers kept changing the table first.
    """
    wanted = event_tables(contract, identifier)
    kept = {CONTRACT_PROPERTY: dumps(contract)}
    created = dataclasses.replace(wanted.events, properties=wanted.events.properties | kept)
    for attempt in range(1, _ATTEMPTS + 1):
        table = ensure_table(catalog, created)
        found = table.properties.get(CONTRACT_PROPERTY)
        applied = None if found is None else loads(found)
        _fits(identifier, table.schema(), applied, contract)
        if applied is not None and applied.version >= contract.version:
            break
        try:
            _evolve(table, contract)
        except CommitFailedException:
            if attempt == _ATTEMPTS:
                raise
        else:
            for change in changes(applied, contract) if applied else ():
                log.info("%s: %s", identifier, change)
    return dataclasses.replace(wanted, events=dataclasses.replace(wanted.events, schema=table.schema()))


def planned_changes(table: Table, contract: Contract) -> list[Change]:
    """What `bring_up` would change of a table, without changing it.

    Raises:
        ContractChangedError: the contract and the table do not fit together.
    """
    found = table.properties.get(CONTRACT_PROPERTY)
    applied = None if found is None else loads(found)
    _fits(".".join(table.name()), table.schema(), applied, contract)
    return changes(applied, contract) if applied is not None and applied.version < contract.version else []


def _fits(identifier: str, schema: Schema, applied: Contract | None, contract: Contract) -> None:
    """Hold a contract against the one that the table has, or against its columns where it has none."""
    if applied is None:
        refused = list(_against_columns(schema, contract))
    elif applied.version > contract.version:
        refused = [change for change in changes(contract, applied) if change.mend]
    else:
        refused = [change for change in changes(applied, contract) if change.mend]
    if refused:
        raise ContractChangedError(identifier, applied, contract, refused)


def _against_columns(schema: Schema, contract: Contract) -> Iterator[Change]:
    fields = {field.name: field for field in contract.fields}
    for name, field in fields.items():
        if name not in schema.column_names:
            if not field.optional:
                yield Change(name, "missing", describe(field), "Make it optional: rows do not have it")
            continue
        held = schema.find_field(name).field_type
        if held == column_type(field):
            continue
        try:
            promote(held, column_type(field))
        except ResolveError:
            yield Change(name, str(held), describe(field), f"Keep {held}: rows hold it")
    ours = event_tables(contract, identifier="x.y").events.schema.column_names
    for column in schema.fields:
        if column.name not in ours and column.required:
            yield Change(column.name, f"required {column.field_type}", "missing", "Keep it: rows have it")


def _evolve(table: Table, contract: Contract) -> None:
    """Change the columns and the property in one commit."""
    schema = table.schema()
    with table.transaction() as transaction:
        with transaction.update_schema() as update:
            for field in contract.fields:
                if field.name not in schema.column_names:
                    update.add_column(field.name, column_type(field), required=False)
                    continue
                column = schema.find_field(field.name)
                if column.field_type != column_type(field):
                    update.update_column(field.name, field_type=column_type(field))
                if column.required and field.optional:
                    update.make_column_optional(field.name)
        transaction.set_properties({CONTRACT_PROPERTY: dumps(contract)})


def dumps(contract: Contract) -> str:
    """A contract as the table's property keeps it: without what says nothing of single records."""
    data = dataclasses.asdict(contract)
    data = {name: value for name, value in data.items() if name not in ("suite", "duplicates")}
    return json.dumps(data, default=lambda moment: f"{moment:%Y-%m-%dT%H:%M:%SZ}", separators=(",", ":"))


def loads(text: str) -> Contract:
    """A contract from `dumps`."""
    data: dict[str, Any] = json.loads(text)
    fields = [Field(**{**field, **_moments(field)}) for field in data.pop("fields")]
    return Contract(**data, fields=tuple(fields))


def _moments(field: dict[str, Any]) -> dict[str, Any]:
    if field["type"] != "timestamp":
        return {}
    return {name: parse_timestamp(field[name]) for name in ("minimum", "maximum")}
