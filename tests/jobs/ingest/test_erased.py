"""An erased household does not come back from the topic."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.catalog.sql import SqlCatalog

from include.jobs.ingest import framed as framed_module
from include.jobs.ingest.reference import write_reference
from include.jobs.lake.connections import ConnectionSettingsError
from include.jobs.lake.erasures import Erased, put_on_list
from include.jobs.lake.ledger import Interval
from include.jobs.lake.pseudonyms import Pseudonyms
from include.jobs.lake.tables import ERASURES, HOUSEHOLDS, QUARANTINE
from tests.jobs.ingest.broker import Broker, at, record
from tests.jobs.ingest.test_days import ingest_days, validate_days
from tests.jobs.ingest.test_interval import rows
from tests.jobs.shapes import ALONE, ID, NAMED, OTHERS

DAY = Interval(at(0), at(24))


@pytest.fixture(autouse=True)
def pseudonyms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, catalog: SqlCatalog) -> Pseudonyms:
    """The mounted key, and no list."""
    (tmp_path / "pseudonym_key").write_text("a key of the tests")
    monkeypatch.setenv("PODIUM_CREDENTIALS_DIR", str(tmp_path))
    if catalog.table_exists(ERASURES.identifier):
        catalog.drop_table(ERASURES.identifier)
    return Pseudonyms("a key of the tests")


@pytest.fixture
def topic(broker: Broker, topic_name: Callable[..., str]) -> str:
    """Of household 900 two good and two broken records, of 901 two good and one broken, and one past the day."""
    name = topic_name(partitions=1)
    broker.send(name, [(0, 1.0, record(1, 1)), (0, 2.0, record(2, 2)), (0, 3.0, b"no JSON")])
    others: list[tuple[int, float, bytes | None]] = [
        (0, 4.0, record(4, 4, household_id=901)),
        (0, 5.0, record(5, 5, household_id=901)),
        (0, 6.0, b"no JSON either"),
        (0, 7.0, b'{"household_id": "900"}'),
        (0, 25.0, record(25, 6, household_id=901)),
    ]
    broker.send(name, others, key=b"901")
    return name


def test_a_household_on_the_list_is_left_out_and_counted(
    catalog: SqlCatalog, broker: Broker, topic: str, pseudonyms: Pseudonyms
) -> None:
    first = ingest_days(catalog, broker, topic, [DAY])
    assert (first["read"], first["accepted"], first["quarantined"], first["erased"]) == (7, 4, 3, 0)
    put_on_list(catalog, pseudonyms.household(900))
    put_on_list(catalog, pseudonyms.household(900))
    again = ingest_days(catalog, broker, topic, [DAY])
    assert (again["read"], again["accepted"], again["quarantined"], again["erased"]) == (7, 2, 1, 4)
    assert validate_days(catalog, [DAY])["published"]
    assert {row["household_id"] for row in rows(catalog)} == {901}
    assert [row["value"] for row in rows(catalog, QUARANTINE.identifier)] == [b"no JSON either"]


def test_broken_records_in_any_shape_do_not_come_back(
    catalog: SqlCatalog, broker: Broker, topic_name: Callable[..., str], pseudonyms: Pseudonyms
) -> None:
    topic = topic_name(partitions=1)
    for key in ALONE.values():
        broker.send(topic, [(0, 1.0, b"no JSON")], key=key)
    for value in (*NAMED.values(), *OTHERS.values()):
        broker.send(topic, [(0, 1.0, value)], key=b"5")
    broker.send(topic, [(0, 25.0, record(25, 6, household_id=901))], key=b"901")
    put_on_list(catalog, pseudonyms.household(ID))
    done = ingest_days(catalog, broker, topic, [DAY])
    assert (done["erased"], done["quarantined"]) == (len(ALONE) + len(NAMED), len(OTHERS))


def test_reference_data_leave_it_out_too(catalog: SqlCatalog, pseudonyms: Pseudonyms) -> None:
    write_reference(catalog)
    everybody = catalog.load_table(HOUSEHOLDS.identifier).scan().to_arrow()["household_id"].to_pylist()
    put_on_list(catalog, pseudonyms.household(everybody[0]))
    write_reference(catalog)
    left = catalog.load_table(HOUSEHOLDS.identifier).scan().to_arrow()["household_id"].to_pylist()
    assert sorted(left) == sorted(everybody[1:])


def test_an_erasure_while_an_interval_is_read_counts(
    catalog: SqlCatalog, broker: Broker, topic: str, pseudonyms: Pseudonyms, monkeypatch: pytest.MonkeyPatch
) -> None:
    check, calls = framed_module.check_batch, list[int]()

    def erased_meanwhile(*arguments: Any) -> Any:
        if not calls:
            put_on_list(catalog, pseudonyms.household(900))
        calls.append(1)
        return check(*arguments)

    monkeypatch.setattr(framed_module, "check_batch", erased_meanwhile)
    assert ingest_days(catalog, broker, topic, [DAY])["erased"] == 4
    assert len(calls) == 2


def test_a_list_without_a_key_stops_the_ingest(
    catalog: SqlCatalog, broker: Broker, topic: str, pseudonyms: Pseudonyms, tmp_path: Path
) -> None:
    put_on_list(catalog, pseudonyms.household(900))
    (tmp_path / "pseudonym_key").unlink()
    with pytest.raises(ConnectionSettingsError, match="pseudonym_key cannot be read"):
        ingest_days(catalog, broker, topic, [DAY])


def test_nobody_is_erased_without_a_list(catalog: SqlCatalog) -> None:
    assert not Erased.load(catalog)
