"""The sample of a large interval: the same in every run, and without a blind spot for extremes and repetitions."""

from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.jobs.ingest.sample import sample

ROWS, WANTED = 4_000, 100


def rows(**changes: Any) -> pa.Table:
    """Offsets of three partitions, a text that is unique, a value that hardly varies; some cells changed by place."""
    columns: dict[str, list[Any]] = {
        "kafka_partition": [number % 3 for number in range(ROWS)],
        "kafka_offset": [number // 3 for number in range(ROWS)],
        "event_id": [f"event {number}" for number in range(ROWS)],
        "value": [5.0] * ROWS,
    }
    for name, cells in changes.items():
        for place, value in cells.items():
            columns[name][place] = value
    return pa.table(columns)


def judged(table: pa.Table, wanted: int = WANTED) -> pa.Table:
    def batches() -> Iterable[pa.RecordBatch]:
        return table.to_batches(max_chunksize=700)

    return sample(batches, [["event_id"], ["kafka_partition", "kafka_offset"]], ROWS, wanted)


def places(table: pa.Table) -> list[int]:
    pairs = zip(table["kafka_offset"].to_pylist(), table["kafka_partition"].to_pylist(), strict=True)
    return [offset * 3 + partition for offset, partition in pairs]


def test_it_is_the_same_in_every_run_and_about_as_large_as_wanted() -> None:
    found = judged(rows())
    assert found == judged(rows())
    assert WANTED / 2 < found.num_rows < WANTED * 2
    assert len(set(places(found))) == found.num_rows


@settings(max_examples=30, deadline=None)
@given(st.integers(0, ROWS - 1), st.integers(0, ROWS - 1), st.sampled_from([-1e9, 1e9]))
def test_no_extreme_and_no_repetition_is_missed(one: int, other: int, extreme: float) -> None:
    found = judged(rows(value={one: extreme}, event_id={one: f"event {other}"}))
    assert extreme in found["value"].to_pylist()
    if one != other:
        assert found["event_id"].to_pylist().count(f"event {other}") == 2
        assert {one, other} <= set(places(found))


def test_a_place_that_is_there_twice_is_seen_as_such() -> None:
    found = judged(rows(kafka_partition={8: 0}, kafka_offset={8: 0}))
    assert places(found).count(0) == 2


@pytest.mark.parametrize("empty", [None, 5.0])
def test_what_is_empty_or_the_same_everywhere_adds_one_row_at_most(empty: float | None) -> None:
    table = rows(value=dict.fromkeys(range(ROWS), empty))
    assert judged(table).num_rows <= judged(rows()).num_rows + 1


def test_where_everything_is_repeated_some_of_it_will_do() -> None:
    found = judged(rows(event_id=dict.fromkeys(range(ROWS), "the same")))
    assert WANTED <= found.num_rows < WANTED * 4
