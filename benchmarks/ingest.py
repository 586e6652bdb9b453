"""Kafka to a committed Iceberg interval, against a bare consumer that throws the same records away."""

import time

from confluent_kafka import Consumer, TopicPartition

from include.config import Settings
from include.demo.cluster import Cluster

ROUNDS = 3


def bare_consumer(settings: Settings, ranges: dict[str, list[int]]) -> float:
    """Records a second of a loop that reads the same offsets and keeps nothing."""
    consumer = Consumer(
        {
            "bootstrap.servers": settings.reach.kafka_bootstrap_servers,
            "group.id": "podium-bench",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
        }
    )
    left = {int(number): (start, end) for number, (start, end) in ranges.items() if end > start}
    began, read = time.monotonic(), 0
    consumer.assign([TopicPartition(settings.ingest.topic, number, start) for number, (start, _) in left.items()])
    while left:
        for message in consumer.consume(10_000, timeout=1.0):
            number, offset = message.partition() or 0, message.offset() or 0
            if number not in left:
                continue
            read += offset < left[number][1]
            if offset + 1 >= left[number][1]:
                del left[number]
    seconds = time.monotonic() - began
    consumer.close()
    return read / seconds


def measure(settings: Settings, cluster: Cluster, start: str, end: str) -> dict[str, float]:
    """Median records a second of both over one interval, in turn, and their ratio.

    :param start: start of an interval that has been ingested before, ISO 8601.
    :param end: its end.
    """
    pods, loops = [], []
    for _ in range(ROUNDS):
        arguments = ["interval", "--topic", settings.ingest.topic, "--start", start, "--end", end]
        cluster.start("bench-ingest", "ingest", arguments)
        result = cluster.result("bench-ingest")
        pods.append(float(result["rows_per_s"]))
        loops.append(bare_consumer(settings, result["ranges"]))
    cluster.delete("bench-ingest")
    pod, loop = sorted(pods)[ROUNDS // 2], sorted(loops)[ROUNDS // 2]
    return {"ingest_rows_per_s": pod, "consumer_rows_per_s": loop, "ratio": pod / loop}
