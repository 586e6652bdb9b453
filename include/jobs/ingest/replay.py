"""Putting quarantined records back, once: mended by hand, or as they came when the contract has changed.

The interval is staged anew with what it has and what is put back, and quarantine with what is left; `validate` judges
and publishes it. So a record is either in quarantine or among the events, whatever crashes, and a second replay finds
nothing to do. The offsets that were put back are recorded: a second ingest of the interval keeps their rows. One
whose event was taken already is not put back, it stays in quarantine as a duplicate.
"""

import dataclasses
import datetime as dt
import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table
from pyiceberg.table.refs import MAIN_BRANCH

from include.jobs.ingest.check import Checked, check_batch, joined
from include.jobs.ingest.contract import Contract, Reason
from include.jobs.ingest.duplicates import part
from include.jobs.ingest.framed import Check, checker
from include.jobs.ingest.publish import held, stage, staged_record
from include.jobs.ingest.times import refuse
from include.jobs.lake import lineage
from include.jobs.lake.catalog import load_table
from include.jobs.lake.commits import scan_interval
from include.jobs.lake.errors import JobError
from include.jobs.lake.intervals import IntervalWriter
from include.jobs.lake.ledger import Counts, Interval, IntervalRecord, iso
from include.jobs.lake.pages import closed_intervals
from include.jobs.lake.tables import EventTables

if TYPE_CHECKING:
    from include.jobs.ingest.registry import Registry

#: Key and value by partition and offset.
Mends = Mapping[tuple[int, int], tuple[bytes, bytes]]


class ReplayError(JobError):
    """The interval cannot be replayed now."""


class MendsError(JobError):
    """The file of mended records cannot be used."""


def read_mends(lines: Iterable[str]) -> dict[tuple[int, int], tuple[bytes, bytes]]:
    """Mended records from NDJSON: `{"partition": 0, "offset": 5, "key": "900", "value": {…}}`, `value` as it should be.

    Raises:
        MendsError: a line is none of these, or names a record a second time.
    """
    mends: dict[tuple[int, int], tuple[bytes, bytes]] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            data = json.loads(line)
            place = int(data["partition"]), int(data["offset"])
            mend = str(data["key"]).encode(), json.dumps(data["value"], separators=(",", ":")).encode()
        except (ValueError, KeyError, TypeError) as error:
            raise MendsError(
                f"line {number} of the mended records is not like "
                f'{{"partition": 0, "offset": 5, "key": "900", "value": {{…}}}}: {type(error).__name__}: {error}'
            ) from error
        if place in mends:
            raise MendsError(f"line {number} of the mended records names partition {place[0]}, offset {place[1]} again")
        mends[place] = mend
    return mends


def replay(
    catalog: SqlCatalog,
    tables: EventTables,
    contract: Contract,
    interval: Interval,
    run_id: str,
    mends: Mends,
    registry: "Registry | None" = None,
) -> dict[str, Any]:
    """Stage a closed interval with those of its quarantined records that keep the contract now.

    `registry` has the schemas that values name as they came; mended ones are plain JSON.

    Returns:
        The job's result: `{replayed, accepted, quarantined, reasons, unknown, …}`; `reasons` of what stays broken,
        `unknown` the mends that belong to no quarantined record of the interval. With nothing to put back nothing is
        staged.

    Raises:
        DuplicatesError: what would be put back has events that were taken, and the contract refuses that.
        ReplayError: the interval is not closed, or is staged.
        JobError: see `Framed.check`.
    """
    begun = time.monotonic()
    check = checker(contract, registry)
    events, quarantine = (
        load_table(catalog, tables.events.identifier),
        load_table(catalog, tables.quarantine.identifier),
    )
    record = _closed(events, interval)
    start = interval.start
    seen: set[tuple[int, int]] = set()
    reasons: Counter[str] = Counter()
    coming, came = [tables.events.arrow_schema.empty_table()], [tables.quarantine.arrow_schema.empty_table()]
    doubled_left = 0
    with ExitStack() as stack:
        accepted = stack.enter_context(IntervalWriter(events, start, tables.events.arrow_schema))
        left = stack.enter_context(IntervalWriter(quarantine, start, tables.quarantine.arrow_schema))
        for batch in _batches(quarantine, start):
            places = _places(batch)
            seen.update(places)
            # A duplicate keeps the contract as it came: only a mend can make another event of it.
            waits = pc.equal(batch["reason"], Reason.DUPLICATE.value).to_pylist()
            stays = pa.array([waiting and place not in mends for waiting, place in zip(waits, places, strict=True)])
            aside, batch = batch.filter(stays), batch.filter(pc.invert(stays))
            checked = _checked(contract, check, batch, _places(batch), mends)
            broken = batch.take(pa.array([each.index for each in checked.broken], pa.int64()))
            for staying in (aside, broken):
                left.write(staying)
                doubled_left += pc.equal(staying["reason"], Reason.DUPLICATE.value).to_pylist().count(True)
            reasons.update({Reason.DUPLICATE.value: aside.num_rows} if aside.num_rows else {})
            reasons.update(each.reason.value for each in checked.broken)
            coming.append(pa.Table.from_batches([_put_back(batch, checked, tables.events.arrow_schema)]))
            came.append(pa.Table.from_batches([batch.take(checked.good)], tables.quarantine.arrow_schema))
        kept, lost, looked = part(events, record.interval, contract, pa.concat_tables(coming), pa.concat_tables(came))
        for batch in lost.to_batches():
            left.write(batch)
        if lost.num_rows:
            reasons[Reason.DUPLICATE.value] += lost.num_rows
            doubled_left += lost.num_rows
        replayed = kept.num_rows
        if replayed:
            for batch in (*kept.to_batches(), *_batches(events, start)):
                accepted.write(batch)
    old = record.counts
    counts = Counts(old.read, old.accepted + replayed, left.rows - doubled_left, old.erased, doubled_left)
    result = {
        "replayed": replayed,
        "accepted": counts.accepted,
        "quarantined": counts.quarantined,
        "duplicates": counts.duplicates,
        "reasons": dict(sorted(reasons.items())),
        "unknown": sorted(set(mends) - seen),
        "interval_start": iso(start),
        "interval_end": iso(interval.end),
    }
    if replayed:
        # Quarantine that was not all read back would lose records; the ledger knows how many there must be.
        held(quarantine, MAIN_BRANCH, interval, old.set_aside)
        held(events, MAIN_BRANCH, interval, old.accepted)
        changed = dataclasses.replace(
            record,
            counts=counts,
            run_id=run_id,
            closed_at=dt.datetime.now(dt.UTC),
            mended=_joined(record.mended, _places(kept)),
        )
        staged = stage(catalog, tables, changed, accepted.files, left.files, looked.check if looked else None)
        result["snapshot_id"] = staged.events
        written = staged.datasets(tables, changed)
    else:
        left.discard()
        written = []
    result |= lineage.datasets([lineage.as_of_now(quarantine, old.set_aside)], written)
    return result | {"seconds": round(time.monotonic() - begun, 3)}


def _closed(events: Table, interval: Interval) -> IntervalRecord:
    name = ".".join(events.name())
    if staged_record(events, interval) is not None:
        raise ReplayError(
            f"interval {interval} of {name} is staged and waits to be judged: run `validate` or `discard` of it first"
        )
    record = closed_intervals(events).get(interval)
    if record is None:
        raise ReplayError(f"interval {interval} of {name} is not closed: ingest it first, with these boundaries")
    return record


def _batches(table: Table, start: dt.datetime) -> Iterable[pa.RecordBatch]:
    scan = scan_interval(table, start, MAIN_BRANCH)
    schema = table.schema().as_arrow()
    for batch in () if scan is None else scan.to_arrow_batch_reader():
        columns = [batch[item.name].cast(item.type) for item in schema]
        yield pa.RecordBatch.from_arrays(columns, schema=schema)


def _checked(
    contract: Contract, check: Check, batch: pa.RecordBatch, places: list[tuple[int, int]], mends: Mends
) -> Checked:
    known = np.array([place in mends for place in places], np.bool_)
    came, mended = np.flatnonzero(~known), np.flatnonzero(known)
    keys, values = batch["key"].take(pa.array(came)), batch["value"].take(pa.array(came))
    better = [mends[places[place]] for place in mended]
    as_came = check(keys.cast(pa.binary()), values.cast(pa.large_binary()))
    # No contract says when a record happened that has no time: only who mends it does.
    details = batch["detail"].take(pa.array(came))
    timeless = np.asarray(pc.equal(batch["reason"].take(pa.array(came)), Reason.IMPOSSIBLE_TIME.value))
    as_came = refuse(as_came, timeless[np.asarray(as_came.good)], lambda place: str(details[place]))
    return joined(
        [
            (came, as_came),
            (
                mended,
                check_batch(
                    contract,
                    pa.array([key for key, _ in better], pa.binary()),
                    pa.array([value for _, value in better], pa.large_binary()),
                ),
            ),
        ]
    )


def _put_back(batch: pa.RecordBatch, checked: Checked, schema: pa.Schema) -> pa.RecordBatch:
    origin = {
        name: batch[name].take(checked.good)
        for name in ("interval_start", "kafka_partition", "kafka_offset", "event_time")
    }
    columns = origin | checked.columns
    nothing = pa.nulls(len(checked.good))
    arrays = [columns.get(item.name, nothing).cast(item.type) for item in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _places(rows: pa.RecordBatch | pa.Table) -> list[tuple[int, int]]:
    return list(zip(rows["kafka_partition"].to_pylist(), rows["kafka_offset"].to_pylist(), strict=True))


def _joined(mended: Mapping[int, tuple[int, ...]], back: Iterable[tuple[int, int]]) -> dict[int, tuple[int, ...]]:
    joined = defaultdict(set, {number: set(offsets) for number, offsets in mended.items()})
    for number, offset in back:
        joined[number].add(offset)
    return {number: tuple(sorted(joined[number])) for number in sorted(joined)}
