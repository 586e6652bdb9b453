"""Ten thousand fuzzed records through whole runs, on a real broker and a real lake: none is lost, none ends a run."""

from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from confluent_kafka import Producer
from pyiceberg.catalog.sql import SqlCatalog

from include.jobs.ingest.check import check_one_by_one
from include.jobs.lake.erasures import put_on_list
from include.jobs.lake.pseudonyms import Pseudonyms
from tests.jobs.ingest.broker import Broker, at
from tests.jobs.ingest.records import columns, fuzzed
from tests.jobs.ingest.sales import CONTRACT, QUARANTINED
from tests.jobs.ingest.test_interval import rows, run

RECORDS, PARTITIONS, INTERVALS = 10_000, 3, 4


@pytest.mark.parametrize("listed", [False, True], ids=["", "while an erased household is looked for"])
def test_all_are_accounted_for_and_what_breaks_the_contract_is_kept_as_it_came(
    catalog: SqlCatalog,
    broker: Broker,
    topic_name: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    listed: bool,
) -> None:
    if listed:
        (tmp_path / "pseudonym_key").write_text("a key")
        monkeypatch.setenv("PODIUM_CREDENTIALS_DIR", str(tmp_path))
        put_on_list(catalog, Pseudonyms("a key").household(123_456_789))
    topic, messages = topic_name(PARTITIONS), fuzzed(RECORDS, seed=17)
    producer = Producer({"bootstrap.servers": broker.servers, "linger.ms": 50, "log_level": 0})
    for number, (key, value) in enumerate(messages):
        moment = int(at(number * 10 * INTERVALS / RECORDS).timestamp() * 1000)
        producer.produce(topic, value, key, number % PARTITIONS, timestamp=moment)
    assert producer.flush(60) == 0

    results = [run(catalog, broker, topic, number) for number in range(INTERVALS)]

    sound = check_one_by_one(CONTRACT, *columns(messages)).good.to_pylist()
    # Many of them are one event, of which the first is taken.
    firsts: dict[str, int] = {}
    for number in sound:
        firsts.setdefault(orjson.loads(messages[number][1] or b"")["event_id"], number)
    good = set(firsts.values())
    names = ("read", "accepted", "quarantined", "duplicates", "erased")
    totals = [sum(result[name] for result in results) for name in names]
    assert totals == [RECORDS, len(good), RECORDS - len(sound), len(sound) - len(good), 0]
    assert {_number(row["kafka_partition"], row["kafka_offset"]) for row in rows(catalog)} == good
    kept = {
        _number(row["kafka_partition"], row["kafka_offset"]): (row["key"], row["value"])
        for row in rows(catalog, QUARANTINED)
    }
    assert kept == {number: message for number, message in enumerate(messages) if number not in good}


def _number(partition: int, offset: int) -> int:
    """Which of the messages it was."""
    return offset * PARTITIONS + partition
