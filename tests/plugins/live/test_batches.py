"""Announced batches, end to end: a message in Kafka starts a run about its interval, in a real Airflow."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.jobs.secured import PASSWORD, Secured, secured
from tests.plugins.cluster import Platform, wait_for
from tests.plugins.live.airflow import Airflow, configure, running_airflow
from tests.services import Services

__all__ = ["secured"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
GROUP = "podium-airflow"
TOPIC, DLQ = "shop.batches", "shop.batches.dlq"
FIRST = {"start": "2017-01-01T05:00:00+00:00", "end": "2017-01-03T05:00:00+00:00"}
SECOND = {"start": FIRST["end"], "end": "2017-01-04T05:00:00+00:00"}
THIRD = {"start": SECOND["end"], "end": "2017-01-05T05:00:00+00:00"}


@pytest.fixture(scope="module")
def kafka(secured: Secured) -> str:
    """A broker that lets only the tests in unasked."""
    return secured.internal


@pytest.fixture(scope="module")
def batches(platform: Platform, services: Services, secured: Secured, kafka: str) -> Iterator[Airflow]:
    """Airflow with the DAG of `batches/`, and the topics that its watcher needs on a broker that asks who comes."""
    admin = AdminClient({"bootstrap.servers": kafka})
    for future in admin.create_topics([NewTopic(TOPIC, 1, 1), NewTopic(DLQ, 1, 1)]).values():
        future.result(60)
    connection = {
        "bootstrap.servers": secured.clients,
        "group.id": GROUP,
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "podium",
        "sasl.password": PASSWORD,
        "ssl.ca.location": str(secured.folder / "server" / "server.crt"),
    }
    further = {"AIRFLOW_CONN_KAFKA_DEFAULT": json.dumps({"conn_type": "kafka", "extra": connection})}
    with pytest.MonkeyPatch.context() as patch:
        configure(patch, services)
        with running_airflow(services, platform.kubeconfig, Path(__file__).parent / "batches", further) as running:
            yield running
            assert PASSWORD not in (running.home / "triggerer.log").read_text()


def announce(kafka: str, *messages: bytes) -> None:
    producer = Producer({"bootstrap.servers": kafka})
    for message in messages:
        producer.produce(TOPIC, message)
    assert producer.flush(60) == 0


def committed(kafka: str) -> int:
    """Where the watcher's group is."""
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": GROUP})
    try:
        (found,) = consumer.committed([TopicPartition(TOPIC, 0)], timeout=30)
        return int(found.offset)
    finally:
        consumer.close()


def dead_letters(kafka: str) -> list[bytes | None]:
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": "tests", "enable.auto.commit": False})
    try:
        _, high = consumer.get_watermark_offsets(TopicPartition(DLQ, 0), timeout=30)
        consumer.assign([TopicPartition(DLQ, 0, 0)])
        return [message.value() for message in consumer.consume(high, 30)] if high else []
    finally:
        consumer.close()


def told(airflow: Airflow) -> list[dict[str, str]]:
    """The intervals that successful runs were about; a run is about all that were announced since the last one."""
    runs = airflow.call("GET", "/dags/announced/dagRuns")["dag_runs"]
    assert {run["run_type"] for run in runs} <= {"asset_triggered"}
    results = [airflow.result("announced", run["dag_run_id"]) for run in runs if run["state"] == "success"]
    return [
        {"start": start, "end": end}
        for result in results
        for start, end in zip(result["start"].split(","), result["end"].split(","), strict=True)
    ]


def days(airflow: Airflow) -> list[str]:
    """The partitions that the DAG of days has run for."""
    runs = airflow.call("GET", "/dags/daily/dagRuns")["dag_runs"]
    return sorted(airflow.result("daily", run["dag_run_id"]) for run in runs if run["state"] == "success")


def test_an_announced_batch_starts_a_run_about_its_interval_and_that_one_for_each_day(
    batches: Airflow, kafka: str
) -> None:
    announce(kafka, json.dumps(FIRST).encode())
    wait_for(lambda: told(batches) == [FIRST], "the run of the first batch", 200)
    wait_for(lambda: committed(kafka) == 1, "the offset to be committed")
    wait_for(lambda: days(batches) == ["2017-01-01T00:00:00", "2017-01-02T00:00:00"], "a run for each day", 200)


def test_what_is_no_announcement_goes_to_the_dead_letters_and_holds_nothing_up(batches: Airflow, kafka: str) -> None:
    announce(kafka, b"no batch", json.dumps(SECOND).encode())
    wait_for(lambda: SECOND in told(batches), "the run of the second batch", 200)
    wait_for(lambda: dead_letters(kafka) == [b"no batch"], "the dead letter")


def test_a_batch_that_is_announced_while_the_triggerer_is_dead_is_not_lost(batches: Airflow, kafka: str) -> None:
    batches.kill("triggerer")
    # The second again, as Kafka delivers what the dead one's consumer had not committed yet: one run is about both.
    announce(kafka, *(json.dumps(batch).encode() for batch in (SECOND, THIRD)))
    batches.start("triggerer")
    wait_for(lambda: THIRD in told(batches), "the run of the third batch", 200)
