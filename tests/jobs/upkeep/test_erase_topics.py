"""What brokers still hold of a household: also one that asks who comes, and a topic that is gone."""

import datetime as dt
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from include.jobs.lake.connections import kafka_client
from include.jobs.upkeep.erase_topics import TopicError, bury, search_topic
from tests.jobs.secured import PASSWORD, Secured, environment

ERASED = 900
DAY_MS = 86_400_000
KEYED = [(b"900", b'{"household_id": 900}'), (b"901", b"{}"), (b"900", b"no JSON")]
#: Which no compacted topic takes.
WITHOUT_KEY = (None, b'{"household_id": 900}')
Records = list[tuple[bytes | None, bytes]]


@pytest.fixture
def client(secured: Secured, tmp_path: Path) -> dict[str, str]:
    """What a pod with a user and a password begins with."""
    environ = environment(tmp_path, secured, "SASL_SSL", kafka_username=b"podium", kafka_password=PASSWORD.encode())
    return kafka_client(environ | {"KAFKA_BOOTSTRAP_SERVERS": secured.clients})


def fill(secured: Secured, topic: str, records: Records, moment: dt.datetime, **config: str) -> None:
    settings = {name.replace("_", "."): value for name, value in config.items()}
    admin = AdminClient({"bootstrap.servers": secured.internal})
    admin.create_topics([NewTopic(topic, 1, 1, config=settings)])[topic].result(60)
    producer = Producer({"bootstrap.servers": secured.internal})
    refused: list[object] = []
    for key, value in records:
        moment_ms = int(moment.timestamp() * 1000)
        producer.produce(topic, value, key, 0, timestamp=moment_ms, on_delivery=lambda error, _: refused.append(error))
    assert producer.flush(60) == 0
    assert refused == [None] * len(records)


def last(secured: Secured, topic: str) -> tuple[bytes | None, bytes | None]:
    """Key and value of the last record."""
    consumer = Consumer({"bootstrap.servers": secured.internal, "group.id": "tests", "enable.auto.commit": False})
    try:
        _, high = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=30)
        consumer.assign([TopicPartition(topic, 0, high - 1)])
        (message,) = consumer.consume(1, 30)
        return message.key(), message.value()
    finally:
        consumer.close()


def test_a_compacted_topic_gets_a_tombstone_for_each_key(secured: Secured, client: dict[str, str]) -> None:
    now = dt.datetime.now(dt.UTC)
    fill(secured, "compacted", [*KEYED], now, cleanup_policy="compact")
    held = search_topic(client, "compacted", ERASED)
    assert (held.read, held.naming, held.compacted, held.report()["gone_by"]) == (3, 2, True, None)
    assert bury(client, held) == 1
    assert last(secured, "compacted") == (b"900", None)
    again = search_topic(client, "compacted", ERASED)
    assert (again.read, again.naming) == (4, 2), "a tombstone names nobody any more; Kafka removes the others in time"


def test_any_other_topic_gets_none_and_tells_when_retention_takes_its_records(
    secured: Secured, client: dict[str, str]
) -> None:
    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    fill(secured, "kept", [*KEYED, WITHOUT_KEY], now, retention_ms=str(DAY_MS))
    held = search_topic(client, "kept", ERASED)
    assert (held.read, held.naming) == (4, 3)
    assert bury(client, held) == 0
    assert held.report()["gone_by"] == (now + dt.timedelta(days=1)).isoformat()


def test_a_topic_that_is_gone_holds_nothing(client: dict[str, str]) -> None:
    held = search_topic(client, "gone", ERASED)
    assert (held.there, held.read, held.naming, bury(client, held)) == (False, 0, 0, 0)


def test_who_is_not_let_in_does_not_take_a_topic_for_searched(
    client: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("include.jobs.upkeep.erase_topics.TIMEOUT_S", 5.0)
    with pytest.raises(TopicError, match=r"topic kept at .* cannot be searched"):
        search_topic(client | {"sasl.password": "let me in, please"}, "kept", ERASED)


def test_a_tombstone_takes_no_other_household_s_records(secured: Secured, client: dict[str, str]) -> None:
    now = dt.datetime.now(dt.UTC)
    records: Records = [
        (b"901", b'{"household_id": 900, "note": "wrong key"}'),
        (b"901", b'{"household_id": 901}'),
        (b"event-5", b'{"household_id": 900}'),
        (b'{"household_id": 900}', b"x"),
    ]
    fill(secured, "mixed", records, now, cleanup_policy="compact")
    held = search_topic(client, "mixed", ERASED)
    assert held.naming == 3
    assert {key for _, key in held.keys} == {b"event-5", b'{"household_id": 900}'}


def test_keys_of_a_topic_of_something_else_are_no_households(secured: Secured, client: dict[str, str]) -> None:
    fill(secured, "products", [(b"900", b'{"product_id": 900}')], dt.datetime.now(dt.UTC), cleanup_policy="compact")
    held = search_topic(client, "products", ERASED, whole=False)
    assert (held.read, held.naming, held.keys) == (1, 0, set())
