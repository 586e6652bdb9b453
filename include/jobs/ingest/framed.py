"""Values in the wire format of schema registries: a zero byte, a schema's id in four bytes, and then the record.

A batch is checked in groups of one schema each. A schema by which no record can keep the contract stops the run.
"""

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from include.jobs.ingest.check import Checked, check_batch, check_one_by_one, joined
from include.jobs.ingest.contract import BrokenRecordError, Contract, Reason
from include.jobs.ingest.evolution import describe
from include.jobs.lake.errors import JobError

if TYPE_CHECKING:
    from confluent_kafka.schema_registry import Schema

    from include.jobs.ingest.registry import Registry

#: Checks a batch of keys and values.
Check = Callable[[pa.Array, pa.Array], Checked]
_HEADER = 5
#: As large as a message can be. Without a stop, Arrow 26 slices binary values wrongly.
_MOST = 2**31 - 1
#: The types of JSON Schema that a field of the contract may have; a number may be a whole one.
_NUMBERS = frozenset({"integer", "number"})
_TEXTS = frozenset({"string"})
_JSON_TYPES = {"integer": _NUMBERS, "number": _NUMBERS, "string": _TEXTS, "timestamp": _TEXTS}


class SchemaMismatchError(JobError):
    """No record that is written by a schema can keep the contract."""


def checker(contract: Contract, registry: "Registry | None") -> Check:
    """What checks a topic's batches: of plain JSON where there is no registry."""
    return partial(check_batch, contract) if registry is None else Framed(contract, registry).check


class Framed:
    """Checks values that name their schemas; keeps what it has learned of each."""

    def __init__(self, contract: Contract, registry: "Registry") -> None:
        self._contract, self._registry = contract, registry
        self._checks: dict[bytes, Check] = {}

    def check(self, keys: pa.Array, values: pa.Array) -> Checked:
        """Check a batch of message keys (binary) and values (large binary), see `check_batch`.

        Raises:
            SchemaMismatchError: a schema does not fit the contract.
            JobError: see `Registry.schema`.
        """
        headers = pc.binary_slice(values, 0, _HEADER)
        framed = pc.and_(pc.equal(pc.binary_length(headers), _HEADER), pc.starts_with(headers, b"\0"))
        encoded = pc.if_else(framed, headers, None).dictionary_encode()
        found = [*encoded.dictionary.to_pylist(), None]
        numbers = pc.fill_null(encoded.indices, len(found) - 1).to_numpy()
        parts = []
        for number, header in enumerate(found):
            places = np.flatnonzero(numbers == number)
            check = self._unframed if header is None else self._of(header)
            if len(places) == len(values):
                return check(keys, values)
            parts.append((places, check(keys.take(pa.array(places)), values.take(pa.array(places)))))
        return joined(parts)

    def _unframed(self, keys: pa.Array, values: pa.Array) -> Checked:
        def read(value: bytes) -> NoReturn:
            raise BrokenRecordError(Reason.NO_SCHEMA_ID, f"begins with {value[:_HEADER]!r}, not 0 and a schema's id")

        return check_one_by_one(self._contract, keys, values, read)

    def _of(self, header: bytes) -> Check:
        """What checks values that begin so."""
        if header not in self._checks:
            number = int.from_bytes(header[1:])
            schema = self._registry.schema(number)
            check = self._unknown(number) if schema is None else self._known(number, schema)
            self._checks[header] = lambda keys, values: check(keys, pc.binary_slice(values, _HEADER, _MOST))
        return self._checks[header]

    def _unknown(self, number: int) -> Check:
        def read(value: bytes) -> NoReturn:
            raise BrokenRecordError(Reason.UNKNOWN_SCHEMA, f"schema {number} is not in {self._registry.url}")

        return partial(check_one_by_one, self._contract, read=read)

    def _known(self, number: int, schema: "Schema") -> Check:
        if schema.schema_type != self._registry.type:
            raise self._mismatch(number, [f"it is of type {schema.schema_type}, must be {self._registry.type}"])
        text, check = schema.schema_str or "{}", checker(self._contract, None)
        if schema.schema_type == "JSON":
            misfits = json_misfits(self._contract, json.loads(text))
        else:
            from include.jobs.ingest.avro import AvroValues

            avro = AvroValues(self._contract, text, self._registry.referenced(schema))
            misfits, check = avro.misfits(), avro.check
        if found := list(misfits):
            raise self._mismatch(number, found)
        return check

    def _mismatch(self, number: int, misfits: list[str]) -> SchemaMismatchError:
        lines = "\n".join(f"  {misfit}" for misfit in misfits)
        return SchemaMismatchError(
            f"schema {number} of {self._registry.url}, by which records of the topic are written, does not fit "
            f"contract {self._contract.name} v{self._contract.version}:\n{lines}\n"
            "Nothing was staged. Have the producer write by a schema that fits; or make a new version of the contract "
            "in include/contracts that does, and name it under ingest.topics in the settings"
        )


def json_misfits(contract: Contract, schema: Any) -> Iterator[str]:
    """Why no record that a JSON Schema allows can keep the contract, field by field.

    Only what `properties` says outright is looked at: each record is held against the contract all the same.
    """
    named = schema.get("properties", {}) if isinstance(schema, dict) else {}
    closed = isinstance(schema, dict) and schema.get("additionalProperties") is False
    for field in contract.fields:
        stated = named.get(field.name)
        if stated is None and closed and not field.optional:
            yield f"{field.name}: is missing, the contract has {describe(field)}"
        kinds = stated.get("type", ()) if isinstance(stated, dict) else ()
        kinds = {kinds} if isinstance(kinds, str) else set(kinds)
        if kinds and kinds.isdisjoint(_JSON_TYPES[field.type] | ({"null"} if field.optional else set())):
            yield f"{field.name}: is {' or '.join(sorted(kinds))}, the contract has {describe(field)}"
