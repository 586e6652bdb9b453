"""Pages of the ledger: whatever is closed, in whatever order, is found as if all of it were at hand."""

import datetime as dt
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.table import Table
from pyiceberg.table.refs import MAIN_BRANCH

from include.jobs.lake import pages
from include.jobs.lake.catalog import ensure_table, open_catalog
from include.jobs.lake.commits import publish_interval, replace_interval
from include.jobs.lake.connections import Connections
from include.jobs.lake.ledger import PREFIX, Counts, Interval, IntervalRecord, Ledger, LedgerError, OffsetRange
from include.jobs.lake.pages import PAGE_PREFIX, closed_intervals, fold, folder_of, sweep, taken_intervals
from include.jobs.lake.tables import QUARANTINE

BEGIN = dt.datetime(2017, 1, 1, tzinfo=dt.UTC)
NAME = QUARANTINE.identifier


def hours(first: int, last: int) -> Interval:
    return Interval(BEGIN + dt.timedelta(hours=first), BEGIN + dt.timedelta(hours=last))


def record(interval: Interval, read: int = 0, run_id: str = "run") -> IntervalRecord:
    ranges = {number: OffsetRange(read, read + 10) for number in range(3)}
    return IntervalRecord(interval, "events", "id", ranges, Counts(read, read, 0), run_id, BEGIN)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages that are soon full."""
    for name, value in (("FOLD_PAST", 4), ("KEEP", 2), ("PAGE_INTERVALS", 4)):
        monkeypatch.setattr(pages, name, value)


class Properties:
    """The properties of a table, folded as its commits fold them; pages are files of a folder."""

    def __init__(self, folder: Path) -> None:
        self.properties: dict[str, str] = {}
        self.io = PyArrowFileIO()
        self._folder = str(folder)

    def close(self, one: IntervalRecord) -> None:
        folded = fold(self.properties, {one.key: one.to_json()}, self.io, self._folder)
        assert not folded.removing & folded.setting.keys()
        self.properties = {k: v for k, v in self.properties.items() if k not in folded.removing} | folded.setting


# Each number is the hour at which an interval begins, which lasts until the next number at most.
@settings(max_examples=40, deadline=None)
@given(
    st.sets(st.integers(0, 40), min_size=1, max_size=30).flatmap(lambda found: st.permutations(sorted(found))),
    st.lists(st.integers(0, 29), max_size=8),
    st.randoms(use_true_random=False),
)
def test_whatever_was_closed_is_found_as_if_it_were_at_hand(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], again: list[int], choose: random.Random
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("FOLD_PAST", 4), ("KEEP", 2), ("PAGE_INTERVALS", 4)):
            patch.setattr(pages, name, value)
        table, plain = Properties(tmp_path_factory.mktemp("pages")), dict[Interval, IntervalRecord]()
        borders = sorted(order)
        following = dict(zip(borders, [*borders[1:], borders[-1] + 3], strict=True))
        turns = [*order, *(order[place % len(order)] for place in again)]
        for turn, start in enumerate(turns):
            fresh = hours(start, choose.choice([start + 1, following[start]]))
            interval = next((known for known in plain if known.start == fresh.start), fresh)
            plain[interval] = record(interval, turn)
            table.close(plain[interval])
            assert sum(key.startswith(PREFIX) for key in table.properties) <= 4
        folded, expected = closed_intervals(table), Ledger(plain)  # type: ignore[arg-type]
        assert list(folded) == list(expected)
        assert list(folded.intervals()) == [one.interval for one in expected]
        assert folded.last() == list(expected)[-1]
        for first in range(-1, 44):
            for length in (1, 3):
                asked = hours(first, first + length)
                assert _answer(folded.get, asked) == _answer(expected.get, asked)
                assert folded.before(asked) == expected.before(asked)
                assert folded.after(asked) == expected.after(asked)


def _answer(ask: Callable[[Interval], Any], interval: Interval) -> Any:
    try:
        return ask(interval)
    except LedgerError:
        return "overlaps"


def close(catalog: SqlCatalog, one: IntervalRecord, **options: Any) -> None:
    replace_interval(
        catalog,
        NAME,
        one.interval.start,
        [],
        branch=MAIN_BRANCH,
        summary={},
        properties={one.key: one.to_json()},
        **options,
    )


def test_the_properties_of_a_table_stay_few_and_its_pages_lie_beside_it(catalog: SqlCatalog, small: None) -> None:
    ensure_table(catalog, QUARANTINE)
    closed = [record(hours(number, number + 1), number) for number in range(13)]
    for one in closed:
        close(catalog, one)
    publish_interval(
        catalog, NAME, closed[0].interval.start, summary={}, closing={closed[0].key: record(hours(0, 1), 99).to_json()}
    )
    table = catalog.load_table(NAME)
    assert sum(key.startswith(PREFIX) for key in table.properties) <= 4
    found = closed_intervals(table)
    assert list(found) == [record(hours(0, 1), 99), *closed[1:]]
    addresses = [page.address for page in pages._pages(table.properties, pages.reader(table.io))]
    assert addresses
    for address in addresses:
        assert address.startswith(folder_of(catalog.properties["warehouse"], NAME))
        assert not address.startswith(table.location())


def test_a_table_from_before_there_were_pages_is_folded_by_its_next_commit(catalog: SqlCatalog) -> None:
    table = ensure_table(catalog, QUARANTINE)
    closed = [record(hours(number, number + 1), number) for number in range(600)]
    with table.transaction() as transaction:
        transaction.set_properties({one.key: one.to_json() for one in closed})
    assert list(taken_intervals(catalog.load_table(NAME))) == closed
    close(catalog, record(hours(600, 601)))
    after = catalog.load_table(NAME)
    assert sum(key.startswith(PREFIX) for key in after.properties) == pages.KEEP
    assert sum(key.startswith(PAGE_PREFIX) for key in after.properties) == 3
    assert list(closed_intervals(after)) == [*closed, record(hours(600, 601))]


def test_two_that_fold_at_once_lose_nothing(catalog: SqlCatalog, connections: Connections, small: None) -> None:
    ensure_table(catalog, QUARANTINE)
    for number in range(4):
        close(catalog, record(hours(number, number + 1)))
    begin = Barrier(6)

    def run(number: int) -> None:
        mine, waited = open_catalog(connections), [False]

        def at_once(_: Table) -> None:
            if not waited[0]:
                waited[0] = True
                begin.wait(30)

        close(mine, record(hours(number, number + 1)), check=at_once)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(run, range(4, 10)))
    table = catalog.load_table(NAME)
    assert [one.interval for one in closed_intervals(table)] == [hours(number, number + 1) for number in range(10)]
    assert sum(key.startswith(PREFIX) for key in table.properties) <= 4


def test_pages_that_nothing_names_are_swept_once_they_are_old(
    catalog: SqlCatalog, connections: Connections, small: None
) -> None:
    ensure_table(catalog, QUARANTINE)
    closed = [record(hours(number, number + 1), number) for number in range(12)]
    for one in closed:
        close(catalog, one)
    files, now = connections.filesystem(), dt.datetime.now(dt.UTC)
    assert sweep(catalog, NAME, files, now - dt.timedelta(hours=1)) == []
    gone = sweep(catalog, NAME, files, now + dt.timedelta(hours=1))
    assert gone
    assert list(closed_intervals(catalog.load_table(NAME))) == closed
    assert sweep(catalog, NAME, files, now + dt.timedelta(hours=1)) == []


def test_a_page_that_is_not_what_was_written_is_named(tmp_path: Path, small: None) -> None:
    table = Properties(tmp_path)
    for number in range(5):
        table.close(record(hours(number, number + 1)))
    (page,) = tmp_path.iterdir()
    # The nearest ones are at hand.
    page.write_bytes(page.read_bytes()[:-1] + b"?")
    ledger = closed_intervals(table)  # type: ignore[arg-type]
    assert ledger.before(hours(5, 6)) == record(hours(4, 5))
    with pytest.raises(LedgerError, match=r"page of the ledger with the 3 intervals .* is not what was written"):
        ledger.get(hours(1, 2))
    page.unlink()
    with pytest.raises(LedgerError, match=r"cannot be read .* from a backup"):
        list(closed_intervals(table))  # type: ignore[arg-type]
    key = next(key for key in table.properties if key.startswith(PAGE_PREFIX))
    with pytest.raises(LedgerError, match=r"podium\.intervals\.2017-01-01T00:00:00Z is damaged"):
        closed_intervals(SimpleNamespace(properties={key: "{}"}, io=None))  # type: ignore[arg-type]
